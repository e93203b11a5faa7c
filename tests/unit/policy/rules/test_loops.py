"""A message that goes in circles is stopped."""

from __future__ import annotations

from policy.rules.content.loops import Loops
from tests.unit.policy.make import CONTEXT, HEAD, ask, message


def after(hops: int, rule: Loops) -> str:
    return ask(rule, message(b"Received: from x by y\r\n" * hops + HEAD))


def test_up_to_the_limit() -> None:
    rule = Loops(Loops.Settings(), CONTEXT)
    assert after(3, rule) == "pass: 3 hops"
    assert after(4, rule) == (
        "refuse: 554 5.4.6 loops: 4 Received fields, at most 3: this message is looping; "
        "find the host that sends it back"
    )


def test_a_profile_can_ask_for_less_and_not_for_more() -> None:
    assert after(2, Loops(Loops.Settings(limit=1), CONTEXT)).startswith("refuse")
    assert after(4, Loops(Loops.Settings(limit=9), CONTEXT)).startswith("refuse")
