"""Complaint cases: a complaint that the account must answer, with a deadline.

    open ▶ sent ▶ answered ▶ agreed ▶ closed
           ▼ the deadline passes
           overdue ▶ suspended ▶ agreed ▶ closed

The deadlines come from the account's profile (``[complaints]``). An urgent case, where an account is being used for
spam, suspends it at once; when its shorter deadline passes, its queue fails. Decisions made here are carried out by
``mta.store.reputation.cases``, with the account in the same transaction.

Invariants: no deadline passes silently; an unanswered case is never upheld.

Limitations: whether an answer is good enough is for people to judge: they accept or reject it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Any, assert_never

from pydantic import Field

from config.types import Duration, Section, default
from mta.mail.identity import MessageId

EVIDENCE = 65_536  # octets of a complaint that are kept
BY_US = "service"  # who acts when no person does


class Source(Enum):
    """Where a complaint comes from. ``REGULATOR`` goes before everything else."""

    FEEDBACK_LOOP = "feedback_loop"
    RECIPIENT = "recipient"
    BLOCKLIST = "blocklist"
    ADVERTISING_BODY = "advertising_body"
    REGULATOR = "regulator"
    PROVIDER = "provider"
    CSA = "csa"
    BREAKER = "breaker"  # our own: rates that got out of hand


class CaseState(Enum):
    """Where a case is in its life."""

    OPEN = "open"
    SENT = "sent"  # the account was told
    ANSWERED = "answered"
    AGREED = "agreed"
    CLOSED = "closed"
    OVERDUE = "overdue"
    SUSPENDED = "suspended"  # the account is, because of it


class CaseEventKind(Enum):
    """What is written into the history of a case."""

    OPENED = "opened"
    COMPLAINT = "complaint"  # one more about the same
    SENT = "sent"
    ANSWERED = "answered"
    REJECTED = "rejected"
    OVERDUE = "overdue"
    SUSPENDED = "suspended"
    BOUNCED = "bounced"
    AGREED = "agreed"
    CLOSED = "closed"
    RESUMED = "resumed"
    TERMINATED = "terminated"
    COST = "cost"
    NOTE = "note"


class CaseEffect(Enum):
    """What a step of a case means for its account."""

    SUSPEND = "suspend"
    BOUNCE = "bounce"  # what is queued fails
    RESUME = "resume"  # unless another case stands in the way


class Occasion(Enum):
    """What the account is written to for."""

    COMPLAINT = "complaint"
    STOPPED = "stopped"  # it is being used for spam
    OVERDUE = "overdue"
    NOTICES = "notices"  # of the CSA, one too many
    REJECTED = "rejected"


class Until(Enum):
    """What stops the clock."""

    ANSWERED = "answered"
    AGREED = "agreed"


class Overdue(Enum):
    """What becomes of the account when the clock has run out."""

    SUSPEND = "suspend"
    TELL = "tell"  # nothing but the operator's attention


class Clocks(Section):
    """How complaints are dealt with: the table `[complaints]` of a profile."""

    answer_within: Duration = default("48h")
    """How long the account has, from when it was told."""
    until: Annotated[Until, Field(strict=False)] = Until.ANSWERED
    """What stops that clock: an answer (`answered`), or only that the answer was agreed to (`agreed`)."""
    overdue: Annotated[Overdue, Field(strict=False)] = Overdue.SUSPEND
    """When it runs out: `suspend` the account until agreed, or only `tell` the operator."""
    stop_within: Duration = default("2h")
    """How long an account that is being used for spam has, suspended, before what it has queued fails."""
    upheld: int = Field(5, ge=0)
    """The account is terminated with this many upheld cases; 0: never by itself."""
    upheld_within: Duration = default("180d")
    """In how long a time."""
    csa_notices: int = Field(3, ge=0)
    """The account is suspended with this many notices of the CSA; 0: they are cases like any other."""
    csa_within: Duration = default("180d")
    """In how long a time."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One that came in. ``address``: whose complaint it is, as far as known; ``address_key`` its keyed hash, 16 octets,
    which may be all there is. ``mailing``: its id. ``evidence``: the complaint as it came. ``urgent``: the account is
    being used for spam. ``by``: who brings it."""

    account_id: int
    source: Source
    summary: str
    mailing: str | None = None
    address: str | None = None
    address_key: bytes | None = None
    message_id: MessageId | None = None
    evidence: bytes = b""
    urgent: bool = False
    by: str = BY_US


@dataclass(frozen=True, slots=True)
class Case:
    """``profile``: whose clocks run. ``mailing``: its id, ``mailing_name`` the account's name for it. ``complaints``:
    how many came about the same. ``due_at``: when the clock runs out; ``until``: what stops it; ``remaining``: what is
    left of one that stands still. ``upheld``: whether the complaint was justified, None: not decided."""

    id: int
    account_id: int
    account: str
    source: Source
    state: CaseState
    profile: str
    summary: str
    opened_at: datetime
    mailing: str | None = None
    mailing_name: str | None = None
    message_id: MessageId | None = None
    address: str | None = None
    urgent: bool = False
    complaints: int = 1
    due_at: datetime | None = None
    until: Until = Until.ANSWERED
    remaining: timedelta | None = None
    told_at: datetime | None = None
    answered_at: datetime | None = None
    closed_at: datetime | None = None
    upheld: bool | None = None
    dossier: Mapping[str, Any] | None = None
    costs: tuple[Mapping[str, Any], ...] = ()

    @property
    def number(self) -> str:
        """As people write it."""
        return f"C-{self.id}"


@dataclass(frozen=True, slots=True)
class Step:
    """A case after something has happened, and what follows from that."""

    case: Case
    happened: tuple[CaseEventKind, ...]
    consequence: CaseEffect | None = None
    letter: Occasion | None = None


class StepRefused(ValueError):
    """Why a case cannot go there; the text says how to fix it."""


def tell(case: Case, clocks: Clocks, now: datetime, csa_notices: int = 0) -> Step:
    """The account is told of an open case, and its clock begins. ``csa_notices``: of the account, this one included,
    within ``clocks.csa_within``."""
    told = replace(case, told_at=now, until=clocks.until, remaining=None)
    if case.urgent:
        due = now + timedelta(seconds=clocks.stop_within)
        stopped = replace(told, state=CaseState.SUSPENDED, due_at=due)
        return Step(stopped, (CaseEventKind.SENT, CaseEventKind.SUSPENDED), CaseEffect.SUSPEND, Occasion.STOPPED)
    if case.source is Source.CSA and 0 < clocks.csa_notices <= csa_notices:
        stopped = replace(told, state=CaseState.SUSPENDED, due_at=None)
        return Step(stopped, (CaseEventKind.SENT, CaseEventKind.SUSPENDED), CaseEffect.SUSPEND, Occasion.NOTICES)
    due = now + timedelta(seconds=clocks.answer_within)
    return Step(replace(told, state=CaseState.SENT, due_at=due), (CaseEventKind.SENT,), None, Occasion.COMPLAINT)


def run_out(case: Case, clocks: Clocks) -> Step:
    """The clock of ``case`` has run out."""
    still = replace(case, due_at=None)
    match case.state:
        case CaseState.SUSPENDED:
            if not case.urgent:
                return Step(still, ())
            return Step(still, (CaseEventKind.BOUNCED,), CaseEffect.BOUNCE)
        case CaseState.SENT | CaseState.ANSWERED:
            if clocks.overdue is Overdue.TELL:
                return Step(replace(still, state=CaseState.OVERDUE), (CaseEventKind.OVERDUE,), None, Occasion.OVERDUE)
            stopped = replace(still, state=CaseState.SUSPENDED)
            happened = (CaseEventKind.OVERDUE, CaseEventKind.SUSPENDED)
            return Step(stopped, happened, CaseEffect.SUSPEND, Occasion.OVERDUE)
        case CaseState.OPEN | CaseState.AGREED | CaseState.CLOSED | CaseState.OVERDUE:
            return Step(still, ())
        case _:
            assert_never(case.state)


def answer(case: Case, now: datetime) -> Step:
    """The account has answered. Raises StepRefused."""
    answered = replace(case, answered_at=now)
    match case.state:
        case CaseState.SUSPENDED | CaseState.ANSWERED:
            return Step(answered, (CaseEventKind.ANSWERED,))
        case CaseState.SENT | CaseState.OVERDUE:
            answered = replace(answered, state=CaseState.ANSWERED)
            if case.until is Until.ANSWERED:
                remaining = max(case.due_at - now, timedelta(0)) if case.due_at else timedelta(0)
                answered = replace(answered, due_at=None, remaining=remaining)
            return Step(answered, (CaseEventKind.ANSWERED,))
        case CaseState.OPEN:
            raise StepRefused("the account has not been told of it yet; the service does so within moments")
        case CaseState.AGREED | CaseState.CLOSED:
            raise StepRefused(f"it is {case.state.value}; there is nothing left to answer")
        case _:
            assert_never(case.state)


def reject(case: Case, now: datetime) -> Step:
    """The answer is not good enough: the clock goes on where it stood. Raises StepRefused."""
    if case.answered_at is None or case.state not in (CaseState.ANSWERED, CaseState.SUSPENDED):
        raise StepRefused(f"it is {case.state.value}: there is no answer to reject")
    again = replace(case, answered_at=None, remaining=None)
    if case.state is CaseState.ANSWERED:
        again = replace(again, state=CaseState.SENT)
        if case.due_at is None:
            again = replace(again, due_at=now + (case.remaining or timedelta(0)))
    return Step(again, (CaseEventKind.REJECTED,), None, Occasion.REJECTED)


def agree(case: Case) -> Step:
    """The answer is good, and what will be done is agreed upon. Raises StepRefused."""
    match case.state:
        case CaseState.AGREED | CaseState.CLOSED:
            raise StepRefused(f"it is {case.state.value} already")
        case CaseState.OPEN | CaseState.SENT | CaseState.OVERDUE | CaseState.ANSWERED | CaseState.SUSPENDED:
            if case.answered_at is None:
                raise StepRefused(
                    f"it has not been answered; record the answer (mta complaint answer {case.number} --text ...), or "
                    f"close it as unfounded (mta complaint close {case.number} --unfounded)"
                )
        case _:
            assert_never(case.state)
    agreed = replace(case, state=CaseState.AGREED, due_at=None, remaining=None)
    return Step(agreed, (CaseEventKind.AGREED,), _freed(case))


def close(case: Case, *, upheld: bool, now: datetime, terminated: bool = False) -> Step:
    """The end of a case. ``terminated``: the account is, so that no answer will come. Raises StepRefused."""
    if case.state is CaseState.CLOSED:
        raise StepRefused("it is closed already")
    if upheld and case.answered_at is None and not terminated:
        raise StepRefused(
            f"it has not been answered, so it cannot be upheld; record the answer (mta complaint answer {case.number} "
            "--text ...), or close it as unfounded"
        )
    closed = replace(case, state=CaseState.CLOSED, due_at=None, remaining=None, closed_at=now, upheld=upheld)
    return Step(closed, (CaseEventKind.CLOSED,), _freed(case))


def is_persistent(upheld: int, clocks: Clocks) -> bool:
    """Whether ``upheld`` cases within ``clocks.upheld_within`` end the account."""
    return 0 < clocks.upheld <= upheld


def _freed(case: Case) -> CaseEffect | None:
    return CaseEffect.RESUME if case.state is CaseState.SUSPENDED else None
