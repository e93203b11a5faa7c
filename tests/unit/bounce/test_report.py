"""What came back: our own samples of every family of reports, and of mail that is none."""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path
from types import FrameType

import pytest

from bounce.classify import Classifier
from bounce.parsers.report_kinds import Feedback, ReportedAction, ReportKind
from bounce.report import read
from bounce.rules import load_rules
from mta.mail.address import Address
from mta.mail.delivery import Action, Fault

SAMPLES = Path(__file__).parent / "samples"
QUIET = [line.split("\t") for line in (SAMPLES / "quiet/kinds.tsv").read_text().splitlines()]
KINDS = {
    "other": {ReportKind.OTHER, ReportKind.RECEIPT},
    "auto_reply": {ReportKind.AUTO_REPLY, ReportKind.CHALLENGE},
}


def expected() -> dict[str, list[list[str]]]:
    rows: dict[str, list[list[str]]] = defaultdict(list)
    with (SAMPLES / "bounces/expected.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            rows[row["file"]].append([row["address"], row["status"], row["action"], row["hard"], row["category"]])
    return rows


EXPECTED = expected()


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_rules())


def test_there_are_samples_enough() -> None:
    assert len(QUIET) >= 60
    assert {name for name, _ in QUIET} == {path.name for path in (SAMPLES / "quiet").glob("*.eml")}
    assert set(EXPECTED) == {path.name for path in (SAMPLES / "bounces").glob("*.eml")}


@pytest.mark.parametrize(("name", "kind"), QUIET)
def test_no_bounce(name: str, kind: str, classifier: Classifier) -> None:
    report = read((SAMPLES / "quiet" / name).read_bytes(), classifier)
    assert report.kind in KINDS[kind]
    assert not any(
        part.action in (ReportedAction.FAILED, ReportedAction.DELAYED) or part.hard for part in report.recipients
    )


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_bounce(name: str, classifier: Classifier) -> None:
    report = read((SAMPLES / "bounces" / name).read_bytes(), classifier)
    found = [
        [
            str(part.address),
            part.status,
            part.action.value,
            "hard" if part.hard else "-",
            part.classification.category if part.classification else "-",
        ]
        for part in report.recipients
    ]
    wanted = EXPECTED[name]
    for got, row in zip(found, wanted, strict=False):
        row[4] = got[4] if row[4] == "-" else row[4]
    assert report.kind is ReportKind.BOUNCE
    assert found == wanted


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_crlf_changes_nothing(name: str, classifier: Classifier) -> None:
    content = (SAMPLES / "bounces" / name).read_bytes()
    assert read(content.replace(b"\n", b"\r\n"), classifier).recipients == read(content, classifier).recipients


def sample(name: str) -> bytes:
    return (SAMPLES / "bounces" / f"{name}.eml").read_bytes()


def test_what_a_report_tells_of_the_message() -> None:
    report = read(sample("rfc3464-unknown"))
    assert report.form == "rfc3464"
    assert report.reporter == "mx.example.org"
    assert report.date is not None
    assert report.arrived is not None
    assert report.original.fields.get("message-id") == "<m1@news.example>"
    assert report.original.fields.get("return-path") == "<news-7f3a@returns.example.net>"
    assert report.original.list_unsubscribe == "<https://u.example/u/TOKEN>"
    assert report.original.fields.get("feedback-id") == "17:4:news:example"
    assert report.original.cfbl_feedback_id is None
    assert report.original.header.startswith(b"Return-Path: <news-7f3a@returns.example.net>\n")
    part = report.recipients[0]
    assert part.host == "mx.example.com"
    assert part.diagnostic.startswith("550 5.1.1 <ann@example.com>")
    assert part.classification is None  # nobody asked the rules


def test_the_returned_header_is_found_in_a_text_too() -> None:
    assert read(sample("exim-unknown")).original.fields.get("message-id") == "<m1@news.example>"
    assert read(sample("opensmtpd")).original.list_unsubscribe == "<https://u.example/u/TOKEN>"


def test_an_alias_is_reported_as_the_address_that_was_mailed() -> None:
    part = read(sample("rfc3464-forwarded-alias")).recipients[0]
    assert str(part.address) == "ann@example.com"
    assert str(part.final) == "a.lee@elsewhere.example"


def test_a_delay_is_tried_again_whatever_it_says(classifier: Classifier) -> None:
    part = read(sample("rfc3464-delayed"), classifier).recipients[0]
    assert part.action is ReportedAction.DELAYED
    assert part.classification is not None
    assert part.classification.action is Action.RETRY
    assert not part.hard


def test_who_gave_up_does_not_try_again(classifier: Classifier) -> None:
    part = read(sample("rfc3464-expired"), classifier).recipients[0]
    assert part.classification is not None
    assert part.classification.action is Action.FAIL


