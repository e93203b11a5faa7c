"""No more recipients than was agreed: later, if later may do; never, if it cannot."""

from __future__ import annotations

from datetime import time, timedelta

import pytest

from policy.accounts.account import QuotaLimits
from policy.base import Refuse
from policy.rules.account.quota import QuotaRule
from tests.unit.policy.make import CONTEXT, NOW, account, ask, facts, message

RULE = QuotaRule(QuotaRule.Settings(), CONTEXT)
THREE = message(to=["a@example.net", "b@example.net", "c@example.net"])


def answer(left: int | None, quotas: QuotaLimits) -> str:
    return ask(RULE, THREE, facts(account(quotas=quotas), quota_left=left))


def test_without_a_quota_there_is_no_limit() -> None:
    assert answer(None, QuotaLimits()) == "pass: no quota"


@pytest.mark.parametrize("left", [3, 4, 1000])
def test_within_the_quota(left: int) -> None:
    assert answer(left, QuotaLimits(day=1000, month=9000)) == f"pass: {left} left of 1000 a day, 9000 a month"


@pytest.mark.parametrize(("left", "shown"), [(2, 2), (0, 0), (-5, 0)])
def test_beyond_what_is_left_is_put_off(left: int, shown: int) -> None:
    assert answer(left, QuotaLimits(day=1000)) == (
        f'refuse: 450 4.7.1 quota: 3 recipients, but {shown} are left of the quota of account "shop" (1000 a day); '
        "try again after midnight UTC, or ask for a larger quota"
    )


def test_it_is_known_how_long_midnight_is_away() -> None:
    verdict, _ = RULE.on_content(THREE, facts(account(quotas=QuotaLimits(day=1000)), quota_left=0), NOW)
    assert isinstance(verdict, Refuse)
    assert verdict.reply.retry_after is not None
    again = NOW + timedelta(seconds=verdict.reply.retry_after)
    assert (again.date() - NOW.date(), again.time()) == (timedelta(days=1), time())


def test_what_no_day_can_hold_is_refused_for_good() -> None:
    assert answer(2, QuotaLimits(day=2, month=60)) == (
        "refuse: 550 5.7.1 quota: 3 recipients, but the quota is 2 a day, 60 a month; send to fewer at once"
    )
