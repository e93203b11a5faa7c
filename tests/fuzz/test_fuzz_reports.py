"""Any mail may come back: reading it never raises, stays within its bounds, and calls nothing hard without a reason."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bounce.classify import Classifier
from bounce.parsers.report_kinds import MAX_RECIPIENTS, Report, ReportedAction, ReportKind
from bounce.report import read
from bounce.rules import load_rules
from mta.mail.delivery import Fault, Stage
from mta.mail.reply import Reply

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "250"))
SAMPLES = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "unit/bounce/samples").glob("*/*.eml"))]

lines = st.sampled_from(
    [
        *(
            b"From: MAILER-DAEMON@example.com",
            b"Return-Path: <>",
            b"Subject: failure notice",
            b"X-Failed-Recipients: a@b.example",
        ),
        *(
            b"Content-Type: multipart/report; report-type=delivery-status; boundary=b",
            b"Content-Type: text/html",
            b"--b",
        ),
        *(b"Content-Type: message/delivery-status", b"Content-Type: message/feedback-report", b"--b--", b"", b"", b" "),
        *(b"Content-Type: message/rfc822", b"Content-Type: multipart/mixed", b"Content-Transfer-Encoding: base64"),
        *(
            b"Final-Recipient: rfc822; ann@example.com",
            b"Action: failed",
            b"Action: delayed",
            b"Status: 5.1.1",
            b"Status:",
        ),
        *(b"Diagnostic-Code: smtp; 550 5.1.1 user unknown", b"Reporting-MTA: dns; mx", b"Feedback-Type: abuse"),
        *(b"The following address(es) failed:", b"  ann@example.com", b"    550 User unknown", b"<ann@example.com>:"),
        *(b"   ----- Transcript of session follows -----", b">>> RCPT To:<a@b.example>", b"<<< 550 no", b"> quoted"),
        *(
            b"--- Below this line is a copy of the message.",
            b"Received: x",
            b"Message-ID: <x@y>",
            b'{"notificationType":"Bounce"}',
        ),
        *(
            b"a@" + b"b" * 300,
            b"=" * 300,
            b"<" * 100,
            b"550 " * 80,
            "jörg@exämple.de".encode(),
            b"\xff\xfe\x00",
            b"&#99999999999;",
        ),
    ]
)
mails = st.lists(lines | st.binary(max_size=30), max_size=40).map(b"\n".join)


@cache
def classifier() -> Classifier:
    return Classifier(load_rules())


def check(report: Report) -> None:
    """What holds of every report."""
    assert report.form != "unreadable"
    assert len(report.recipients) <= MAX_RECIPIENTS
    for part in report.recipients:
        json.dumps([str(part.address), part.status, part.diagnostic], ensure_ascii=False).encode()
        if part.hard:
            assert report.kind is ReportKind.BOUNCE
            assert part.action is ReportedAction.FAILED
            assert part.classification is not None
            assert part.classification.fault in (Fault.RECIPIENT, Fault.SITE)
            assert part.reply is not None
            gave_up = report.form == "rfc3464" and not part.suppress  # after days of a 4xx
            assert 500 <= part.reply.code <= 599 or gave_up


@settings(deadline=None, max_examples=EXAMPLES)
@given(mails)
def test_any_lines(content: bytes) -> None:
    check(read(content, classifier()))


@settings(deadline=None, max_examples=EXAMPLES)
@given(st.sampled_from(SAMPLES), st.data())
def test_damaged_samples(content: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 200)))
    patch = data.draw(lines | st.binary(max_size=20))
    check(read(content[:start] + patch + content[end:], classifier()))


@settings(deadline=None, max_examples=EXAMPLES)
@given(st.integers(-1, 999), st.text(max_size=300), st.sampled_from(Stage), st.none() | st.text(max_size=30))
def test_any_reply(code: int, text: str, stage: Stage, host: str | None) -> None:
    found = classifier().classify(Reply.parse(code, text), stage, host)
    assert not found.hard or 500 <= code <= 599
