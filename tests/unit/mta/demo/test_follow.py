"""The event log as people read it."""

from __future__ import annotations

from mta.demo.follow import describe


def test_outcomes_say_who_what_and_why() -> None:
    line = describe(
        {
            "event": "deferred",
            "at": "2026-01-02T03:04:05.123Z",
            "id": "01abc",
            "recipient": "full@club.example",
            "code": 452,
            "status": "4.2.2",
            "text": "mailbox [full]",
            "rule": "mailbox-full",
            "until": "2026-01-02T03:05:05Z",
        }
    )
    assert line is not None
    assert line.startswith("03:04:05 [yellow]deferred [/] 01abc full@club.example: 452 4.2.2 mailbox ")
    assert "\\[full]" in line, "what a receiver said is no markup"
    assert line.endswith("(rule mailbox-full), again at 03:05:05 UTC")


def test_what_is_no_mail_is_left_out() -> None:
    assert describe({"event": "session", "at": "2026-01-02T03:04:05Z"}) is None
