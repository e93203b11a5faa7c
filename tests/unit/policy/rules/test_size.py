"""The size limit: the listener's, or a smaller one of the profile."""

from __future__ import annotations

from policy.rules.content.size import Size
from tests.unit.policy.make import CONTEXT, HEAD, ask, message


def of(octets: int, rule: Size) -> str:
    return ask(rule, message(body=b"x" * (octets - len(HEAD) - 2)))


def test_up_to_the_limit() -> None:
    rule = Size(Size.Settings(), CONTEXT)
    assert of(10_000, rule) == "pass: 10000 octets"
    assert of(10_001, rule) == (
        "refuse: 552 5.3.4 size: 10001 octets, at most 10000 are allowed; make the message smaller"
    )


def test_a_profile_can_ask_for_less_and_not_for_more() -> None:
    assert of(1001, Size(Size.Settings(limit="1kB"), CONTEXT)).startswith("refuse: 552")
    assert of(1000, Size(Size.Settings(limit="1kB"), CONTEXT)).startswith("pass")
    assert of(10_001, Size(Size.Settings(limit="1MB"), CONTEXT)).startswith("refuse: 552")