@pytest.mark.parametrize(
    "name", ["rfc3464-dmarc", "microsoft365-authentication", "rfc3464-blocklisted-with-bad-status", "rate-limited"]
)
def test_our_own_fault_never_suppresses(name: str, classifier: Classifier) -> None:
    part = read(sample(name), classifier).recipients[0]
    assert part.classification is not None
    assert part.classification.fault is Fault.SENDER
    assert part.classification.action is not Action.SUPPRESS
    assert not part.hard


def test_words_of_an_unknown_command_suppress_nobody(classifier: Classifier) -> None:
    part = read(sample("rfc3464-unknown-after-data"), classifier).recipients[0]
    assert part.classification is not None
    assert part.classification.action is Action.FAIL


def feedback(kind: str, fields: str = "Original-Rcpt-To: <ann@example.com>\n", to: str = "ann@example.com") -> bytes:
    return (
        "From: fbl@provider.example\nSubject: report\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="f"\n\n'
        "--f\nContent-Type: text/plain\n\nA complaint.\n\n"
        f"--f\nContent-Type: message/feedback-report\n\nFeedback-Type: {kind}\nUser-Agent: Example/1\nVersion: 1\n"
        f"{fields}Arrival-Date: Tue, 3 Feb 2026 09:14:05 +0100\n\n"
        f"--f\nContent-Type: message/rfc822\n\nFrom: news@news.example\nTo: {to}\nMessage-ID: <m1@news.example>\n"
        "CFBL-Feedback-ID: TOKEN\n\nhello\n--f--\n"
    ).encode()


@pytest.mark.parametrize("kind", ["abuse", "fraud", "virus", "opt-out", "miscategorized", "other", "x-new"])
def test_complaint(kind: str) -> None:
    report = read(feedback(kind))
    assert report.kind is ReportKind.COMPLAINT
    assert report.feedback is (Feedback.OTHER if kind == "x-new" else Feedback(kind))
    assert [(str(part.address), part.action) for part in report.recipients] == [
        ("ann@example.com", ReportedAction.COMPLAINED)
    ]
    assert report.original.cfbl_feedback_id == "TOKEN"
    assert report.arrived is not None


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure"])
def test_feedback_that_is_no_complaint(kind: str) -> None:
    report = read(feedback(kind))
    assert report.kind is ReportKind.OTHER
    assert report.feedback is Feedback(kind)
    assert report.recipients[0].action is ReportedAction.NOTED


@pytest.mark.parametrize("to", ["redacted@example.com", "undisclosed", "ann@example.com, bob@example.com"])
def test_a_redacted_complaint_names_nobody(to: str) -> None:
    report = read(feedback("abuse", fields="Original-Rcpt-To: redacted@example.com\n", to=to))
    assert report.kind is ReportKind.COMPLAINT
    assert [part.address for part in report.recipients] == [None]
    assert report.original.cfbl_feedback_id == "TOKEN"


def test_a_complaint_without_the_field_is_about_the_only_recipient() -> None:
    assert str(read(feedback("abuse", fields="")).recipients[0].address) == "ann@example.com"


JMRP = (
    b"X-HmXmrOriginalRecipient: ann@hotmail.com\nReceived: from mta.example\n"
    b"From: news@news.example\nTo: someone\n\nhello\n"
)


@pytest.mark.parametrize(
    "content",
    [
        b"Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: message/rfc822\n\n" + JMRP + b"--m--\n",
        b"\n" + JMRP,  # without a part of its own
        b"MIME-Version: 1.0\nContent-Type: text/plain\n\n" + JMRP,
    ],
)
def test_complaint_of_outlook(content: bytes) -> None:
    report = read(b"From: staff@hotmail.com\nSubject: complaint about message from 192.0.2.7\n" + content)
    assert report.kind is ReportKind.COMPLAINT
    assert report.date is None
    assert str(report.recipients[0].address) == "ann@hotmail.com"
    assert report.original.fields.get("from") == "news@news.example"


def test_a_receipt_changes_nothing(classifier: Classifier) -> None:
    report = read((SAMPLES / "quiet/delivery-receipt.eml").read_bytes(), classifier)
    assert report.kind is ReportKind.RECEIPT
    assert [(part.action, part.classification) for part in report.recipients] == [(ReportedAction.DELIVERED, None)]


def test_nothing_is_nothing() -> None:
    assert read(b"").kind is ReportKind.OTHER
    assert read(b"\x00" * 100).kind is ReportKind.OTHER


