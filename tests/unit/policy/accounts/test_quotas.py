from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.accounts.account import Account, QuotaLimits
from policy.accounts.quotas import SECOND, Quota, Rate, Span, quotas_of

NOON = datetime(2026, 2, 28, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "now", "start"),
    [
        (Span.DAY, NOON, datetime(2026, 2, 28, tzinfo=UTC)),
        (Span.MONTH, NOON, datetime(2026, 2, 1, tzinfo=UTC)),
        # Half past midnight in Amsterdam is still yesterday.
        (Span.DAY, datetime(2026, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), datetime(2026, 2, 28, tzinfo=UTC)),
        (
            Span.MONTH,
            datetime(2026, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))),
            datetime(2026, 2, 1, tzinfo=UTC),
        ),
    ],
)
def test_windows_are_days_and_months_of_utc(span: Span, now: datetime, start: datetime) -> None:
    assert span.start(now) == start


def test_an_account_without_quotas_has_none() -> None:
    assert quotas_of(Account(7, "acme", frozenset()), NOON) == ()
    (day,) = quotas_of(Account(7, "acme", frozenset(), quotas=QuotaLimits(day=100)), NOON)
    assert day == Quota("account:7:day", datetime(2026, 2, 28, tzinfo=UTC), 100)
    assert len(quotas_of(Account(7, "acme", frozenset(), quotas=QuotaLimits(0, 100)), NOON)) == 2


def test_blocks_shrink_as_the_end_comes_near() -> None:
    quota = Quota("x", NOON, 1000)
    assert quota.lend(0, 1, 0).granted == 62
    assert quota.lend(900, 1, 0).granted == 6
    assert quota.lend(999, 1, 0).granted == 1
    last = quota.lend(999, 2, 0)
    assert (last.granted, last.left, last.state) == (0, 1, 999)
    assert quota.lend(5000, 1, 0).left == 0  # the limit was lowered


@given(st.integers(0, 5000), st.lists(st.tuples(st.integers(1, 300), st.integers(0, 100)), max_size=60))
def test_never_more_than_the_quota_is_out(limit: int, steps: list[tuple[int, int]]) -> None:
    quota, state, used = Quota("x", NOON, limit), 0, 0
    for wanted, percent in steps:
        loan = quota.lend(state, wanted, 0)
        assert loan.granted == 0 or loan.granted >= wanted
        unused = loan.granted * percent // 100
        used += loan.granted - unused
        state = loan.state + quota.brought_back(unused)
        assert used == state <= limit


@given(
    st.floats(0.1, 2000),
    st.integers(1, 5000),
    st.lists(st.tuples(st.integers(0, 10 * SECOND), st.integers(1, 50)), min_size=1, max_size=60),
)
def test_in_no_stretch_of_time_more_than_the_rate_allows(rate: float, burst: int, steps: list[tuple[int, int]]) -> None:
    limit, state, now = Rate("x", rate, burst), 0, 1_700_000_000 * SECOND
    lent: list[tuple[int, int]] = []
    for pause, wanted in steps:
        now += pause
        loan = limit.lend(state, wanted, now)
        state = loan.state
        lent.append((now, loan.granted))
        for first in range(len(lent)):
            total = sum(granted for _, granted in lent[first:])
            assert total <= burst + rate * (now - lent[first][0]) / SECOND + 1e-6


@given(st.floats(0.1, 2000), st.integers(1, 5000), st.integers(0, 10_000))
def test_after_the_wait_there_is_something(rate: float, burst: int, owed: int) -> None:
    limit, now = Rate("x", rate, burst), 1_700_000_000 * SECOND
    state = limit.owing(0, owed, now)
    loan = limit.lend(state, 1, now)
    if loan.granted == 0:
        assert loan.wait > 0
        assert limit.lend(state, 1, now + int(loan.wait * SECOND) + 2).granted >= 1


def test_what_is_brought_back_can_be_lent_again() -> None:
    limit, now = Rate("x", 10, 100), 1_700_000_000 * SECOND
    state = limit.owing(0, 100, now)
    assert limit.lend(state, 1, now).granted == 0
    assert limit.lend(state + limit.brought_back(40), 100, now).granted == 40


def test_a_rate_at_rest_saves_up_its_burst_and_no_more() -> None:
    limit, now = Rate("x", 10, 100), 1_700_000_000 * SECOND
    assert limit.lend(0, 1000, now).granted == 100
    assert limit.lend(0, 1, now).granted == 12  # an eighth
