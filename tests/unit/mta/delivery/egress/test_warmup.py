"""What a source that warms up may send, on which day, to whom."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.load import load_text, shipped_curves
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.warmup import WarmupPlan, WarmupPlans
from mta.mail.warmup import WarmupDay

TODAY = date(2026, 3, 2)
PLAN = WarmupPlan("new", "gmail", "own", (50, 100, 200))


def at(hour: float) -> datetime:
    return datetime(2026, 3, 2, tzinfo=UTC) + timedelta(hours=hour)


def day(step: int = 0, used: int = 0, ago: int = 0, **more: int | str) -> WarmupDay:
    return WarmupDay("new", "gmail", TODAY - timedelta(days=ago), step, used, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last", "step"),
    [
        (None, 0),
        (day(0, 25, ago=1), 1),
        (day(0, 24, ago=1), 0),  # less than half was used: the same again
        (day(1, 90, ago=3), 2),
        (day(2, 200, ago=1), 3),  # warm
        (day(3, 9999, ago=1), 3),
        (day(3, 0, ago=30), 3),
        (day(3, 9999, ago=31), 0),  # forgotten by the providers
        (day(1, 100, ago=1, paused="blocked"), 0),
        (day(0, 50, ago=1, paused="blocked"), 0),
        (day(7, 50, ago=1), 3),  # of a longer curve
    ],
)
def test_the_step_of_a_day_follows_from_the_last_one(last: WarmupDay | None, step: int) -> None:
    assert PLAN.step_on(TODAY, last) == step


def test_a_source_that_has_sent_before_begins_later() -> None:
    plan = WarmupPlan("new", "gmail", "own", (50, 100, 200), first=1)
    assert (plan.step_on(TODAY, None), plan.planned(1)) == (1, 100)


def test_the_volume_of_a_day_is_released_bit_by_bit() -> None:
    assert PLAN.loan(day(), 1, at(0)).granted == 1
    whole = [PLAN.loan(day(used=0), 50, at(hour)).granted for hour in (0, 10, 18.9, 19, 23)]
    assert whole == [0, 0, 0, 50, 50]
    loan = PLAN.loan(day(used=25), 5, at(9))  # 25 of 50 are released
    assert (loan.granted, round(loan.wait)) == (0, 2 * 3600)
    assert PLAN.loan(day(used=25), 5, at(9) + timedelta(seconds=loan.wait)).granted == 5
    assert PLAN.loan(day(used=50), 1, at(20)).wait == 4 * 3600  # of tomorrow
    assert PLAN.loan(day(used=0), 51, at(20)).wait == 4 * 3600


def test_recipients_who_showed_interest_come_first() -> None:
    loan = PLAN.loan(day(), 1, at(3))
    assert (loan.granted, loan.others) == (1, 0)
    assert 0 < loan.others_wait <= 3600
    later = PLAN.loan(day(), 1, at(3) + timedelta(seconds=loan.others_wait))
    assert later.others == 1
    assert PLAN.loan(day(used=13), 1, at(8)).others == 0  # they have used what was released
    assert PLAN.loan(day(used=13), 1, at(8)).granted == 1


def test_a_paused_day_lends_nothing_and_a_warm_source_all() -> None:
    paused = PLAN.loan(day(paused="blocked"), 1, at(12))
    assert (paused.granted, paused.wait) == (0, 12 * 3600)
    warm = PLAN.loan(day(step=3, used=10**6), 700, at(0))
    assert (warm.granted, warm.others, warm.wait) == (700, 700, 0.0)


@pytest.mark.parametrize(("good", "bad", "stops"), [(0, 4, False), (0, 5, True), (95, 5, True), (96, 5, False)])
def test_bad_answers_pause(good: int, bad: int, stops: bool) -> None:
    assert bool(PLAN.verdict(day(good=good, bad=bad))) is stops
    assert not PLAN.verdict(day(step=3, good=good, bad=bad))


@given(st.lists(st.tuples(st.integers(0, 24 * 60 - 1), st.integers(1, 40)), max_size=60), st.integers(0, 2))
def test_no_day_lends_more_than_planned(asked: list[tuple[int, int]], step: int) -> None:
    used = 0
    for minute, wanted in sorted(asked):
        loan = PLAN.loan(day(step, used), wanted, at(minute / 60))
        assert 0 <= loan.others <= loan.granted
        assert loan.granted == 0 or loan.granted >= wanted
        assert (loan.granted == 0) == (loan.wait > 0)
        used += loan.granted
    assert used <= PLAN.daily[step]


def test_plans_of_a_configuration() -> None:
    text = """
    [[egress.sources]]
    name = "old"
    address = "192.0.2.1"
    [[egress.sources]]
    name = "new"
    address = "192.0.2.2"
    [[egress.pools]]
    name = "fresh"
    members = [{ source = "new" }]
    [[shaping.warmup]]
    pool = "fresh"
    [[shaping.warmup]]
    source = "new"
    provider = "gmail"
    curve = "careful"
    first_day = 3
    """
    settings = load_text(text, "x", Path())
    plans = WarmupPlans(settings.shaping, SourcePools(settings.egress))
    gmail, others = plans.of("new", "gmail"), plans.of("new", "default")
    assert gmail is not None
    assert others is not None
    assert (gmail.curve, gmail.first, others.curve, others.first) == ("careful", 2, "standard", 0)
    assert plans.of("old", "gmail") is None
    assert not WarmupPlans.none()


def test_shipped_curves_grow_and_never_more_than_twofold() -> None:
    for curve in shipped_curves():
        assert all(before < after <= 2 * before for before, after in pairwise(curve.daily))
        assert all(after <= 1.6 * before for before, after in pairwise(curve.daily[7:]))
        assert curve.reason
