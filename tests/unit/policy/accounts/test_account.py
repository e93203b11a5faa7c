"""Which moves an account's life allows."""

from __future__ import annotations

import itertools

import pytest

from mta.mail.hold import Hold, HoldSource
from policy.accounts.account import AccountStatus, StatusChange, StatusChangeRefused, after, suspension_hold

ALLOWED = {
    ("pending", "review", "review"),
    ("review", "request-changes", "pending"),
    ("review", "approve", "active"),
    ("active", "suspend", "suspended"),
    ("suspended", "resume", "active"),
    ("pending", "terminate", "terminated"),
    ("review", "terminate", "terminated"),
    ("suspended", "terminate", "terminated"),
}


@pytest.mark.parametrize(("status", "move"), list(itertools.product(AccountStatus, StatusChange)))
def test_these_moves_and_no_others(status: AccountStatus, move: StatusChange) -> None:
    wanted = {reached for start, name, reached in ALLOWED if (start, name) == (status.value, move.value)}
    if wanted:
        assert {after(status, move).value} == wanted
        return
    with pytest.raises(StatusChangeRefused) as refused:
        after(status, move)
    possible = [name for start, name, _ in ALLOWED if start == status.value]
    said = str(refused.value)
    assert all(name in said for name in possible) or "terminated, for good" in said


def test_only_one_way_leads_to_sending_and_none_back_from_the_end() -> None:
    assert {start for start, _, reached in ALLOWED if reached == "active"} == {"review", "suspended"}
    assert not [start for start, _, _ in ALLOWED if start == "terminated"]


def test_a_hold_says_why_and_begins_as_its_release_expects() -> None:
    hold = suspension_hold("shop", "complaints")
    assert hold == Hold(HoldSource.ACCOUNT_STATUS, "", "account 'shop' is suspended (complaints)")
    hold = suspension_hold("shop", "complaints", "C-1")
    assert hold == Hold(HoldSource.ACCOUNT_STATUS, "C-1", "account 'shop' is suspended (complaints, case C-1)")
