"""Scanners' words are heeded, and their silence is no consent."""

from __future__ import annotations

from policy.base import Scan
from policy.rules.content.scanned import Scanned
from tests.unit.policy.make import CONTEXT, ask, facts

RULE = Scanned(Scanned.Settings(), CONTEXT)
NEEDED = Scanned(Scanned.Settings(required=["clamav"]), CONTEXT)


def test_without_scanners_everything_passes() -> None:
    assert ask(RULE) == "pass: no scanner"


def test_clean() -> None:
    known = facts(scans=(Scan("rspamd", evidence="score 1.2 of 15"), Scan("clamav")))
    assert ask(NEEDED, known=known) == "pass: rspamd: score 1.2 of 15; clamav: clean"


def test_what_was_found_is_told() -> None:
    known = facts(scans=(Scan("rspamd"), Scan("clamav", refused="Eicar-Test-Signature")))
    assert ask(RULE, known=known) == (
        "refuse: 550 5.7.1 scanned: clamav found Eicar-Test-Signature; remove that from the message"
    )


def test_a_failure_puts_the_message_off() -> None:
    known = facts(scans=(Scan("rspamd", failed="no answer within 10 s"),))
    assert ask(RULE, known=known).startswith("refuse: 451 4.7.1 scanned: rspamd could not look at the message (no ans")


def test_a_scanner_may_want_it_later() -> None:
    known = facts(scans=(Scan("rspamd", later="too many at once"),))
    assert ask(RULE, known=known) == (
        "refuse: 451 4.7.1 scanned: rspamd puts the message off (too many at once); try again later"
    )


def test_a_finding_counts_more_than_another_scanners_failure() -> None:
    known = facts(scans=(Scan("rspamd", failed="no answer"), Scan("clamav", refused="a worm")))
    assert ask(RULE, known=known).startswith("refuse: 550")


def test_a_scanner_that_is_needed_must_have_spoken() -> None:
    assert ask(NEEDED, known=facts(scans=(Scan("rspamd"),))).startswith("refuse: 451 4.3.5 scanned: clamav must look")
