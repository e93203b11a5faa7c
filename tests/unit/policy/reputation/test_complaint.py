"""The life of a case: what each step leads to, when clocks stop, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from policy.reputation.complaint import (
    Case,
    CaseEffect,
    CaseEventKind,
    CaseState,
    Clocks,
    Occasion,
    Overdue,
    Source,
    Step,
    StepRefused,
    Until,
    agree,
    answer,
    close,
    is_persistent,
    reject,
    run_out,
    tell,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = Clocks(answer_within="24h")  # type: ignore[arg-type]
AGREED = Clocks(until=Until.AGREED)
LATER = NOW + 49 * HOUR


def case(**more: Any) -> Case:
    fresh = Case(1, 7, "shop", Source.RECIPIENT, CaseState.OPEN, "spotler", "never asked for it", NOW)
    return replace(fresh, **more)


def told(clocks: Clocks = DAY, **more: Any) -> Case:
    return tell(case(**more), clocks, NOW).case


def answered(clocks: Clocks = DAY, after: timedelta = HOUR, **more: Any) -> Case:
    return answer(told(clocks, **more), NOW + after).case


def test_the_account_is_told_and_its_clock_begins() -> None:
    step = tell(case(), DAY, NOW)
    assert step.case.state is CaseState.SENT
    assert step.case.due_at == NOW + 24 * HOUR
    assert (step.happened, step.consequence, step.letter) == ((CaseEventKind.SENT,), None, Occasion.COMPLAINT)


def test_who_does_not_answer_in_time_is_suspended() -> None:
    step = run_out(told(), DAY, LATER)
    assert step.case.state is CaseState.SUSPENDED
    assert step.case.due_at is None
    assert (step.consequence, step.letter) == (CaseEffect.SUSPEND, Occasion.OVERDUE)


def test_a_profile_may_leave_it_at_telling_the_operator() -> None:
    step = run_out(told(), Clocks(overdue=Overdue.TELL), LATER)
    assert (step.case.state, step.consequence) == (CaseState.OVERDUE, None)


def test_spam_stops_the_account_at_once_and_its_queue_two_hours_later() -> None:
    step = tell(case(urgent=True), DAY, NOW)
    assert (step.case.state, step.case.due_at) == (CaseState.SUSPENDED, NOW + 2 * HOUR)
    assert (step.consequence, step.letter) == (CaseEffect.SUSPEND, Occasion.STOPPED)
    over = run_out(step.case, DAY, NOW + 2 * HOUR)
    assert (over.case.state, over.case.due_at, over.consequence) == (CaseState.SUSPENDED, None, CaseEffect.BOUNCE)


def test_an_answer_within_them_keeps_the_queue_until_it_is_decided_on() -> None:
    waiting = answer(tell(case(urgent=True), DAY, NOW).case, NOW + HOUR).case
    assert waiting.due_at == NOW + 25 * HOUR
    assert run_out(waiting, DAY, NOW + 25 * HOUR).consequence is None
    again = reject(waiting, NOW + 30 * HOUR).case
    assert (again.state, again.due_at) == (CaseState.SUSPENDED, NOW + 31 * HOUR)
    assert run_out(again, DAY, NOW + 31 * HOUR).consequence is CaseEffect.BOUNCE


def test_an_agreement_in_time_keeps_the_queue() -> None:
    stopped = answer(told(urgent=True), NOW + HOUR).case
    step = agree(stopped)
    assert (step.case.state, step.case.due_at, step.consequence) == (CaseState.AGREED, None, CaseEffect.RESUME)


def test_an_answer_stops_the_clock_and_a_rejection_lets_it_go_on() -> None:
    waiting = answered(after=10 * HOUR)
    assert (waiting.state, waiting.remaining, waiting.due_at) == (CaseState.ANSWERED, 14 * HOUR, NOW + 34 * HOUR)
    assert answer(waiting, NOW + 20 * HOUR).case == waiting, "one more answer changes no clock"
    again = reject(waiting, NOW + 100 * HOUR).case
    assert (again.state, again.due_at, again.answered_at) == (CaseState.SENT, NOW + 114 * HOUR, None)
    assert reject(waiting, NOW).letter is Occasion.REJECTED


def test_the_desk_is_reminded_until_it_decides() -> None:
    waiting = answered()
    for n in range(1, 4):
        step = run_out(waiting, DAY, NOW + n * 25 * HOUR)
        assert (step.happened, step.consequence, step.letter) == ((CaseEventKind.REMINDED,), None, None)
        assert step.case.due_at == NOW + n * 25 * HOUR + 24 * HOUR
        waiting = step.case
    assert reject(waiting, NOW + 100 * HOUR).case.due_at == NOW + 123 * HOUR


def test_where_only_an_agreement_counts_the_time_of_the_desk_counts_too() -> None:
    waiting = answered(AGREED)
    assert reject(waiting, NOW + 5 * HOUR).case.due_at == NOW + 48 * HOUR
    late = NOW + 60 * HOUR
    assert run_out(waiting, AGREED, late).consequence is None, "it has answered"
    rejected = reject(waiting, late).case
    assert rejected.due_at == late
    step = run_out(rejected, AGREED, late)
    assert (step.case.state, step.consequence) == (CaseState.SUSPENDED, CaseEffect.SUSPEND)
    assert agree(answer(step.case, late).case).consequence is CaseEffect.RESUME


def test_the_third_notice_of_the_csa_suspends() -> None:
    clocks, notice = Clocks(), case(source=Source.CSA)
    assert tell(notice, clocks, NOW, 2).case.state is CaseState.SENT
    third = tell(notice, clocks, NOW, 3)
    assert (third.case.state, third.consequence, third.letter) == (
        CaseState.SUSPENDED, CaseEffect.SUSPEND, Occasion.NOTICES,
    )  # fmt: skip
    assert tell(notice, Clocks(csa_notices=0), NOW, 99).case.state is CaseState.SENT
    assert tell(case(), clocks, NOW, 99).case.state is CaseState.SENT


def test_nothing_is_agreed_that_nobody_has_answered_and_nothing_upheld_before_its_time() -> None:
    for unanswered in (case(), told(), told(urgent=True)):
        with pytest.raises(StepRefused, match="has not been answered"):
            agree(unanswered)
        with pytest.raises(StepRefused, match="mta complaint answer C-1"):
            close(unanswered, upheld=True, now=NOW)
        assert close(unanswered, upheld=False, now=NOW).case.state is CaseState.CLOSED
    assert close(told(), upheld=True, now=NOW, terminated=True).case.upheld is True


@pytest.mark.parametrize("clocks", [DAY, Clocks(overdue=Overdue.TELL)])
def test_the_complaint_about_a_silent_account_can_be_upheld_which_does_not_resume_it(clocks: Clocks) -> None:
    silent = run_out(told(), clocks, LATER).case
    with pytest.raises(StepRefused, match="has not been answered"):
        agree(silent)
    step = close(silent, upheld=True, now=LATER)
    assert (step.case.upheld, step.consequence, step.letter) == (True, None, Occasion.UPHELD)
    assert close(told(urgent=True), upheld=False, now=NOW).letter is None


def test_what_is_over_is_over() -> None:
    agreed = agree(answered()).case
    closed = close(agreed, upheld=True, now=NOW).case
    assert (closed.state, closed.upheld, closed.closed_at) == (CaseState.CLOSED, True, NOW)
    for done in (agreed, closed):
        with pytest.raises(StepRefused):
            answer(done, NOW)
        with pytest.raises(StepRefused):
            agree(done)
        with pytest.raises(StepRefused):
            reject(done, NOW)
    with pytest.raises(StepRefused):
        close(closed, upheld=False, now=NOW)
    with pytest.raises(StepRefused, match="not been told"):
        answer(case(), NOW)


def test_closing_frees_a_suspended_account_only_if_it_was_for_that() -> None:
    assert close(told(urgent=True), upheld=False, now=NOW).consequence is CaseEffect.RESUME
    assert close(answered(), upheld=False, now=NOW).consequence is None


def test_persistence_is_counted() -> None:
    assert [is_persistent(n, Clocks(upheld=3)) for n in (2, 3, 4)] == [False, True, True]
    assert not is_persistent(1000, Clocks(upheld=0))


MOVES = (
    lambda each, clocks, now: tell(each, clocks, now) if each.state is CaseState.OPEN else run_out(each, clocks, now),
    lambda each, clocks, now: answer(each, now),
    lambda each, clocks, now: reject(each, now),
    lambda each, clocks, now: agree(each),
    lambda each, clocks, now: close(each, upheld=True, now=now),
)


@given(
    moves=some.lists(some.sampled_from(MOVES), max_size=12),
    urgent=some.booleans(),
    clocks=some.builds(Clocks, until=some.sampled_from(Until), overdue=some.sampled_from(Overdue)),
)
def test_whatever_happens_no_clock_is_lost(moves: list[Any], urgent: bool, clocks: Clocks) -> None:
    """A case waits for its account only with a clock, a suspension ends only by agreeing or closing, and what is
    closed as justified was answered, or ignored. No account that has answered is stopped."""
    now, each, suspended = NOW, case(urgent=urgent), False
    for move in moves:
        now += HOUR
        try:
            step: Step = move(each, clocks, now)
        except StepRefused:
            continue
        was, each = each, step.case
        assert not (was.waits_for_desk and step.consequence in (CaseEffect.SUSPEND, CaseEffect.BOUNCE))
        if each.upheld and each.answered_at is None:
            assert was.was_ignored
            break
        if step.consequence is CaseEffect.SUSPEND:
            suspended = True
        if step.consequence is CaseEffect.RESUME:
            assert each.state in (CaseState.AGREED, CaseState.CLOSED)
            suspended = False
        assert suspended == (each.state is CaseState.SUSPENDED)
        assert (each.due_at is not None) or not (each.state is CaseState.SENT or each.waits_for_desk)
