"""A delivery (one message to one destination), its attempts, and what an attempt comes to.

The outcome of an attempt is per recipient: of ten recipients in one transaction some may be delivered, some deferred
and some failed, and they part ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from mta.mail.address import Address
from mta.mail.identity import MessageId
from mta.mail.message import Body, Notify, Return, Stream
from mta.mail.reply import Reply


class Stage(Enum):
    """How far an attempt came. Up to HELLO a failure is the connection's, from SENDER on the message's."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    HELLO = "hello"
    SENDER = "sender"
    RECIPIENT = "recipient"
    DATA = "data"
    FINAL_DOT = "final_dot"

    @property
    def is_connection(self) -> bool:
        return self in (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.HELLO)


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """One recipient still to be served. ``n`` is its place in the envelope; ``attempts`` counts finished ones.

    ``last_reply``: what the last attempt was told, as text.
    """

    index: int
    address: Address
    attempts: int = 0
    notify: Notify | None = None
    orcpt: str | None = None
    last_reply: str | None = None


@dataclass(slots=True, eq=False)
class Delivery:
    """The recipients of one message at one destination domain, leased to this worker.

    ``content`` is None when the message was not kept in memory: the courier's caller loads it from the store.
    ``topic``: what marketing mail is about.
    ``checked_at`` is the monotonic time (seconds) at which the recipients were last known not to be suppressed.
    ``reserved``: octets that this delivery has reserved in the worker's window, 0 for none. ``delay_dsn_sent``: a delay
    notice was sent. ``lease``: the token under which it is ours. ``held``: it was held until its time was over, and is
    not to be sent. ``bounce``: an operator wants it to fail, for this reason. ``provider``: who serves the destination,
    once its route is known.
    Identity matters (it is a place in a queue), hence no ``eq``.
    """

    message_id: MessageId
    destination: str
    sender: Address | None
    recipients: tuple[QueuedRecipient, ...]
    account_id: int
    queued_at: datetime
    expires_at: datetime
    size: int
    mailing: str | None = None
    stream: Stream = Stream.TRANSACTIONAL
    topic: str | None = None
    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False
    ret: Return | None = None
    envid: str | None = None
    content: bytes | None = None
    checked_at: float = 0.0
    whole: bool = False  # no other recipient of this message is, or was, in any queue row but these
    delay_dsn_sent: bool = False
    reserved: int = 0
    lease: int = 0
    held: bool = False
    bounce: str | None = None
    provider: str = ""

    @property
    def attempts(self) -> int:
        return max(recipient.attempts for recipient in self.recipients)


@dataclass(frozen=True, slots=True)
class Result:
    """What one recipient got. ``delivery_unknown``: lost after the final dot; the receiver may have accepted it."""

    recipient: QueuedRecipient
    stage: Stage
    reply: Reply
    delivery_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """The receiving host that an attempt spoke to, for the record. ``tls`` is e.g. ``TLSv1.3``, None for plain text."""

    name: str
    address: str
    tls: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one delivery: a result for each of its recipients. ``source`` is our address, if we got that far."""

    delivery: Delivery
    results: tuple[Result, ...]
    started_at: datetime
    seconds: float
    host: Host | None = None
    source: str | None = None
    transcript: str | None = None  # stray replies (421 before a close) that belong to no command
    dsn: bool = False  # the receiver took over the DSN parameters (RFC 3461), and with them the duty of notices


class Fault(Enum):
    """On whose side the trouble lies; only RECIPIENT ever suppresses an address."""

    RECIPIENT = "recipient"
    SENDER = "sender"
    SITE = "site"
    CONTENT = "content"
    NETWORK = "network"


class Action(Enum):
    """What to do with the recipient."""

    DELIVERED = "delivered"
    RETRY = "retry"
    FAIL = "fail"
    SUPPRESS = "suppress"  # fail, and never mail this address again


@dataclass(frozen=True, slots=True)
class Classification:
    """What a reply meant, and the id of the rule that says so. ``matched`` is the text the rule fired on; ``hard``: it
    was permanent, and the address or its domain does not exist; ``certain``: whatever command it answered."""

    category: str
    fault: Fault
    action: Action
    rule: str
    matched: str = ""
    hard: bool = False
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    result: Result


@dataclass(frozen=True, slots=True)
class Deferred:
    result: Result
    classification: Classification
    until: datetime


@dataclass(frozen=True, slots=True)
class Failed:
    """``expired``: given up because the time was over; the reply is the last one the receivers gave."""

    result: Result
    classification: Classification
    expired: bool = False


Outcome = Delivered | Deferred | Failed
