"""Events as they go out: their form, the signature against fixed vectors, batches, and when to try again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.identity import parse_id
from mta.observe.webhooks import (
    LONGEST_WAIT,
    MOST_EVENTS,
    MOST_OCTETS,
    Occurrence,
    batch,
    fields,
    line,
    sign,
    wait_after,
)

AT = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)
ID = "01knbr4fy97w9s6jm3vfa7a0c4"


def failed(number: int = 7, **data: object) -> Occurrence:
    told = {
        "code": 550, "status": "5.1.1", "text": "no such user", "stage": "recipient", "host": "mx1.example.net",
        "address": "192.0.2.25", "tls": "TLSv1.3", "source": "192.0.2.1", "transcript": "C: RCPT",
        "category": "user_unknown", "fault": "recipient", "rule": "no-such-user",
    }  # fmt: skip
    return Occurrence(
        number, AT, "failed", parse_id(ID), "ann@example.net", "01abc", "offers", "marketing", told | data
    )


def test_an_event_has_the_fields_of_the_manual_and_nothing_of_ours() -> None:
    assert fields(failed()) == {
        "id": 7, "kind": "failed", "time": "2026-03-01T12:30:15.250Z", "message": ID, "recipient": "ann@example.net",
        "mailing": "01abc", "topic": "offers", "stream": "marketing", "category": "user_unknown",
        "fault": "recipient", "enhanced_code": "5.1.1", "code": 550, "rule": "no-such-user", "reply": "no such user",
        "host": "mx1.example.net", "data": {"stage": "recipient"},
    }  # fmt: skip


def test_times_are_utc_whatever_they_came_in() -> None:
    elsewhere = Occurrence(1, AT.astimezone(None) + timedelta(0), "accepted")
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
    assert fields(Occurrence(1, AT, "unsubscribe", data=data)) == {
        "id": 1, "kind": "unsubscribe", "time": "2026-03-01T12:30:15.250Z", "recipient": "ann@example.net",
        "topic": "*", "rule": "x", "data": {"reason": "unsubscribe"},
    }  # fmt: skip


def test_a_line_is_the_same_event_with_its_account() -> None:
    assert json.loads(line("shop", failed())) == {"account": "shop"} | fields(failed())


@pytest.mark.parametrize(
    ("keys", "at", "body", "signature"),
    [
        (
            ["whsec_test"],
            1700000000,
            b'{"account":"shop","events":[]}',
            "t=1700000000,v1=a6059da000c6d6a306bf42e3a5aa4bb4d883db0324639ac0618932694e6edae8",
        ),
        (["key"], 1, b"", "t=1,v1=53123bc365c2fe4bee48bc5cc6cd6c19699147d43513154ed34277c7c063e80f"),
        (
            ["new", "old"],
            12,
            b"\xff",
            "t=12,v1=b1d11d3e9fd83a528b7e8519855f92809074509b1f25aed86a165d5a6dab3152"
            ",v1=bc6559ff86e2e26fab58411bfde398c2c3d3ca1eea65bb5bfa777f281d0e985a",
        ),
    ],
)
def test_signatures_are_those_that_openssl_makes(keys: list[str], at: int, body: bytes, signature: str) -> None:
    assert sign(keys, at, body) == signature


def test_a_batch_is_one_json_document_in_order() -> None:
    made = batch("shop", [failed(number) for number in (3, 4, 9)])
    assert (made.count, made.last) == (3, 9)
    assert json.loads(made.body) == {"account": "shop", "events": [fields(failed(n)) for n in (3, 4, 9)]}


@given(st.lists(st.integers(min_value=0, max_value=MOST_OCTETS * 2 // 3), min_size=1, max_size=12))
def test_batches_are_bounded_and_make_the_whole_together(sizes: list[int]) -> None:
    events = [failed(number, text="x" * size) for number, size in enumerate(sizes, 1)]
    seen: list[int] = []
    while len(seen) < len(events):
        made = batch("shop", events[len(seen) :])
        assert made.count == 1 or len(made.body) <= MOST_OCTETS + 100
        seen += [event["id"] for event in json.loads(made.body)["events"]]
        assert seen[-1] == made.last
    assert seen == [event.id for event in events]


def test_a_batch_has_no_more_events_than_it_may() -> None:
    assert batch("shop", [Occurrence(n, AT, "accepted") for n in range(MOST_EVENTS + 5)]).count == MOST_EVENTS


@given(st.integers(min_value=1, max_value=10_000), st.floats(min_value=0, max_value=1))
def test_waits_grow_to_an_hour_and_never_beyond(failures: int, share: float) -> None:
    wait = wait_after(failures, share)
    assert 3 < wait <= LONGEST_WAIT
    assert wait_after(failures + 1, share) >= wait
    if failures > 11:
        assert wait >= 0.75 * LONGEST_WAIT
