"""Events as accounts see them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from mta.mail.identity import parse_id
from mta.observe.account_events import AccountEvent, fields, line

AT = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)
ID = "01knbr4fy97w9s6jm3vfa7a0c4"


def failed(number: int = 7, **data: object) -> AccountEvent:
    told = {
        "code": 550, "status": "5.1.1", "text": "no such user", "stage": "recipient", "host": "mx1.example.net",
        "address": "192.0.2.25", "tls": "TLSv1.3", "source": "192.0.2.1", "transcript": "C: RCPT",
        "category": "bad_mailbox", "fault": "recipient", "rule": "unknown-user",
    }  # fmt: skip
    return AccountEvent(
        number, AT, "failed", parse_id(ID), "ann@example.net", "01abc", "offers", "marketing", told | data
    )


def test_an_event_has_the_fields_of_the_manual_and_nothing_of_ours() -> None:
    assert fields(failed()) == {
        "id": 7, "kind": "failed", "time": "2026-03-01T12:30:15.250Z", "message": ID, "recipient": "ann@example.net",
        "mailing": "01abc", "topic": "offers", "stream": "marketing", "category": "bad_mailbox",
        "fault": "recipient", "enhanced_code": "5.1.1", "code": 550, "rule": "unknown-user", "reply": "no such user",
        "host": "mx1.example.net", "data": {"stage": "recipient"},
    }  # fmt: skip


def test_times_are_utc_whatever_they_came_in() -> None:
    elsewhere = AccountEvent(1, AT.astimezone(None) + timedelta(0), "accepted")
    assert fields(elsewhere) == {"id": 1, "kind": "accepted", "time": "2026-03-01T12:30:15.250Z"}


def test_an_event_of_no_message_speaks_of_an_address() -> None:
    data = {
        "account_id": 3,
        "topic": "*",
        "address": "ann@example.net",
        "reason": "unsubscribe",
        "by": "joe",
        "rule": "x",
    }
    assert fields(AccountEvent(1, AT, "unsubscribe", data=data)) == {
        "id": 1, "kind": "unsubscribe", "time": "2026-03-01T12:30:15.250Z", "recipient": "ann@example.net",
        "topic": "*", "rule": "x", "data": {"reason": "unsubscribe"},
    }  # fmt: skip


def test_a_line_is_the_same_event_with_its_account() -> None:
    assert json.loads(line("shop", failed())) == {"account": "shop"} | fields(failed())
