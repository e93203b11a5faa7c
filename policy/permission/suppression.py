"""Why an address is not mailed, and how that may end.

What a person said is permanent: it does not expire, and a delivery does not remove it. What was only concluded from
replies may expire.

Invariants: a weaker reason never replaces a stronger one.

Limitations: an address has one reason per scope, the strongest; the others are in the events.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated

from pydantic import Field

from config.types import Section
from mta.mail.address import Address
from mta.mail.identity import MessageId
from mta.mail.values import dataclass


class Reason(Enum):
    """From the weakest to the strongest: the later one replaces the earlier where both are true."""

    SOFT_BOUNCES = "soft_bounces"  # the mailbox has refused again and again
    HARD_BOUNCE = "hard_bounce"  # there is no such mailbox
    REQUESTED = "requested"  # by mail in the person's name, which anyone can have written
    REVOKED = "revoked"  # consent was taken back, as the account tells
    UNSUBSCRIBE = "unsubscribe"  # by our link or mail address
    MANUAL = "manual"  # an operator's decision, or a list that was imported
    COMPLAINT = "complaint"
    OBJECTION = "objection"  # against all direct marketing, GDPR article 21
    ERASED = "erased"  # the person was forgotten on request, GDPR article 17

    @property
    def withdraws(self) -> bool:
        """Whether the person has thereby taken back what they had agreed to."""
        return self in (Reason.REVOKED, Reason.UNSUBSCRIBE, Reason.COMPLAINT, Reason.OBJECTION)

    @property
    def permanent(self) -> bool:
        """Whether it is what the person has said: that never expires."""
        return self.withdraws or self is Reason.ERASED

    @property
    def rank(self) -> int:
        return RANKS.index(self)


RANKS = tuple(Reason)


@dataclass(frozen=True, slots=True)
class SuppressionRequest:
    """An address that is not to be mailed any more.

    ``account_id``: 0 for all accounts. ``topic``: "" for all mail, ``*`` for all marketing, else one topic. ``address``
    None: only its hash is known. ``detail``: the reason in words, which senders see; ``evidence``: what proves it;
    ``message_id``: the message that failed or was answered. ``by``: who did it, for the ledger. ``at``: when the person
    said so, None: now. ``expires_at``: not for permanent reasons (else ValueError).
    """

    address_key: bytes
    account_id: int
    reason: Reason
    rule: str
    topic: str = ""
    address: Address | None = None
    detail: str = ""
    evidence: str = ""
    message_id: MessageId | None = None
    by: str = ""
    at: datetime | None = None
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.expires_at is not None and self.reason.permanent:
            raise ValueError(f"a suppression for {self.reason.value} never expires")

    @property
    def scope(self) -> tuple[bytes, int, str]:
        return self.address_key, self.account_id, self.topic


class Reactivation(Enum):
    """Whether an address that unsubscribed may ever be mailed again."""

    CONSENT = "consent"
    NEVER = "never"


class Lifting(Section):
    """What may end a suppression: the table `[suppressions]` of a profile."""

    after_unsubscribe: Annotated[Reactivation, Field(strict=False)] = Reactivation.CONSENT
    """What allows mail again to a person who unsubscribed, complained, objected or revoked: a newer `consent` (or an
    operator,
    for a reason), or nothing: `never`. Apple: do not reactivate addresses that unsubscribed."""

    def forbids(self, reason: Reason) -> bool:
        """Whether a suppression for ``reason`` may not be lifted, by whatever way."""
        return reason.withdraws and self.after_unsubscribe is Reactivation.NEVER


LIFTED_BY_CONSENT = (
    Reason.REQUESTED,
    Reason.REVOKED,
    Reason.UNSUBSCRIBE,
)  # a newer consent answers these, and no others
