"""Complaint cases: a complaint that the account must answer, with a deadline.

    open ▶ sent ▶ answered ▶ agreed ▶ closed
           ▼ the deadline passes
           overdue ▶ suspended ▶ agreed ▶ closed

The deadlines come from the account's profile (``[complaints]``). An urgent case, where an account is being used for
spam, suspends it at once; when its shorter deadline passes, its queue fails. From an answer on, the case waits for the
desk, and ``due_at`` is when the desk is reminded. Decisions made here are carried out by
``mta.store.reputation.cases``, with the account in the same transaction.

Invariants: no deadline passes silently, and none that the desk lets pass stops an account. A case is upheld only if the
account has answered, or has let its time pass.

Limitations: whether an answer is good enough is for people to judge: they accept or reject it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    UNPROVEN = "unproven"  # an answer of which it is not proved that it is the account's
    REMINDED = "reminded"  # the desk was, of an answer that waits for it
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
    UNPROVEN = "unproven"  # an answer came that anyone may have written
    REJECTED = "rejected"
    AGREED = "agreed"
    UPHELD = "upheld"
    RESUMED = "resumed"
    TERMINATED = "terminated"

    @property
    def asks(self) -> bool:
        """Whether the account is to answer."""
        return self in (
            Occasion.COMPLAINT, Occasion.STOPPED, Occasion.OVERDUE, Occasion.NOTICES, Occasion.REJECTED
        )  # fmt: skip


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
    """What stops that clock: an answer (`answered`), or only that the answer was agreed to (`agreed`): then an answer
    that is rejected after the deadline suspends the account at once."""
    decide_within: Duration = default("24h")
    """How long an answer may wait for a decision before the operator is reminded, and again after each such time. The
    account is not suspended meanwhile."""
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


class ComplaintCauseKind(Enum):
    """What a complaint is about that no person has put into words."""

    BLOCKLISTED = "blocklisted"
    REPORTED = "reported"  # by a feedback loop
    WITHOUT_TEXT = "without_text"
    COMPLAINTS = "complaints"  # and what else a breaker counts (``policy.reputation.breaker.BreakerKind``)
    HARD_BOUNCES = "hard_bounces"
    UNKNOWN_USERS = "unknown_users"
    TRAPS = "traps"
    REJECTIONS = "rejections"


@dataclass(frozen=True, slots=True)
class ComplaintCause:
    """``facts``: what is filled into its text in each language: a count is an int, a share a float."""

    kind: ComplaintCauseKind
    facts: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Complaint:
    """One that came in. ``summary``: in the words of whoever complains, or in English for the operator; then ``cause``
    says the same for letters in any language. ``address``: whose complaint it is, as far as known; ``address_key`` its
    keyed hash, 16 octets, which may be all there is. ``mailing``: its id. ``evidence``: the complaint as it came.
    ``urgent``: the account is being used for spam. ``by``: who brings it."""

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
    cause: ComplaintCause | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """``profile``: whose clocks run. ``mailing``: its id, ``mailing_name`` the account's name for it. ``complaints``:
    how many came about the same. ``due_at``: when the clock runs out, the account's or, of an answered case, the
    desk's; ``until``: what stops the account's; ``remaining``: what was left of it at the answer, negative if it had
    passed by then; ``decide_within``: the desk's. ``unproven_at``: when an answer came that is not proved to be the
    account's. ``upheld``: whether the complaint was justified, None: not decided."""

    id: int
    account_id: int
    account: str
    source: Source
    state: CaseState
    profile: str
    summary: str
    opened_at: datetime
    cause: ComplaintCause | None = None
    mailing: str | None = None
    mailing_name: str | None = None
    message_id: MessageId | None = None
    address: str | None = None
    urgent: bool = False
    complaints: int = 1
    due_at: datetime | None = None
    until: Until = Until.ANSWERED
    remaining: timedelta | None = None
    decide_within: timedelta = timedelta(days=1)
    told_at: datetime | None = None
    answered_at: datetime | None = None
    unproven_at: datetime | None = None
    closed_at: datetime | None = None
    upheld: bool | None = None
    dossier: Mapping[str, Any] | None = None
    costs: tuple[Mapping[str, Any], ...] = ()

    @property
    def number(self) -> str:
        """As people write it."""
        return f"C-{self.id}"

    @property
    def waits_for_desk(self) -> bool:
        """Whether there is an answer to decide on."""
        return self.answered_at is not None and self.state in (CaseState.ANSWERED, CaseState.SUSPENDED)

    @property
    def was_ignored(self) -> bool:
        """Whether the account was told, has not answered, and its time is over."""
        late = self.state in (CaseState.OVERDUE, CaseState.SUSPENDED) and self.due_at is None
        return late and self.told_at is not None and self.answered_at is None


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
    decide_within = timedelta(seconds=clocks.decide_within)
    told = replace(case, told_at=now, until=clocks.until, decide_within=decide_within, remaining=None, answered_at=None)
    due = now + timedelta(seconds=clocks.stop_within if case.urgent else clocks.answer_within)
    too_many = case.source is Source.CSA and 0 < clocks.csa_notices <= csa_notices
    if case.urgent or too_many:
        stopped = replace(told, state=CaseState.SUSPENDED, due_at=due)
        letter = Occasion.STOPPED if case.urgent else Occasion.NOTICES
        return Step(stopped, (CaseEventKind.SENT, CaseEventKind.SUSPENDED), CaseEffect.SUSPEND, letter)
    return Step(replace(told, state=CaseState.SENT, due_at=due), (CaseEventKind.SENT,), None, Occasion.COMPLAINT)


