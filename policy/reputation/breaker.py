"""Breakers: from counts of bounces and complaints to whether the remaining mail is held.

    counts of a mailing, or of an account's stream at a provider ▶ rate against a ceiling ▶ nothing, a warning, a trip

A tripped breaker holds the remaining mail of its scope until it is cancelled. It has a name, such as
``complaints:mailing:01j...`` or ``rejections:account:7:gmail:marketing``. The thresholds are those of the account's
profile (``[breakers]``).

A rate means little where there are few: below a ceiling's floor the volume counts as if it were the floor, so that
one complaint about ten messages stops nothing, and twenty about fifty do.

Invariants: a breaker suppresses no recipient and fails no message; it only holds mail. A rejection that is the sender's
fault counts here and never against the recipient. A temporary limit trips nothing.

Limitations: complaints arrive hours after the mail they are about; they count when they arrive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import assert_never

from pydantic import Field

from config.types import Duration, Section, default
from mta.mail.delivery import Action, Classification, Deferred, Delivered, Failed, Fault, Outcome
from mta.mail.hold import Hold, HoldSource
from mta.mail.message import Stream
from mta.mail.reply import Reply, ReplyKind
from policy.reputation.complaint import ComplaintCause, ComplaintCauseKind

# Categories of config/defaults/bounces.toml. What suppresses for a recipient's fault is hard, whatever it is called.
_UNKNOWN = frozenset({"bad_mailbox"})
_HARD = frozenset({"bad_mailbox", "inactive_mailbox", "bad_address", "bad_domain"})
_AGAINST_US = frozenset({"spam_content"})  # "looks like spam" is said of the sender, whatever it points at
_LIMITS = frozenset({"rate_limited", "bad_reputation"})


class BreakerKind(Enum):
    """What got out of hand."""

    COMPLAINTS = "complaints"
    HARD_BOUNCES = "hard_bounces"
    UNKNOWN_USERS = "unknown_users"  # of a list that nothing was sent to before
    TRAPS = "traps"
    REJECTIONS = "rejections"  # for reputation, policy or authentication


class Level(Enum):
    """What is done about it."""

    WARN = "warn"  # an event and a metric
    STOP = "stop"  # the rest waits


class Thresholds(Section):
    """When mail is held because of what comes back: the table `[breakers]` of a profile.

    Rates are shares: 0.001 is 0.1 %. From `_warn` on the operator is told, from `_stop` on the rest is held; fewer
    recipients than `_floor` count as that many."""

    complaints_warn: float = Field(0.001, gt=0, le=1)
    """Complaints by recipients delivered to. Gmail: stay below 0.1 %, never reach 0.3 %."""
    complaints_stop: float = Field(0.0025, gt=0, le=1)
    """The same, to hold the rest."""
    complaints_floor: int = Field(2000, ge=1)
    """Fewer recipients count as this many."""
    hard_bounces_warn: float = Field(0.03, gt=0, le=1)
    """Addresses that do not exist, or not any more, by recipients tried."""
    hard_bounces_stop: float = Field(0.08, gt=0, le=1)
    """The same, to hold the rest."""
    hard_bounces_floor: int = Field(500, ge=1)
    """Fewer recipients count as this many."""
    unknown_users_warn: float = Field(0.02, gt=0, le=1)
    """Mailboxes that do not exist, among the first of a list that nothing was sent to before."""
    unknown_users_stop: float = Field(0.05, gt=0, le=1)
    """The same, to hold the rest."""
    unknown_users_floor: int = Field(200, ge=1)
    """Fewer recipients count as this many."""
    unknown_users_first: int = Field(2000, ge=1)
    """Recipients of such a list that are its first."""
    rejections_warn: float = Field(0.05, gt=0, le=1)
    """Answers that refuse us for reputation, policy or authentication, by all answers."""
    rejections_stop: float = Field(0.2, gt=0, le=1)
    """The same, to hold the rest."""
    rejections_floor: int = Field(250, ge=1)
    """Fewer answers count as this many."""
    traps_warn: int = Field(1, ge=1)
    """Spam traps hit before the operator is told."""
    traps_stop: int = Field(3, ge=1)
    """Spam traps hit before the rest is held."""
    mailing_window: Duration = default("7d")
    """For how long what comes back counts for a mailing, by the hour."""
    window: Duration = default("1d")
    """For how long it counts for what an account sends to a provider, by the hour."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How high a rate may be."""

    warn: float
    stop: float
    floor: int


