"""The account: who sends, in what status, under which profile, and what it may do.

An account's life is ``pending -> review -> active -> suspended -> active | terminated``. The store records who changed
the status, when and why; the allowed changes are decided here.

Invariants: an account that is not active never sends.

Limitations: facts only; whether the evidence behind a review is true is for the reviewer to judge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field, replace
from datetime import datetime
from enum import Enum

from mta.mail.hold import Hold, HoldSource
from mta.mail.message import Stream as Stream  # a noun of mail that accounts are granted
from mta.mail.values import dataclass
from policy.accounts.purpose import Purpose


class AccountStatus(Enum):
    """Where an account is in its life."""

    PENDING = "pending"
    REVIEW = "review"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    TERMINATED = "terminated"


class StatusChange(Enum):
    """What is done to an account; the values are the words that operators use."""

    REVIEW = "review"  # hand it in for review
    REQUEST_CHANGES = "request-changes"  # of its owner
    APPROVE = "approve"
    SUSPEND = "suspend"
    RESUME = "resume"
    TERMINATE = "terminate"


class StatusChangeRefused(ValueError):
    """Why an account cannot be moved; the text says how to fix it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who stands behind an account, in one language: what its imprint must show. Empty: not registered.

    ``names``: any of them will do. ``register`` is the register's name ("KvK", "HRB Aachen", "Companies House"),
    ``number`` the number there.
    """

    language: str
    names: tuple[str, ...]
    street: str = ""
    postcode: str = ""
    city: str = ""
    country: str = ""
    phone: str = ""
    email: str = ""
    register: str = ""
    number: str = ""
    vat: str = ""
    representative: str = ""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A version of the terms and anti-spam rules, accepted by a person for the account."""

    version: str
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """Most recipients a calendar day and month (UTC); None: as many as it likes."""

    day: int | None = None
    month: int | None = None


DEFAULT_WEIGHT, MAX_WEIGHT = 10, 1000


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of an account. ``domains``: verified sender domains, lower-case A-labels; subdomains count only if
    listed themselves. ``unverified``: registered, but not to be used yet. ``deaf``: verified domains that cannot
    receive mail (no MX, null MX), so replies would bounce.
    """

    id: int
    name: str
    domains: frozenset[str]
    bounce_notifications: str = "dsn"  # what a failure causes: "dsn" (RFC 3464 mail), "event" or "none"
    status: AccountStatus = AccountStatus.ACTIVE
    reason: str = ""  # of the status, e.g. why it was suspended
    case: str = ""  # the complaint case behind a suspension
    profile: str = "transactional"
    contact: str = ""
    identities: tuple[Identity, ...] = ()
    terms: Acceptance | None = None  # the newest
    quotas: QuotaLimits = QuotaLimits()
    unverified: frozenset[str] = frozenset()
    tokens: Mapping[str, str] = field(default_factory=dict, hash=False)  # that prove the unverified ones, by domain
    deaf: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()  # of which a reviewer has approved where they come from
    role_exceptions: frozenset[str] = frozenset()  # roles that may get transactional mail all the same: whole addresses
    adult_agreed: bool = False
    pool: str = "default"  # of egress sources, unless a rule of the configuration chooses another
    weight: int = DEFAULT_WEIGHT  # of its mail where others' waits for the same connections
    max_priority: int = 0  # that its messages may ask for (RFC 6710): from -9 to 9

    @property
    def registered_name(self) -> str:
        """The name of whoever stands behind the account; its own name if none is registered."""
        return next((name for each in self.identities for name in each.names), self.name)

    @property
    def known_names(self) -> frozenset[str]:
        """By which people may know the account: its own name, those of its identities, its domains."""
        return frozenset({self.name, *self.domains, *(name for each in self.identities for name in each.names)})


@dataclass(frozen=True, slots=True)
class Grant:
    """What one credential may do. ``streams`` None: what its account's profile is for. ``domains`` None: all of the
    account's. ``rate``: messages a second, ``burst``: messages at once; None: the service's default. ``purposes``: what
    its transactional mail was reviewed for; ``signs``: names of marks of a mailing that this mail may show.
    """

    streams: frozenset[Stream] | None = None
    domains: frozenset[str] | None = None
    rate: float | None = None
    burst: int | None = None
    purposes: tuple[Purpose, ...] = ()
    signs: frozenset[str] = frozenset()

    def settled(self, offered: Collection[Stream]) -> Grant:
        """Return the grant with its streams named, for a profile that offers ``offered``: a profile for marketing is
        for nothing else, and transactional mail is granted there."""
        if self.streams is not None:
            return self
        return replace(self, streams=frozenset({Stream.MARKETING} if Stream.MARKETING in offered else offered))


SERVICE_ACCOUNT = 0  # account_id of the service's own mail, for which there is no account

_MOVES = {
    (AccountStatus.PENDING, StatusChange.REVIEW): AccountStatus.REVIEW,
    (AccountStatus.REVIEW, StatusChange.REQUEST_CHANGES): AccountStatus.PENDING,
    (AccountStatus.REVIEW, StatusChange.APPROVE): AccountStatus.ACTIVE,
    (AccountStatus.ACTIVE, StatusChange.SUSPEND): AccountStatus.SUSPENDED,
    (AccountStatus.SUSPENDED, StatusChange.RESUME): AccountStatus.ACTIVE,
    (AccountStatus.PENDING, StatusChange.TERMINATE): AccountStatus.TERMINATED,
    (AccountStatus.REVIEW, StatusChange.TERMINATE): AccountStatus.TERMINATED,
    (AccountStatus.SUSPENDED, StatusChange.TERMINATE): AccountStatus.TERMINATED,
}


def after(status: AccountStatus, move: StatusChange) -> AccountStatus:
    """The status that a move leads to. Raises StatusChangeRefused.

    An active account is suspended before it is terminated: what is queued waits then, and a slip can be undone.
    """
    if (reached := _MOVES.get((status, move))) is not None:
        return reached
    if status is AccountStatus.TERMINATED:
        raise StatusChangeRefused("it is terminated, for good; make a new account")
    possible = [possible.value for start, possible in _MOVES if start is status]
    raise StatusChangeRefused(f"it is {status.value}; what can be done is: {', '.join(possible)}")


def suspension_hold(name: str, reason: str, case: str = "") -> Hold:
    """Return why the mail of a suspended account is held."""
    because = f", case {case}" if case else ""
    return Hold(HoldSource.ACCOUNT_STATUS, case, f"account {name!r} is suspended ({reason}{because})")


def activation_hold(name: str) -> Hold:
    """Return why the mail of an account that was not activated yet is held."""
    return Hold(HoldSource.ACCOUNT_STATUS, "", f"account {name!r} is not active yet")
