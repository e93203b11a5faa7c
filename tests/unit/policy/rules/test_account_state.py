"""Only an active account sends, and the others are told why not."""

from __future__ import annotations

import pytest

from policy.accounts.account import AccountStatus
from policy.rules.account.account_state import AccountState
from tests.unit.policy.make import CONTEXT, account, ask_sender, facts

RULE = AccountState(AccountState.Settings(), CONTEXT)


def test_an_active_account_sends() -> None:
    assert ask_sender(RULE) == "pass: shop is active"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (AccountStatus.PENDING, "is not reviewed yet; complete what its review needs and ask for it"),
        (AccountStatus.REVIEW, "is being reviewed; wait for the result"),
        (AccountStatus.SUSPENDED, "is suspended (complaints, case 7); settle that and ask to be resumed"),
        (AccountStatus.TERMINATED, "is terminated (complaints, case 7); it cannot send any more"),
    ],
)
def test_any_other_account_does_not(status: AccountStatus, answer: str) -> None:
    known = facts(account(status=status, reason="complaints", case="7"))
    assert ask_sender(RULE, known=known) == f'refuse: 550 5.7.1 account_state: account "shop" {answer}'


def test_a_suspension_without_a_reason_is_told_without_brackets() -> None:
    answer = ask_sender(RULE, known=facts(account(status=AccountStatus.SUSPENDED)))
    assert answer.endswith(' account_state: account "shop" is suspended; settle that and ask to be resumed')