@dataclass(frozen=True, slots=True)
class MailOrigin:
    """Who sent a message and where it went. ``mailing``: its id; ``provider``: the site of the recipient; None: not
    known."""

    account_id: int
    stream: Stream
    mailing: str | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """What came of recipients. ``hard`` includes ``unknown``; ``refused``: answers that are the sender's fault."""

    delivered: int = 0
    hard: int = 0
    unknown: int = 0
    soft: int = 0
    complaints: int = 0
    traps: int = 0
    refused: int = 0

    @property
    def tried(self) -> int:
        """Recipients of whom we know how it ended."""
        return self.delivered + self.hard

    @property
    def answered(self) -> int:
        return self.delivered + self.hard + self.soft + self.refused


def less(counts: DeliveryCounts, taken: DeliveryCounts) -> DeliveryCounts:
    """``counts`` without what is ``taken`` out of them; never below zero."""
    return DeliveryCounts(
        *(max(0, getattr(counts, each.name) - getattr(taken, each.name)) for each in fields(DeliveryCounts))
    )


ONE_DELIVERED = DeliveryCounts(delivered=1)
ONE_HARD = DeliveryCounts(hard=1)
ONE_UNKNOWN = DeliveryCounts(hard=1, unknown=1)
ONE_SOFT = DeliveryCounts(soft=1)
ONE_REFUSED = DeliveryCounts(refused=1)
ONE_COMPLAINT = DeliveryCounts(complaints=1)
ONE_TRAP = DeliveryCounts(traps=1)


@dataclass(frozen=True, slots=True)
class MailingScope:
    """One mailing. ``fresh``: its list was never mailed before."""

    account_id: int
    mailing: str
    fresh: bool = field(default=False, compare=False)

    @property
    def label(self) -> str:
        return f"mailing:{self.mailing}"


@dataclass(frozen=True, slots=True)
class ProviderScope:
    """What an account sends to a provider in one stream: streams do not pay for one another."""

    account_id: int
    provider: str
    stream: Stream

    @property
    def label(self) -> str:
        return f"account:{self.account_id}:{self.provider}:{self.stream.value}"


Scope = MailingScope | ProviderScope


@dataclass(frozen=True, slots=True)
class BreakerFinding:
    """A rate that is too high. ``volume``: what it is a share of; for traps ``rate`` and ``ceiling`` are counts."""

    scope: Scope
    kind: BreakerKind
    level: Level
    cases: int
    rate: float
    ceiling: float
    volume: int

    @property
    def name(self) -> str:
        return name_of(self.kind, self.scope)

    @property
    def words(self) -> str:
        """The finding for people."""
        what = self.kind.value.replace("_", " ")
        if self.kind is BreakerKind.TRAPS:
            return f"{self.cases} spam traps hit (limit {self.ceiling:g})"
        counted = round(self.cases / self.rate) if self.rate else self.volume
        few = f", counted as {counted}" if counted > self.volume else ""
        return f"{self.cases} {what} of {self.volume} recipients{few} ({self.rate:.2%}, limit {self.ceiling:.2%})"

    @property
    def cause(self) -> ComplaintCause:
        """The finding for letters in any language."""
        return ComplaintCause(
            ComplaintCauseKind(self.kind.value),
            {"cases": self.cases, "volume": self.volume, "rate": self.rate, "ceiling": self.ceiling},
        )


def name_of(kind: BreakerKind, scope: Scope) -> str:
    """What the breaker is called: one of a name is open at a time."""
    return f"{kind.value}:{scope.label}"


def breaker_hold(name: str, words: str) -> Hold:
    """Return why the mail in the scope of an open breaker is held."""
    text = f"{words}; check it, then: mta breaker cancel {name} --reason TEXT"
    return Hold(HoldSource.BREAKER, name, text)


def is_limit(meaning: Classification, reply: Reply) -> bool:
    """Return whether the receiver asks for less or later, for now. A site that does is given less, and recovers by
    itself: that is no case for a breaker, which only a person cancels."""
    return reply.kind is ReplyKind.TRANSIENT and meaning.category in _LIMITS


