"""What the demo compares, and what it says of differences."""

from __future__ import annotations

import asyncio

import pytest
from rich.console import Console

from mta.demo.board import Board, BoardCheck, Seen, describe
from mta.demo.cases import CASES, DemoCase, DemoOutcome, Expected, Submitted
from mta.mail.identity import new_message_id
from mta.mail.reply import Reply

GREY = DemoCase("greylisted", (Expected("grey@a.example", DemoOutcome.DELIVERED, attempts=2),))
FULL = DemoCase("full", (Expected("full@a.example", DemoOutcome.DEFERRED, "4.2.2"),))
TWICE = DemoCase("again", (Expected("x@a.example", DemoOutcome.REJECTED, attempts=0),), after="full")
TAKEN = Reply(250, "2.0.0", "queued")


def test_a_case_comes_to_its_end() -> None:
    board, message = Board([GREY]), new_message_id()
    board.submitted(GREY, Submitted({"grey@a.example": TAKEN}, message))
    assert board.open_ids() == {message}
    board.see(message, "grey@a.example", Seen(DemoOutcome.DEFERRED, "4.7.1", "451 4.7.1 later", 1))
    assert not board.complete
    board.see(message, "grey@a.example", Seen(DemoOutcome.DELIVERED, "2.0.0", "250 ok", 1))
    assert not board.complete, "it should have been greylisted"
    board.see(message, "grey@a.example", Seen(DemoOutcome.DELIVERED, "2.0.0", "250 ok", 2))
    assert board.complete
    assert board.ended("greylisted")
    assert board.open_ids() == set()
    assert list(board.differences()) == []


def test_the_status_counts_where_it_is_given() -> None:
    board, message = Board([FULL]), new_message_id()
    board.submitted(FULL, Submitted({"full@a.example": TAKEN}, message))
    board.see(message, "full@a.example", Seen(DemoOutcome.DEFERRED, "4.4.1", "451 4.4.1 timeout", 1))
    assert list(board.differences()) == [
        "full: full@a.example: expected deferred 4.2.2 after at least 1 attempts, "
        "got deferred 4.4.1 after 1: 451 4.4.1 timeout"
    ]


def test_a_refusal_to_the_client_is_an_end() -> None:
    board = Board([TWICE])
    board.submitted(TWICE, Submitted({"x@a.example": Reply(550, "5.1.1", "suppressed")}, None))
    assert board.complete


def test_a_proof_that_does_not_hold_is_a_difference() -> None:
    board = Board([])
    board.checks = [BoardCheck("signatures", False, "1 of 2"), BoardCheck("notice", True, "yes")]
    assert list(board.differences()) == ["signatures: 1 of 2"]


async def test_waiting_ends_with_the_change_that_was_waited_for() -> None:
    board, message = Board([FULL]), new_message_id()
    waiting = asyncio.create_task(board.until(lambda: board.complete))
    board.submitted(FULL, Submitted({"full@a.example": TAKEN}, message))
    board.see(message, "full@a.example", Seen(DemoOutcome.DEFERRED, "4.2.2", "452 4.2.2 full", 1))
    await asyncio.wait_for(waiting, 5)


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_shows_replies_as_they_are(width: int) -> None:
    board, message = Board([FULL]), new_message_id()
    board.submitted(FULL, Submitted({"full@a.example": TAKEN}, message))
    board.see(message, "full@a.example", Seen(DemoOutcome.DEFERRED, "4.2.2", "452 4.2.2 [bold]full[/bold]", 1))
    console = Console(width=width)
    with console.capture() as capture:
        console.print(board.table(width))
    assert "452 4.2.2 [bold]full[/bold]" in capture.get()
    assert "full@a.example" in capture.get()


def test_the_cases_wait_for_cases_that_come_before() -> None:
    titles = [case.title for case in CASES]
    assert len(set(titles)) == len(titles)
    for place, case in enumerate(CASES):
        assert case.after is None or case.after in titles[:place]


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
    assert line.endswith("(rule mailbox-full), next attempt at 03:05:05 UTC")


def test_what_is_no_mail_is_left_out() -> None:
    assert describe({"event": "session", "at": "2026-01-02T03:04:05Z"}) is None
