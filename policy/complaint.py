"""Complaint cases: a complaint that somebody must answer, with a clock.

    open ▶ sent ▶ answered ▶ agreed ▶ closed
             ▼ the clock runs out
          overdue ▶ suspended ▶ agreed ▶ closed

The clocks are those of the account's profile (``[complaints]``). An urgent case, where an account is being used for
spam, suspends it at once; when its own, shorter clock runs out, what is queued fails. What is decided here is done by
``mta.store.cases``, with the account in the same transaction.

It must never let a deadline pass in silence, nor uphold a case that nobody has answered.

*Limits.* Whether an answer is good enough is for people to judge: they agree to it, or reject it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, assert_never

from pydantic import Field

from config.notation import Duration, Section, default
from mta.mail.identity import MessageId

EVIDENCE = 65_536  # octets of a complaint that are kept
BY_US = "service"  # who does what nobody was asked for


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


class State(Enum):
    """Where a case is in its life."""

    OPEN = "open"
    SENT = "sent"  # the account was told
    ANSWERED = "answered"
    AGREED = "agreed"
    CLOSED = "closed"
    OVERDUE = "overdue"
    SUSPENDED = "suspended"  # the account is, because of it


class Happening(Enum):
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
