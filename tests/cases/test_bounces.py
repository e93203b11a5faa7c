"""Returned mail and replies that an earlier reader misread: one or two for each kind of misreading.

``labels.tsv`` says what a person reads in each mail: ``failed 5.1.1 hard``, ``failed soft (mailbox full)``.
``phrases.tsv`` has replies that once had rules of their own.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path

import pytest

from bounce.classify import Classifier
from bounce.parsers.report_kinds import Report, ReportedAction, ReportKind
from bounce.report import read
from bounce.rules import load_rules
from mta.mail.delivery import Action, Classification, Fault, Stage
from mta.mail.reply import Reply

FOLDER = Path(__file__).with_name("bounces")
CATEGORIES = {
    "mailbox full": "mailbox_full",
    "blocklisted": "blocklisted",
    "connection": "connection_failure",
    "loop": "message_loop",
    "inactive": "inactive_mailbox",
}
NOT_YET: dict[str, str] = {}
REPLIES_NOT_YET: dict[str, str] = {}


@cache
def classifier() -> Classifier:
    return Classifier(load_rules())


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def cases(name: str, key: str, not_yet: dict[str, str]) -> list[object]:
    return [
        pytest.param(
            row,
            id=row[key][:60],
            marks=[pytest.mark.xfail(strict=True, reason=not_yet[row[key]])] if row[key] in not_yet else [],
        )
        for row in rows(name)
    ]


def named(expected: str) -> str | None:
    """Return the category in parentheses, if ``expected`` names one."""
    words = re.search(r"\(([a-z ]+)", expected)
    return CATEGORIES.get(words[1].strip()) if words else None


@pytest.mark.parametrize("row", cases("labels.tsv", "file", NOT_YET))
def test_mail(row: dict[str, str]) -> None:
    report = read((FOLDER / row["file"]).read_bytes(), classifier())
    expected = row["expected"]
    if not expected.startswith("failed"):
        assert report.kind is ReportKind.CHALLENGE
        return
    assert report.kind is ReportKind.BOUNCE
    assert [str(part.address) for part in report.recipients] == row["recipient"].split(", ")
    _check(report, expected)


def _check(report: Report, expected: str) -> None:
    status = re.search(r"\d\.\d+\.\d+", expected.partition("(")[0])
    for part in report.recipients:
        assert part.action is ReportedAction.FAILED
        assert status is None or part.status == status[0]
        assert part.hard == ("hard" in expected)
        assert part.classification is not None
        assert part.hard or "closed" in expected or part.classification.action is not Action.SUPPRESS
        assert named(expected) in (None, part.classification.category)
        assert "fault sender" not in expected or part.classification.fault is Fault.SENDER


@pytest.mark.parametrize("row", cases("replies.tsv", "reply", REPLIES_NOT_YET))
def test_reply(row: dict[str, str]) -> None:
    stage, _, host = row["stage"].partition(" (host ")
    found = classifier().classify(Reply.read(row["reply"].replace("\\n", "\n")), Stage(stage), host.rstrip(")") or None)
    assert found.action is not Action.SUPPRESS
    assert not found.hard
    _check_fault(row["expected"], found)


@pytest.mark.parametrize("row", rows("phrases.tsv"), ids=lambda row: row["reply"][:60])
def test_phrase(row: dict[str, str]) -> None:
    assert classifier().classify(Reply.read(row["reply"])).category == row["category"]


def _check_fault(expected: str, found: Classification) -> None:
    if expected == "sender-fault":
        assert found.fault is Fault.SENDER
    else:
        assert found.fault is not Fault.SENDER
        assert named(expected) in (None, found.category)