HOSTILE = {
    "depth": b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(5000)),
    "addresses": b"From: MAILER-DAEMON\n\nThe following address(es) failed:\n\n" + b"a@b " * 250_000,
    "rules": b"From: MAILER-DAEMON\n\nThe following address(es) failed:\n\n" + (b"=" * 1999 + b"\n") * 500,
    "codes": b"From: MAILER-DAEMON\n\nThe following address(es) failed:\n\n  a@b.example\n    "
    + b"550-5.1.1 " * 100_000,
    "recipients": b"Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n"
    + b"".join(b"Final-Recipient: rfc822; a%d@b.example\nAction: failed\n\n" % n for n in range(20_000)),
    "html": b"From: MAILER-DAEMON\nContent-Type: text/html\n\n" + b"<style><p " * 100_000,
    "json": b"\n" + b'{"a":' * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_work_is_bounded_whatever_the_size(name: str, classifier: Classifier) -> None:
    """Counted in calls, not in seconds: what a mail costs does not grow with it beyond the bounds."""
    counted = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal counted
        counted += 1

    sys.setprofile(count)
    try:
        report = read(HOSTILE[name], classifier)
    finally:
        sys.setprofile(None)
    assert report.form != "unreadable"
    assert counted < 150_000  # 250 recipients are read, each by the rules


# Known recipients: our own return path names them.


def prose(text: str) -> bytes:
    return f"Return-Path: <>\nFrom: MAILER-DAEMON@mx.example\nSubject: failure notice\n\n{text}\n".encode()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Your message was refused:\n\n550 5.1.1 no such user", "ann@example.com"),  # the report hides the address
        ("<eve@elsewhere.example>:\n550 no such user\n\nFor <ann@example.com> nothing is known.", "ann@example.com"),
        ("<eve@elsewhere.example>:\n550 no such user", "eve@elsewhere.example"),  # forwarded: see mta.reports.bounces
    ],
)
def test_the_recipient_whom_our_return_path_names_comes_first(text: str, address: str, classifier: Classifier) -> None:
    report = read(
        prose(text), classifier, Address.parse("bounce+x@returns.example"), [Address.parse("ann@example.com")]
    )
    assert report.kind is ReportKind.BOUNCE
    assert [str(part.address) for part in report.recipients] == [address]


def test_a_hidden_recipient_is_one_of_a_shared_transaction_only_if_named(classifier: Classifier) -> None:
    shared = [Address.parse("ann@example.com"), Address.parse("ben@example.com")]
    assert read(prose("It failed:\n550 no such user"), classifier, None, shared).recipients == ()
    named = read(prose("It failed for ben@example.com (and copies to eve@example.net)"), classifier, None, shared)
    assert [str(part.address) for part in named.recipients] == ["ben@example.com"]


def test_a_user_unknown_for_days_is_unknown_only_where_a_field_says_that_the_reporter_gave_up() -> None:
    said = "450 4.1.1 <ann@example.com>: Recipient address rejected: User unknown"
    header = "From: MAILER-DAEMON@mx.example.net\nReturn-Path: <>\nSubject: Undelivered Mail\n"
    prose = read(f"{header}\n<ann@example.com>: {said}\n".encode(), Classifier(load_rules()))
    fields = f"Final-Recipient: rfc822; ann@example.com\nAction: failed\nStatus: 4.1.1\nDiagnostic-Code: smtp; {said}\n"
    status = f"{header}Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n{fields}"
    report = read(status.encode(), Classifier(load_rules()))
    assert [part.hard for part in prose.recipients] == [False]
    assert [(part.hard, part.suppress) for part in report.recipients] == [(True, False)]


def test_of_a_line_with_two_recipients_each_has_its_part() -> None:
    words = "Mail to ann@example.com was refused (unknown user), mail to bob@example.com was refused (mailbox full)."
    header = "From: MAILER-DAEMON@mx.example.net\nReturn-Path: <>\nSubject: Undelivered Mail\n"
    report = read(f"{header}\n{words}\n".encode(), Classifier(load_rules()))
    found = [(str(part.address), part.classification and part.classification.category) for part in report.recipients]
    assert found == [("ann@example.com", "bad_mailbox"), ("bob@example.com", "mailbox_full")]


@pytest.mark.parametrize("author", ["Ann <ann@example.com>", "Shop News <noreply@shop.example>"])
def test_a_bounce_pasted_by_a_person_or_a_list_is_none(author: str) -> None:
    header = f"From: {author}\nList-Id: <news.shop.example>\nSubject: Undelivered Mail\n"
    body = (
        "Recipient: bob@example.com\nReason: 550 user unknown\n\nReceived: x\nFrom: a@b.example\nTo: bob@example.com\n"
    )
    assert read(f"{header}\n{body}".encode()).kind is not ReportKind.BOUNCE
