"""mta classify, as an operator sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bounce.verp import Verp
from mta.cli.main import build
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.unit.mta.cli.shell import Operator
from tests.unit.mta.store import make

UNKNOWN = "550 5.1.1 <ann@example.com>: Recipient address rejected: User unknown"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTA_CONFIG", raising=False)
    return tmp_path


def classify(*arguments: str, lines: str = "") -> Result:
    return CliRunner().invoke(build("classify"), ["classify", *arguments], input=lines)


def test_one_reply() -> None:
    assert classify(UNKNOWN).stdout.splitlines() == [
        "category  bad_mailbox: There is no such mailbox.",
        "fault     recipient",
        "action    suppress",
        "rule      user-unknown, by 'user unknown'",
        "also      code-1-1 (bad_mailbox, suppress), by '5.1.1'",
        "also      reply-5xx (refused, fail), by '5xx'",
    ]


def test_json() -> None:
    assert json.loads(classify("--json", UNKNOWN).stdout) == {
        "reply": UNKNOWN,
        "category": "bad_mailbox",
        "fault": "recipient",
        "action": "suppress",
        "rule": "user-unknown",
        "matched": "user unknown",
        "others": ["code-1-1", "reply-5xx"],
    }


def test_stage_and_host() -> None:
    assert "action    retry" in classify("554 5.7.1 no", "--stage", "connect").stdout
    text = "550 Requested action not taken: mailbox unavailable"
    assert "rule      united-internet-unknown" in classify(text, "--host", "mx00.gmx.net").stdout
    assert "rule      words-unavailable" in classify(text).stdout


def test_standard_input() -> None:
    result = classify(lines=f"{UNKNOWN}\n\nnonsense\n451 later\n")
    assert result.exit_code == 1
    assert [line.split()[:4] for line in result.stdout.splitlines()] == [
        ["suppress", "recipient", "bad_mailbox", "user-unknown"],
        ["retry", "site", "deferred", "reply-4xx"],
    ]
    assert "'nonsense': a reply starts with its three-digit code" in result.stderr


def test_success_is_said_too() -> None:
    assert json.loads(classify("--json", "250 2.0.0 Ok").stdout)["action"] == "delivered"


def test_categories() -> None:
    assert (
        "blocklisted          sender    fail      Our address or domain is on a list" in classify("--categories").stdout
    )


def test_own_rules(elsewhere: Path) -> None:
    (elsewhere / "own.toml").write_text(
        '[[rules]]\nid = "mine"\ncategory = "refused"\npatterns = ["user unknown"]\nsamples = ["550 user unknown"]\n'
    )
    (elsewhere / "mta.toml").write_text('[bounces]\nrules = ["own.toml"]\n')
    assert "rule      mine" in classify(UNKNOWN).stdout
    (elsewhere / "mta.toml").write_text('[bounces]\nrules = ["none.toml"]\n')
    assert classify(UNKNOWN).exit_code == 2


def test_starts_without_the_service() -> None:
    """Fast because of what it leaves alone: the store, the event loop, the sections of the configuration."""
    code = """
import sys
from mta.cli.main import main
sys.argv = ["mta", "classify", "550 no"]
try:
    main()
finally:
    print(*sys.modules)
