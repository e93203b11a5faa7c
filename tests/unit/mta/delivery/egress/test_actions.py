"""Shaping actions: what is in scope and what is not, for every effect."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schema import PathLimits
from mta.delivery.egress.actions import ActionsInForce
from mta.mail.message import Stream
from mta.mail.shaping_action import ActionScope, Effect, Place, ShapingAction

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = Place("default", "gmail", "gmail.com", 7, Stream.MARKETING, "m-1", "mta-1")
ELSEWHERE = Place("other", "yahoo", "yahoo.com", 8, Stream.TRANSACTIONAL, "m-2", "mta-2")
NAMES = ("source", "pool", "site", "domain", "account", "mailing", "stream")
FIELDS = {"account": "account_id"}
LIMITS = PathLimits(connections=20, initial_connections=4, message_rates=["10/s"])

scopes = st.sets(st.sampled_from(NAMES), min_size=1)


def action(effect: Effect, scope: ActionScope, number: int = 1, seconds: float = 600, **more: Any) -> ShapingAction:
    ends = NOW + timedelta(seconds=seconds)
    return ShapingAction(number, "a", "a", scope, effect, "why", "", "test", NOW - timedelta(minutes=1), ends, **more)


def affected(subject: ActionsInForce, effect: Effect, place: Place) -> bool:
    """Return whether an effect is felt by mail at a place."""
    match effect:
        case Effect.PAUSE:
            return subject.pause(place, NOW) is not None
        case Effect.POOL:
            return subject.pool_of(place, NOW) == "reserve"
        case Effect.LIMIT:
            of_path = subject.limits(place.source or "", place.site, {place.pool}, LIMITS, NOW).connections == 1
            of_mail = any(subject.limits_in(scope, NOW) for scope in subject.limited_scopes(place))
            assert not (of_path and of_mail), "it would hold twice"
            return of_path or of_mail
        case _:
            raise AssertionError(effect)


@given(names=scopes, effect=st.sampled_from([Effect.PAUSE, Effect.POOL, Effect.LIMIT]))
def test_an_effect_is_felt_by_all_mail_in_its_scope_and_by_no_other(names: set[str], effect: Effect) -> None:
    scope = ActionScope.of(HERE, names)
    assert scope is not None
    subject = ActionsInForce([action(effect, scope, connections=1, pool="reserve")])
    assert affected(subject, effect, HERE)
    for name in NAMES:
        field = FIELDS.get(name, name)
        moved = HERE._replace(**{field: getattr(ELSEWHERE, field)})
        assert affected(subject, effect, moved) is (name not in names), (name, names)


@given(names=scopes)
def test_a_scope_is_what_it_is_written_as(names: set[str]) -> None:
    scope = ActionScope.of(HERE, names)
    assert scope is not None
    assert ActionScope.read(scope.fields) == scope
    assert set(scope.fields) == {FIELDS.get(name, name) for name in names}


def test_mail_without_a_mailing_is_in_no_scope_of_mailings() -> None:
    assert ActionScope.of(HERE._replace(mailing=None), ["mailing", "site"]) is None
    subject = ActionsInForce([action(Effect.PAUSE, ActionScope(mailing="m-1"))])
    assert subject.pause(HERE._replace(mailing=None), NOW) is None


def test_the_longest_pause_counts_and_none_after_its_end() -> None:
    short, long = (action(Effect.PAUSE, ActionScope(site="gmail"), n, s) for n, s in ((1, 60), (2, 600)))
    subject = ActionsInForce([long, short])
    assert subject.pause(HERE, NOW) == long
    assert subject.pause(HERE, NOW + timedelta(seconds=601)) is None
    cancelled = replace(long, cancelled_at=NOW)
    assert ActionsInForce([cancelled, short]).pause(HERE, NOW) == short


def test_the_lowest_limits_of_all_count_and_stay_one_object() -> None:
    subject = ActionsInForce(
        [
            action(Effect.LIMIT, ActionScope(site="gmail"), 1, connections=3),
            action(Effect.LIMIT, ActionScope(source="mta-1"), 2, 60, connections=5, message_rates=("30/m",)),
        ]
    )
    lowered = subject.limits("mta-1", "gmail", (), LIMITS, NOW)
    assert (lowered.connections, lowered.initial_connections, lowered.message_rates) == (3, 3, ["10/s", "30/m"])
    assert subject.limits("mta-1", "gmail", (), LIMITS, NOW) is lowered
    later = NOW + timedelta(seconds=61)
    assert subject.limits("mta-1", "gmail", (), LIMITS, later).message_rates == ["10/s"]
    assert subject.limits("mta-1", "gmail", (), LIMITS, NOW + timedelta(hours=1)) is LIMITS
    assert subject.limits("mta-2", "yahoo", (), LIMITS, NOW) is LIMITS


def test_limits_for_the_same_mail_hold_together_and_others_for_themselves() -> None:
    account, mailing = ActionScope(account_id=7), ActionScope(account_id=7, mailing="m-1", site="gmail")
    first = action(Effect.LIMIT, account, 1, connections=3)
    second = action(Effect.LIMIT, account, 2, 60, message_rates=("1/s",))
    third = action(Effect.LIMIT, mailing, 3, connections=2)
    subject = ActionsInForce([third, second, first])
    assert set(subject.limited_scopes(HERE)) == {account, mailing}
    assert list(subject.limited_scopes(ELSEWHERE)) == []
    assert subject.limits_in(account, NOW) == [first, second]
    assert subject.limits_in(mailing, NOW) == [third]
    assert subject.limits_in(account, NOW + timedelta(seconds=61)) == [first]
    assert subject.limits("mta-1", "gmail", (), LIMITS, NOW) is LIMITS


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(timedelta(0), False, id="paused"),
        pytest.param(timedelta(minutes=11), True, id="just ended"),
        pytest.param(timedelta(minutes=80), False, id="long over"),
    ],
)
def test_a_path_recovers_for_an_hour(after: timedelta, expected: bool) -> None:
    subject = ActionsInForce([action(Effect.PAUSE, ActionScope(source="mta-1", site="gmail"))])
    assert subject.is_recovering("mta-1", "gmail", (), NOW + after) is expected
    assert not subject.is_recovering("mta-2", "gmail", (), NOW + after)