def is_against_us(meaning: Classification, reply: Reply) -> bool:
    """Return whether a receiver finds fault with us as a sender, or asks for less mail."""
    return meaning.fault is Fault.SENDER or meaning.category in _AGAINST_US or is_limit(meaning, reply)


def counted(outcome: Outcome, *, reached: bool) -> DeliveryCounts | None:
    """What an outcome counts as; None: as nothing. ``reached``: a receiver had said it, not we ourselves."""
    match outcome:
        case Delivered():
            return ONE_DELIVERED
        case Deferred(result, meaning):
            ours = meaning.fault is Fault.SENDER or meaning.category in _AGAINST_US
            ours = ours and not is_limit(meaning, result.reply)
            return (ONE_REFUSED if ours else ONE_SOFT) if reached else None
        case Failed(classification=meaning):
            hard = meaning.hard or meaning.category in _HARD or meaning.action is Action.SUPPRESS
            if meaning.fault is Fault.RECIPIENT and hard:
                return ONE_UNKNOWN if meaning.category in _UNKNOWN else ONE_HARD
            ours = meaning.fault is Fault.SENDER or meaning.category in _AGAINST_US
            return (ONE_REFUSED if ours else ONE_SOFT) if reached else None
        case _:
            assert_never(outcome)


def judge(scope: Scope, kind: BreakerKind, counts: DeliveryCounts, its: Thresholds) -> BreakerFinding | None:
    """What is to be done about one kind of trouble in ``scope``; None: nothing."""
    if kind is BreakerKind.TRAPS:
        return _hits(scope, counts, its)
    if kind is BreakerKind.UNKNOWN_USERS and not _is_beginning(scope, counts, its):
        return None
    cases, volume, ceiling = _measured(kind, counts, its)
    rate = cases / max(volume, ceiling.floor)
    if rate >= ceiling.stop:
        return BreakerFinding(scope, kind, Level.STOP, cases, rate, ceiling.stop, volume)
    if rate >= ceiling.warn:
        return BreakerFinding(scope, kind, Level.WARN, cases, rate, ceiling.warn, volume)
    return None


def judge_all(scope: Scope, counts: DeliveryCounts, its: Thresholds) -> Iterator[BreakerFinding]:
    """Everything that is wrong with ``scope``."""
    for kind in BreakerKind:
        if (finding := judge(scope, kind, counts, its)) is not None:
            yield finding


def _measured(kind: BreakerKind, counts: DeliveryCounts, its: Thresholds) -> tuple[int, int, Ceiling]:
    """Cases, what they are a share of, and the ceiling."""
    match kind:
        case BreakerKind.COMPLAINTS:
            ceiling = Ceiling(its.complaints_warn, its.complaints_stop, its.complaints_floor)
            return counts.complaints, counts.delivered, ceiling
        case BreakerKind.HARD_BOUNCES:
            ceiling = Ceiling(its.hard_bounces_warn, its.hard_bounces_stop, its.hard_bounces_floor)
            return counts.hard, counts.tried, ceiling
        case BreakerKind.UNKNOWN_USERS:
            ceiling = Ceiling(its.unknown_users_warn, its.unknown_users_stop, its.unknown_users_floor)
            return counts.unknown, counts.tried, ceiling
        case BreakerKind.REJECTIONS:
            ceiling = Ceiling(its.rejections_warn, its.rejections_stop, its.rejections_floor)
            return counts.refused, counts.answered, ceiling
        case BreakerKind.TRAPS:
            raise ValueError("traps are counted, not measured")
        case _:
            assert_never(kind)


def _hits(scope: Scope, counts: DeliveryCounts, its: Thresholds) -> BreakerFinding | None:
    hits, volume = counts.traps, counts.delivered
    if hits >= its.traps_stop:
        return BreakerFinding(scope, BreakerKind.TRAPS, Level.STOP, hits, hits, its.traps_stop, volume)
    if hits >= its.traps_warn:
        return BreakerFinding(scope, BreakerKind.TRAPS, Level.WARN, hits, hits, its.traps_warn, volume)
    return None


def _is_beginning(scope: Scope, counts: DeliveryCounts, its: Thresholds) -> bool:
    return isinstance(scope, MailingScope) and scope.fresh and counts.tried <= its.unknown_users_first
