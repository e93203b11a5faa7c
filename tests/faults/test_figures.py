"""The harness sees what it is there to see: each violation makes a trial unclean, and is in the sums."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults.crashes import verify
from tests.faults.figures import VIOLATIONS, Figures, digest, ledger_hash, table

CLEAN = Figures(
    *("kill_worker", 1), accepted=10, unknown=0, recipients=12, delivered=13, ambiguous=3, twice=1, unexplained_twice=0,
    more_than_twice=0, lost=0, torn=0, phantom=0, suppressed=1, suppressed_sent=0, idle_workers=0, recovery=2.0,
    ledger="",
)  # fmt: skip


def test_duplicates_in_the_window_are_clean() -> None:
    verify(CLEAN)
    assert CLEAN.is_clean


@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_violation_is_seen(name: str) -> None:
    wrong = replace(CLEAN, **{name: 1})
    assert not wrong.is_clean
    assert f"{name} 1" in wrong.line()
    assert digest([CLEAN, wrong])["sums"]["kill_worker"][name] == 1
    with pytest.raises(AssertionError):
        verify(wrong)


def test_a_stopped_process_may_go_on_with_what_it_had_in_flight() -> None:
    assert replace(CLEAN, unexplained_twice=2, in_flight=2).is_clean
    assert not replace(CLEAN, unexplained_twice=3, in_flight=2).is_clean


def test_a_stop_in_order_sends_nothing_twice() -> None:
    with pytest.raises(AssertionError):
        verify(replace(CLEAN, fault="stop_in_order"))


def test_the_ledgers_have_one_hash_whatever_their_order() -> None:
    accepted = {"a": b"1", "b": b"2"}
    copies = {("a", "x@d0.example"): 1, ("b", "y@d0.example"): 2}
    same = ledger_hash(dict(reversed(accepted.items())), dict(reversed(copies.items())))
    assert ledger_hash(accepted, copies) == same
    assert ledger_hash(accepted, copies | {("a", "x@d0.example"): 2}) != same
    assert ledger_hash(accepted | {"a": b"3"}, copies) != same


def test_the_table_has_a_row_for_each_fault() -> None:
    rows = table(digest([CLEAN, replace(CLEAN, fault="power_cut", seed=2)])["sums"]).splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["kill worker", "power cut"]
