"""mta check, config and reload, as an operator sees them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from config.document import document
from mta.cli.main import build
from mta.cli.service.reload import running


def mta(*arguments: str) -> Result:
    return CliRunner().invoke(build(arguments[0]), list(arguments))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTA_CONFIG", raising=False)
    return tmp_path


def test_check_the_shipped_configuration() -> None:
    result = mta("check")
    assert result.exit_code == 0
    assert result.stdout.startswith("ok: the shipped configuration")
    assert "[::]:587 starttls, [::]:465 implicit, 127.0.0.1:2525 none" in result.stdout


def test_check_finds_the_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "mta.toml").write_text("[web]\nport = 70000\n")
    assert mta("check").exit_code == 2
    named = elsewhere / "named.toml"
    named.write_text("[web]\nport = 7000\n")
    monkeypatch.setenv("MTA_CONFIG", str(named))
    assert mta("check").stdout.startswith(f"ok: {named}")
    result = mta("check", "mta.toml")
    assert result.exit_code == 2
    assert result.stderr == "mta.toml:2: web.port: 70000 is not valid; expected an integer from 0 to 65535\n"


def test_check_reads_the_profiles(elsewhere: Path) -> None:
    (elsewhere / "mta.toml").write_text('[policy]\nprofiles = ["own.toml"]\ndefault_profile = "ours"\n')
    (elsewhere / "own.toml").write_text('extends = "csa"\nabuot = "ours"\n')
    result = mta("check")
    assert result.exit_code == 2
    assert result.stderr == f'{elsewhere}/own.toml:2: abuot: unknown key; did you mean "about"?\n'
    (elsewhere / "own.toml").write_text('extends = "csa"\n')
    assert mta("check").stderr.startswith('mta.toml:3: policy.default_profile: there is no profile "ours"; ')
    (elsewhere / "mta.toml").write_text('[policy]\nprofiles = ["own.toml"]\ndefault_profile = "own"\n')
    assert "marketing, own, spotler" in mta("check").stdout


def test_check_reads_the_rules(elsewhere: Path) -> None:
    rule = '[[rules]]\nid = "mine"\ncategory = "refused"\npatterns = ["%s"]\nsamples = ["550 abracadabra"]\n'
    (elsewhere / "mta.toml").write_text('[bounces]\nrules = ["rules.toml"]\n')
    (elsewhere / "rules.toml").write_text(rule % "abra.*dabra")
    result = mta("check")
    assert result.exit_code == 2
    assert result.stderr.startswith(
        f"{elsewhere}/rules.toml:4: rules[0].patterns[0]: the pattern of rule mine has an unbounded repeat"
    )
    (elsewhere / "rules.toml").write_text(rule % "stay here")
    assert "rule mine: its sample '550 5.0.0 abracadabra' leads to rule reply-5xx" in mta("check").stderr
    (elsewhere / "rules.toml").write_text(rule % "abracadabra")
    assert mta("check").exit_code == 0


def test_check_for_programs(elsewhere: Path) -> None:
    (elsewhere / "mta.toml").write_text(
        '[web]\nport = 70000\n[[egress.sources]]\nname = "one"\naddress = "203.0.113.9"\n'
    )
    result = mta("check", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"], report["file"]) == (2, False, "mta.toml")
    expected = "70000 is not valid; expected an integer from 0 to 65535"
    assert report["errors"] == [{"file": "mta.toml", "line": 2, "key": "web.port", "text": expected}]
    assert [(each["line"], each["key"]) for each in report["warnings"]] == [(5, "egress.sources[0].address")]
    (elsewhere / "mta.toml").write_text("")
    assert json.loads(mta("check", "--json").stdout)["errors"][0]["text"].startswith("mta.toml: holds no setting")
    (elsewhere / "mta.toml").write_text("[web]\nport = 7000\n")
    assert json.loads(mta("check", "--json").stdout)["ok"] is True


def test_check_takes_one_file(elsewhere: Path) -> None:
    (elsewhere / "mta.toml").write_text("[web]\nport = 7000\n")
    assert mta("check", "-c", "mta.toml").stdout == mta("check", "mta.toml").stdout
    assert mta("check", "mta.toml", "--config", "other.toml").exit_code == 2


def test_config() -> None:
    assert mta("config", "docs").stdout == document()
    assert json.loads(mta("config", "schema").stdout)["title"] == "Settings"
    assert "[submission.limits]\nmessage_size = 52428800\n" in mta("config", "show").stdout


# --- mta reload

SUPERVISOR = """
import fcntl, json, signal, sys
answer = sys.argv[1]
file = open("data/run/supervisor.pid", "w+")
fcntl.flock(file, fcntl.LOCK_EX)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
import os
file.write(f"{os.getpid()}\\n")
file.flush()
print("ready", flush=True)
signal.sigwait({signal.SIGHUP})
open("data/run/reload.json", "w").write(answer)
sys.stdin.read()
"""


def configure(database: str) -> None:
    os.makedirs("data/run", exist_ok=True)
    Path("mta.toml").write_text(f'[server]\ndata_dir = "data"\n[database]\nurl = "{database}"\n')


def reload_answered(answer: dict[str, object], database: str) -> Result:
    """`mta reload` with a supervisor that gives ``answer``."""
    configure(database)
    Path("data/run/reload.json").write_text(json.dumps({"at": "earlier", "ok": True, "lines": []}))
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, json.dumps(answer)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdin is not None
        assert supervisor.stdout.readline() == b"ready\n"
        assert running(Path("data/run/supervisor.pid")) == supervisor.pid
        result = mta("reload")
        supervisor.stdin.close()
    return result


def test_reload(database_url: str) -> None:
    result = reload_answered({"at": "now", "ok": True, "lines": []}, database_url)
    assert (result.exit_code, result.stdout) == (0, "Configuration reloaded.\n")


def test_reload_refused_by_the_service(database_url: str) -> None:
    result = reload_answered({"at": "now", "ok": False, "lines": ["mta.toml:1: no"]}, database_url)
    assert result.exit_code == 2
    assert "mta.toml:1: no" in result.stderr


def test_reload_checks_first(elsewhere: Path) -> None:
    (elsewhere / "mta.toml").write_text("[web]\nports = 1\n")
    result = mta("reload")
    assert result.exit_code == 2
    assert result.stderr == 'mta.toml:2: web.ports: unknown key; did you mean "port"?\n'


def test_reload_of_nothing(elsewhere: Path) -> None:
    assert mta("reload").exit_code == 1
    # a number that was left behind belongs to somebody else by now: us
    pid_file = elsewhere / "data/run/supervisor.pid"
    pid_file.parent.mkdir(parents=True)
    pid_file.write_text(f"{os.getpid()}\n")
    assert running(pid_file) is None
    previous = signal.signal(signal.SIGHUP, lambda *_: pytest.fail("the signal went to a process that serves nothing"))
    try:
        assert "no service runs" in mta("reload").stderr
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_reload_without_an_answer(elsewhere: Path, database_url: str) -> None:
    configure(database_url)
    pid_file = elsewhere / "data/run/supervisor.pid"
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pid_file.open("w") as file:
            file.write(f"{os.getpid()}\n")
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
            result = mta("reload", "--wait", "0s")
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert result.exit_code == 1
    assert "did not answer" in result.stderr


def check_with_open_files(most: int) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'ulimit -n {most}; exec "$@"', "sh", sys.executable, "-m", "mta.cli.main", "check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_check_says_how_many_files_are_needed() -> None:
    scarce, too_few = check_with_open_files(1024), check_with_open_files(300)
    assert scarce.returncode == 0
    assert "a worker may open 1024 files, and needs" in scarce.stdout
    assert "LimitNOFILE=16384" in scarce.stdout
    assert too_few.returncode == 2
    assert (
        "submission.limits.connections: too few file descriptors: a worker may open 300 files, and needs"
        in too_few.stderr
    )