def run_out(case: Case, clocks: Clocks, now: datetime) -> Step:
    """The clock of ``case`` has run out: the account's, or the desk's."""
    still = replace(case, due_at=None)
    if case.waits_for_desk:
        return Step(replace(case, due_at=now + case.decide_within), (CaseEventKind.REMINDED,))
    match case.state:
        case CaseState.SUSPENDED:
            if not case.urgent:
                return Step(still, ())
            return Step(still, (CaseEventKind.BOUNCED,), CaseEffect.BOUNCE)
        case CaseState.SENT:
            if clocks.overdue is Overdue.TELL:
                return Step(replace(still, state=CaseState.OVERDUE), (CaseEventKind.OVERDUE,), None, Occasion.OVERDUE)
            stopped = replace(still, state=CaseState.SUSPENDED)
            happened = (CaseEventKind.OVERDUE, CaseEventKind.SUSPENDED)
            return Step(stopped, happened, CaseEffect.SUSPEND, Occasion.OVERDUE)
        case CaseState.OPEN | CaseState.ANSWERED | CaseState.AGREED | CaseState.CLOSED | CaseState.OVERDUE:
            return Step(still, ())
        case _:
            assert_never(case.state)


def answer(case: Case, now: datetime) -> Step:
    """The account has answered: from now on the case waits for the desk. Raises StepRefused."""
    match case.state:
        case CaseState.OPEN:
            raise StepRefused("the account has not been told of it yet; the service does so within moments")
        case CaseState.AGREED | CaseState.CLOSED:
            raise StepRefused(f"it is {case.state.value}; there is nothing left to answer")
        case CaseState.SENT | CaseState.OVERDUE | CaseState.ANSWERED | CaseState.SUSPENDED:
            pass
        case _:
            assert_never(case.state)
    if case.waits_for_desk:  # one more answer
        return Step(case, (CaseEventKind.ANSWERED,))
    state = CaseState.SUSPENDED if case.state is CaseState.SUSPENDED else CaseState.ANSWERED
    remaining = case.due_at - now if case.due_at else None
    answered = replace(
        case, state=state, answered_at=now, unproven_at=None, remaining=remaining, due_at=now + case.decide_within
    )
    return Step(answered, (CaseEventKind.ANSWERED,))


def reject(case: Case, now: datetime) -> Step:
    """The answer is not good enough: the account's clock goes on. Raises StepRefused."""
    if case.answered_at is None or not case.waits_for_desk:
        raise StepRefused(f"it is {case.state.value}: there is no answer to reject")
    again = replace(case, answered_at=None, remaining=None, due_at=_resumed_clock(case, case.answered_at, now))
    if case.state is CaseState.ANSWERED:
        again = replace(again, state=CaseState.SENT, due_at=again.due_at or now)
    return Step(again, (CaseEventKind.REJECTED,), None, Occasion.REJECTED)


def _resumed_clock(case: Case, answered_at: datetime, now: datetime) -> datetime | None:
    """Return when the account's clock runs out after a rejection; None if it had run out before the answer."""
    if case.remaining is None:
        return None
    if case.until is Until.AGREED:  # the time that the desk took counts
        return max(answered_at + case.remaining, now)
    return now + max(case.remaining, timedelta(0))


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
    return Step(agreed, (CaseEventKind.AGREED,), _freed(case), Occasion.AGREED)


def close(case: Case, *, upheld: bool, now: datetime, terminated: bool = False) -> Step:
    """The end of a case. An account that never answered stays suspended when the case is upheld. ``terminated``: the
    account is, so that no answer will come. Raises StepRefused."""
    if case.state is CaseState.CLOSED:
        raise StepRefused("it is closed already")
    silent = case.answered_at is None
    if upheld and silent and not (case.was_ignored or terminated):
        raise StepRefused(
            "it has not been answered, and there is time yet, so it cannot be upheld; record the answer "
            f"(mta complaint answer {case.number} --text ...), wait for the deadline, or close it as unfounded"
        )
    closed = replace(case, state=CaseState.CLOSED, due_at=None, remaining=None, closed_at=now, upheld=upheld)
    consequence = None if upheld and silent else _freed(case)
    return Step(closed, (CaseEventKind.CLOSED,), consequence, Occasion.UPHELD if upheld else None)


def is_persistent(upheld: int, clocks: Clocks) -> bool:
    """Whether ``upheld`` cases within ``clocks.upheld_within`` end the account."""
    return 0 < clocks.upheld <= upheld


def _freed(case: Case) -> CaseEffect | None:
    return CaseEffect.RESUME if case.state is CaseState.SUSPENDED else None
