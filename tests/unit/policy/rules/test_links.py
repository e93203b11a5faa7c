"""Links: what was taken down is refused, what is listed too or held, and a list that is silent as configured."""

from __future__ import annotations

from policy.base import LinkCheck, ListedLink
from policy.rules.content.links import Links
from tests.unit.policy.make import CONTEXT, ask, facts

REFUSES, HOLDS = (Links(Links.Settings(listed=listed), CONTEXT) for listed in ("refuse", "hold"))
LISTED = LinkCheck(listed=(ListedLink("evil.example", "dbl", "127.0.1.2"),))


def test_nothing_is_listed() -> None:
    assert ask(REFUSES, known=facts()) == "pass: none is listed"
    assert ask(REFUSES, known=facts(links=LinkCheck(note="not looked up"))) == "pass: not looked up"


def test_what_was_taken_down_is_refused_by_any_profile() -> None:
    for rule in (REFUSES, HOLDS):
        assert ask(rule, known=facts(links=LinkCheck(taken_down=("pirate.example/films",)))) == (
            "refuse: 550 5.7.1 links: pirate.example/films was taken down; leave that link out"
        )


def test_what_is_listed_is_refused_or_waits() -> None:
    assert ask(REFUSES, known=facts(links=LISTED)) == (
        "refuse: 550 5.7.1 links: the message links to evil.example (dbl), on a blocklist; leave that link out"
    )
    assert ask(HOLDS, known=facts(links=LISTED)).startswith("hold: review (links): it links to evil.example (dbl)")


def test_a_list_that_does_not_answer_defers() -> None:
    assert ask(REFUSES, known=facts(links=LinkCheck(failed="dbl: no answer within 5 s"))) == (
        "refuse: 451 4.7.1 links: the links could not be looked up (dbl: no answer within 5 s); try again later"
    )