"""
    modules = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "bounce.classify" in modules
    assert not modules & {"config.schema", "asyncpg", "asyncio", "aiohttp", "mta.store", "rich"}


SAMPLES = Path(__file__).parents[3] / "unit/bounce/samples"
UNKNOWN_USER = str(SAMPLES / "bounces/rfc3464-unknown.eml")
VACATION = str(SAMPLES / "quiet/vacation-marked-en.eml")


def test_mail_files() -> None:
    lines = [json.loads(line) for line in classify("--json", UNKNOWN_USER, VACATION).stdout.splitlines()]
    assert lines == [
        {
            "file": UNKNOWN_USER,
            "kind": "bounce",
            "recipients": [
                {
                    "address": "ann@example.com",
                    "status": "5.1.1",
                    "action": "failed",
                    "hard": True,
                    "category": "bad_mailbox",
                    "fault": "recipient",
                    "rule": "user-unknown",
                    "suppress": True,
                    "why": [
                        "daemon +3",
                        "null_return_path +2",
                        "report_type +3",
                        "returned_message +2",
                        "bounce_subject +2",
                        "failure_words +1",
                        "smtp_reply +1",
                        "sum 14, bar 5",
                        "answer to recipient",
                        "rule user-unknown, by 'user unknown'",
                    ],
                }
            ],
        },
        {
            "file": VACATION,
            "kind": "auto_reply",
            "recipients": [
                {
                    "address": "ann@example.org",
                    "status": None,
                    "action": "replied",
                    "hard": False,
                    "category": None,
                    "fault": None,
                    "rule": None,
                    "suppress": False,
                    "why": lines[1]["recipients"][0]["why"],
                }
            ],
        },
    ]
    assert "auto_reply -3" in lines[1]["recipients"][0]["why"]


def test_mail_file_for_people() -> None:
    assert classify(UNKNOWN_USER).stdout.splitlines() == [
        f"{UNKNOWN_USER}: bounce (rfc3464), reported by mx.example.org",
        "  ann@example.com  failed  5.1.1  hard",
        "    bad_mailbox, fault recipient, action suppress",
        "    rule user-unknown, by 'user unknown'",
        "    written by a mail system: daemon +3, null_return_path +2, report_type +3, returned_message +2, "
        "bounce_subject +2, failure_words +1, smtp_reply +1, sum 14, bar 5",
    ]


def test_our_return_path_is_a_fact(tmp_path: Path) -> None:
    file = tmp_path / "prose.eml"
    file.write_bytes(b"From: postmaster@example.net\nSubject: hello\n\n<ann@example.com>: 552 mailbox full\n")
    assert json.loads(classify("--json", str(file)).stdout)["kind"] == "other"
    told = json.loads(classify("--json", "--sent-to", "bounce+x@returns.example", str(file)).stdout)
    assert told["kind"] == "bounce"
    assert "our_return_path +1" in told["recipients"][0]["why"]
    assert classify("--sent-to", "nobody", str(file)).exit_code == 2


async def test_our_return_path_names_the_recipient(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets, '[return_path]\ndomain = "returns.example"\n')
    sent = make.accepted("ann@example.net")
    make.leased(await store.messages.enqueue(sent, leased=True))
    path = str(Verp.derived("returns.example", secrets.derive, 1, 0, timedelta(days=30)).make(sent.message.id, 0))
    file = tmp_path / "unnamed.eml"
    file.write_bytes(b"From: postmaster@example.net\nSubject: Undelivered mail\n\nThe message failed: mailbox full\n")
    told = await operator.json("classify", "--sent-to", path, str(file))
    assert [each["address"] for each in told["recipients"]] == ["ann@example.net"]
    assert (await operator.json("classify", "--sent-to", "bounce+x@elsewhere.example", str(file)))["recipients"] == []
    forged = path.replace("@", "0@")
    assert await operator.fails("classify", "--sent-to", forged, str(file)) == f"{forged} is forged\n"


def test_every_sample_in_one_run() -> None:
    files = sorted(str(path) for path in SAMPLES.glob("*/*.eml"))
    result = classify("--json", *files)
    assert result.exit_code == 0
    kinds = {json.loads(line)["file"]: json.loads(line)["kind"] for line in result.stdout.splitlines()}
    assert list(kinds) == files
    assert {kind for file, kind in kinds.items() if "samples/bounces/" in file} == {"bounce"}
    assert {kind for file, kind in kinds.items() if "samples/quiet/" in file} == {"auto_reply", "other"}


def test_an_mbox_is_one_file(elsewhere: Path) -> None:
    mails = [(SAMPLES / f"bounces/{name}.eml").read_text() for name in ("rfc3464-unknown", "qmail-full")]
    (elsewhere / "two").write_text("".join(f"From MAILER-DAEMON Tue Feb  3 09:14:05 2026\n{mail}\n" for mail in mails))
    line = json.loads(classify("--json", "two").stdout)
    assert [part["status"] for part in line["recipients"]] == ["5.1.1", "5.0.0"]


def test_a_file_that_is_not_there(elsewhere: Path) -> None:
    (elsewhere / "mail").write_bytes(b"\xff\x00")
    result = classify("--json", "mail", "none", "mail")
    assert result.exit_code == 1
    assert [json.loads(line)["kind"] for line in result.stdout.splitlines()] == ["other", "other"]
    assert "none: No such file or directory; give mail files" in result.stderr
