"""`mta inject` sends to `mta sink`, each in its own process, as people run them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest
from typer.testing import CliRunner

from mta.cli.main import build

MTA = [sys.executable, "-m", "mta.cli.main"]
Start = Callable[..., tuple["subprocess.Popen[str]", list[str]]]


@pytest.fixture
def sink() -> Iterator[Start]:
    """Start a sink; return it and the endpoints that it tells, SMTP first."""
    running: list[subprocess.Popen[str]] = []

    def start(*options: str, endpoints: int = 1) -> tuple[subprocess.Popen[str], list[str]]:
        command = [*MTA, "sink", "--listen", "127.0.0.1:0", "--json", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stderr
        return process, [process.stderr.readline().split()[2].rstrip(":") for _ in range(endpoints)]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def inject(endpoint: str, *options: str, status: int = 0) -> dict[str, Any]:
    done = subprocess.run([*MTA, "inject", "--server", endpoint, "--json", *options], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


def test_all_arrives_and_is_counted_on_both_sides(sink: Start, tmp_path: Path) -> None:
    process, (smtp,) = sink("--count", "40", "--maildir", str(tmp_path / "inbox"))
    result = inject(smtp, "-n", "40", "-s", "4", "--recipients", "2", "--size", "2kB", "--per-connection", "5")
    assert (result["accepted"], result["recipients"], result["connections"] >= 8) == (40, 80, True)
    assert result["latency"]["p50"] <= result["latency"]["max"]
    assert result["replies"] == [{"reply": "250 2.0.0 taken", "count": 40}]
    out, err = process.communicate(timeout=60)
    lines = [json.loads(line) for line in out.splitlines()]
    assert sorted(int(line["subject"].removeprefix("Load ")) for line in lines) == list(range(40))
    assert "40 messages accepted, 80 recipients" in err
    mails = list((tmp_path / "inbox/new").iterdir())
    assert len(mails) == 40
    assert mails[0].read_text().startswith("Return-Path: <load@load.example>\nDelivered-To: user")


def test_rules_and_tls(sink: Start) -> None:
    _, (smtp,) = sink("--rule", "end c@*: close", "--rule", "rcpt b@*: 451 4.7.1 later, then ok")
    result = inject(
        smtp, "--tls", "starttls", "--insecure", "-n", "4",
        "--to", "a@x.example", "--to", "b@x.example", "--to", "c@x.example", "--to", "b@x.example", status=1,
    )  # fmt: skip
    assert (result["accepted"], result["rejected"], result["broken"]) == (2, 1, 1)
    assert {each["reply"][:9] for each in result["replies"]} == {"250 2.0.0", "451 4.7.1", "connectio"}


def test_the_sink_is_the_mx_of_every_domain_that_exists(sink: Start) -> None:
    _, (_, names) = sink("--dns", "127.0.0.1:0", endpoints=2)
    port = int(names.rpartition(":")[2])

    def ask(name: str, kind: str) -> list[str]:
        answer = dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", timeout=10, port=port)
        return [record.to_text() for records in answer.answer for record in records]

    assert ask("anywhere.example", "MX") == ["10 mx.sink.example."]
    assert ask("mx.sink.example", "A") == ["127.0.0.1"]
    assert ask("no.invalid", "MX") == []


def test_a_server_that_is_not_trusted_is_told_in_one_line(sink: Start) -> None:
    _, (smtp,) = sink()
    command = [*MTA, "inject", "--server", smtp, "--tls", "starttls", "-n", "5", "-s", "5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{smtp}: ")
    assert "certificate verify failed" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_only_this_machine_may_be_loaded() -> None:
    for options in ((), ("--remote",), ("--reason", "why not"), ("--remote", "--reason", " ")):
        done = CliRunner().invoke(build("inject"), ["inject", "--server", "192.0.2.1:25", *options])
        assert done.exit_code == 2
        assert "is not this machine" in done.stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--size", "big"], "is no size"),
        (["--header", "nonsense"], "is no header field"),
        (["--server", "127.0.0.1:99999"], "is no address with a port"),
        (["--auth", "ann"], "needs the secret in $MTA_SECRET"),
        (["nothing.eml"], "nothing.eml: No such file"),
    ],
)
def test_mistakes_are_told(options: list[str], complaint: str) -> None:
    done = CliRunner().invoke(build("inject"), ["inject", *options], env={"MTA_SECRET": ""})
    assert done.exit_code == 2
    assert complaint in done.stderr


def test_a_wrong_rule_is_told() -> None:
    done = CliRunner().invoke(build("sink"), ["sink", "--rule", "banner: ok"])
    assert done.exit_code == 2
    assert "'banner' is not a stage" in done.stderr
