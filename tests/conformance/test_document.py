"""``docs/conformance.md`` lists what the tables hold, and each check has an id of its own."""

from __future__ import annotations

from collections import Counter

from tests.conformance.document import DOCUMENT, all_checks, document


def test_the_page_is_that_of_the_tables() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run: python -m tests.conformance.document"


def test_every_check_has_an_id_of_its_own_and_checks_something() -> None:
    checks = all_checks()
    assert [name for name, count in Counter(check.id for check in checks).items() if count > 1] == []
    looking = {"S", "S+", "S-", "S*", "C", "M", "R", "G", "G-", "E", "E-", "D", "D-", "closed"}
    assert [check.id for check in checks if not looking & {step.kind for step in check.steps}] == []
