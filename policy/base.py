"""What a rule of the chain is given, and what it may answer.

A rule is a small object with a name and one pure function. All it may know comes as arguments: the message, the facts
that were fetched for it in one batched look-up, and the time. It must never await, log, or read a clock.

*Limits.* A rule that needs IO (a scanner) does not fit here; those come as facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mta.mail.address import Address
from mta.mail.message import Message
from mta.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of an account. ``domains``: lower-case A-labels; subdomains count only if listed themselves."""

    id: int
    name: str
    domains: frozenset[str]
    notices: str = "notice"  # what a failure causes: "notice" (RFC 3464 mail), "event" or "none"


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that must not be mailed, and why. ``account_id`` None: nobody may mail it."""

    address: Address
    account_id: int | None
    reason: str
    rule: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """All that rules may know beside the message. ``suppressions`` holds only those for this message's recipients."""

    account: Account
    suppressions: tuple[Suppression, ...] = ()


@dataclass(frozen=True, slots=True)
class Pass:
    pass


@dataclass(frozen=True, slots=True)
class Amend:
    """The message goes on, changed. ``note`` says what was changed and why."""

    message: Message
    note: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """``reply`` goes to the client: which rule, which fact, how to mend it. ``recipient`` None: the whole message."""

    reply: Reply
    recipient: Address | None = None


Verdict = Pass | Amend | Refuse


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule's verdict on one message, kept with it: the compliance record. ``evidence`` is one line of text."""

    policy: str
    verdict: str  # "pass", "amend" or "refuse"
    evidence: str


class Policy(Protocol):
    """A rule. ``name`` is how profiles, replies and findings call it."""

    name: str

    def check(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        """The verdict and the evidence for it (one line, for ``mta explain``)."""
        ...
