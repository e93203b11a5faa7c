"""Returned mail and replies written from the kinds of misreading alone, in words that no rule was written for.

``labels.tsv`` has one reading for each recipient, or one for all, separated by ``;``: ``failed hard``,
``failed hard (domain)`` (not suppressed at once), ``failed closed`` (suppressed, hard or not),
``failed soft (mailbox full)``, ``failed soft not-recipient`` (anybody's fault but the recipient's), ``delayed``, or
``no bounce``. ``replies.tsv`` has the same for a reply, and ``others-fault``, ``sender-fault``; ``|`` stands between
readings of equal right. From ``fourth`` on its kind is checked, too. ``not-yet.tsv`` lists what is misread today.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import pytest

from bounce.classify import Classifier
from bounce.parsers.report_kinds import Report, ReportedAction, ReportedRecipient, ReportKind
from bounce.report import read
from bounce.rules import load_rules
from mta.mail.delivery import Action, Classification, Fault, Stage
from mta.mail.reply import Reply

BOUNCES = Path(__file__).with_name("bounces")
FOLDERS = ("fresh", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
CATEGORIES = {
    "unknown": "bad_mailbox",
    "closed": "inactive_mailbox bad_mailbox",
    "full": "mailbox_full",
    "refuses": "recipient_refuses",
    "domain": "bad_domain",
    "address": "bad_address bad_mailbox",
    "sender": "bad_sender bad_host_name auth_failure spf_failure dkim_failure dmarc_policy blocklisted bad_reputation"
    " policy_refusal tls_required login_required",
    "rate": "rate_limited greylisted too_many_recipients",
    "content": "spam_content banned_content bad_message too_large",
    "relay": "relaying_denied no_route message_loop",
    "site": "system_failure message_loop protocol_error no_route greylisted",
    "network": "connection_failure timeout dns_failure expired",
    "refused": "refused deferred policy_refusal",
}


@cache
def classifier() -> Classifier:
    return Classifier(load_rules())


def rows(folder: str, name: str) -> list[dict[str, str]]:
    with (BOUNCES / folder / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def cases(name: str, key: str) -> list[object]:
    found: list[object] = []
    for folder in FOLDERS:
        not_yet = {row["case"]: row["misread"] for row in rows(folder, "not-yet.tsv")}
        for row in rows(folder, name):
            reason = not_yet.get(row[key])
            marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
            found.append(pytest.param({**row, "folder": folder}, id=row[key][:60], marks=marks))
    return found


def mail_differences(report: Report, row: dict[str, str]) -> list[str]:
    """Return how ``report`` differs from the label."""
    if row["expected"] == "no bounce":
        return [f"taken for a bounce ({report.form})"] if report.kind is ReportKind.BOUNCE else []
    wanted = row["recipient"].split(", ")
    readings = row["expected"].split("; ")
    readings *= len(wanted) if len(readings) == 1 else 1
    found = {str(part.address): part for part in report.recipients}
    differences = (
        [f"kind {report.kind.value}"] if (report.kind is ReportKind.BOUNCE) == (readings == ["delivered"]) else []
    )
    if set(found) != set(wanted):
        differences.append(f"recipients {sorted(found)}")
    for address, reading in zip(wanted, readings, strict=True):
        if address in found:
            alternatives = (part_differences(found[address], each) for each in reading.split("|"))
            differences += [f"{address} {text}" for text in min(alternatives, key=len)]
    return differences


def part_differences(part: ReportedRecipient, reading: str) -> list[str]:
    """Return how ``part`` differs from a reading like ``failed hard``."""
    action, _, judgement = reading.partition(" ")
    if part.action is not ReportedAction(action):
        return [part.action.value]
    return differences_of(part.classification, judgement) if judgement else []


def differences_of(found: Classification | None, judgement: str) -> list[str]:
    """Return how ``found`` differs from a judgement like ``soft (mailbox full)``."""
    if found is None:
        return ["not classified"]
    suppresses = found.action is Action.SUPPRESS
    full = found.category == "mailbox_full"
    checks = {
        "hard": found.hard == judgement.startswith("hard"),
        "suppress": suppresses == (judgement in ("hard", "closed")),
        "category": full == ("full" in judgement) or judgement == "soft",
        "fault": (found.fault is Fault.SENDER or judgement != "sender-fault")
        and (found.fault is not Fault.RECIPIENT or not judgement.endswith(("not-recipient", "others-fault"))),
    }
    if judgement == "closed":
        del checks["hard"]
    return [
        f"{what} ({found.category}, {found.fault.value}, {found.action.value}, hard {found.hard}, {found.rule})"
        for what, right in checks.items()
        if not right
    ]


@pytest.mark.parametrize("row", cases("labels.tsv", "file"))
def test_mail(row: dict[str, str]) -> None:
    assert mail_differences(read((BOUNCES / row["folder"] / row["file"]).read_bytes(), classifier()), row) == []


@pytest.mark.parametrize("row", cases("replies.tsv", "reply"))
def test_reply(row: dict[str, str]) -> None:
    reply = Reply.read(row["reply"].replace("\\n", "\n"))
    found = classifier().classify(reply, Stage(row["stage"]))
    assert min((differences_of(found, each) for each in row["expected"].split("|")), key=len) == []
    if FOLDERS.index(row["folder"]) >= FOLDERS.index("fourth"):
        assert any(found.category in CATEGORIES[kind].split() for kind in row["kind"].split("|")), found


@pytest.mark.parametrize("folder", FOLDERS)
def test_nobody_is_suppressed_for_another_ones_fault(folder: str) -> None:
    for row in rows(folder, "replies.tsv"):
        if not {"hard", "closed"} & {*row["expected"].split("|")}:
            found = classifier().classify(Reply.read(row["reply"].replace("\\n", "\n")), Stage(row["stage"]))
            assert found.action is not Action.SUPPRESS, row["reply"]
