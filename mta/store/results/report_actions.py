"""An inbound report, the facts about it, and the actions that follow from it.

``mta.reports.process`` decides, ``apply_report`` applies; these are the data between them.

Invariants: Pure data. Actions with the same ``dedup_key`` are applied together, and only once. Actions without a key
are applied once for each inbound mail, because its removal from the queue is part of the same transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bounce.suppression import SoftBounce
from mta.mail.address import Address
from mta.mail.identity import MessageId
from mta.mail.message import Stream
from mta.observe.labels import InboundReportKind, UnsubscribeMethod
from policy.languages import TextLanguage
from policy.permission.suppression import SuppressionRequest
from policy.permission.tokens import Claim
from policy.reputation.breaker import DeliveryCounts, MailOrigin
from policy.reputation.complaint import Complaint
from policy.reputation.complaint_receipt import ReceiptKind


@dataclass(frozen=True, slots=True)
class InboundReport:
    """A mail in the report queue. ``recipients``: our own addresses; ``tries``: how often it was claimed."""

    id: int
    at: datetime
    sender: str | None
    recipients: tuple[Address, ...]
    client: str
    hello: str
    content: bytes = field(repr=False)
    tries: int


# --- facts


@dataclass(frozen=True, slots=True)
class FactsQuery:
    """What to read for a report. ``messages``: with a recipient's index, or None for all recipients; ``mailings``:
    candidates, the most likely first; ``writer``: the keyed hash of an address of which to say who has mailed it."""

    messages: tuple[tuple[MessageId, int | None], ...] = ()
    mailings: tuple[str, ...] = ()
    case_id: int | None = None
    writer: bytes | None = None


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that we sent. ``recipients``: in the order of the envelope, None if erased; ``providers``: the site of
    each recipient, by index, as far as known."""

    id: MessageId
    account_id: int
    sender: Address | None
    recipients: tuple[Address | None, ...]
    stream: Stream = Stream.TRANSACTIONAL
    mailing: str | None = None
    providers: Mapping[int, str] = field(default_factory=dict)

    def recipient(self, index: int) -> Address | None:
        """Return a recipient; None if erased, or if there is none with this index."""
        return self.recipients[index] if index < len(self.recipients) else None

    def origin(self, index: int | None) -> MailOrigin:
        """Return whose mail it was, for a recipient."""
        provider = None if index is None else self.providers.get(index)
        return MailOrigin(self.account_id, self.stream, self.mailing, provider)


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """The answer to a FactsQuery. ``mailing``: the first candidate that exists, with its account; ``case_account``: the
    account of the case; ``mailed_by``: the accounts that have lately sent the writer marketing mail."""

    messages: Mapping[MessageId, SentMessage] = field(default_factory=dict)
    mailing: tuple[str, int] | None = None
    case_account: int | None = None
    mailed_by: tuple[int, ...] = ()


# --- actions


@dataclass(frozen=True, slots=True)
class Suppress:
    """Suppress an address, withdraw consents and cancel queued copies."""

    dedup_key: bytes
    request: SuppressionRequest


@dataclass(frozen=True, slots=True)
class RecordSoftBounce:
    """Count a soft bounce; one too many suppresses the address."""

    dedup_key: bytes
    bounce: SoftBounce


@dataclass(frozen=True, slots=True)
class OpenCase:
    """Open a complaint case, or add to an open one."""

    dedup_key: bytes
    complaint: Complaint


@dataclass(frozen=True, slots=True)
class AnswerCase:
    """Record an account's answer to a complaint case, unless the case can no longer be answered. One that is not
    ``proven`` to be the account's is put to the case for people to judge."""

    case_id: int
    text: str
    by: str
    evidence: bytes = field(repr=False)
    proven: bool = True
    dedup_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Unsubscribe the recipient that a token names."""

    claim: Claim
    dedup_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """Enqueue the inbound mail for ``to``, as mail of the account."""

    dedup_key: bytes
    to: Address
    account_id: int


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """Tell the writer of a complaint what follows from it, unless they were told of another one lately, or too many
    receipts were sent within the hour. ``case_key``: the dedup key under which its case is opened, if one is."""

    dedup_key: bytes
    to: Address
    address_key: bytes
    kind: ReceiptKind
    language: TextLanguage
    senders: tuple[str, ...]
    per_hour: int
    case_key: bytes | None = None
    in_reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """Record an event, also for the account's webhooks. It names the case that was opened under the same key."""

    dedup_key: bytes
    kind: str
    data: Mapping[str, Any]
    account_id: int | None = None
    message_id: MessageId | None = None
    recipient_index: int | None = None


@dataclass(frozen=True, slots=True)
class CountStats:
    """Add to the delivery statistics, for the breakers."""

    dedup_key: bytes
    origin: MailOrigin
    counts: DeliveryCounts


@dataclass(frozen=True, slots=True)
class CountReport:
    """Increment the metric of inbound reports, after the commit. ``account_id``: for the log."""

    kind: InboundReportKind
    dedup_key: bytes | None = None
    account_id: int | None = None


@dataclass(frozen=True, slots=True)
class CountUnsubscribe:
    """Increment the metric of unsubscriptions, after the commit."""

    way: UnsubscribeMethod
    dedup_key: bytes | None = None


ReportAction = (
    Suppress
    | RecordSoftBounce
    | OpenCase
    | AnswerCase
    | Unsubscribe
    | Forward
    | SendReceipt
    | RecordEvent
    | CountStats
    | CountReport
    | CountUnsubscribe
)


def dedup_key(*parts: object) -> bytes:
    """Return a key of 32 octets, equal for all reports that say the same about the same recipient."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode("utf-8", "surrogatepass")).digest()
