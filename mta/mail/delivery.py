"""A delivery (one message to one destination), its attempts, and their outcomes.

Outcomes are per recipient: of ten recipients in one transaction some may be delivered, some deferred and some failed.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import NamedTuple

from mta.mail.address import Address
from mta.mail.identity import MessageId
from mta.mail.message import Body, DeliverBy, Notify, Release, Return, SenderTls, Stream
from mta.mail.reply import Reply
from mta.mail.values import dataclass


class Stage(Enum):
    """How far an attempt came. Up to HELLO a failure concerns the connection, from SENDER on the message."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    TLS_POLICY = "tls_policy"  # the host did not come up to a policy of the domain, or to the sender's wish
    HELLO = "hello"
    SENDER = "sender"
    RECIPIENT = "recipient"
    DATA = "data"
    FINAL_DOT = "final_dot"

    @property
    def is_connection(self) -> bool:
        return self in (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.TLS_POLICY, Stage.HELLO)

    @property
    def is_of_site(self) -> bool:
        """Whether a failure concerns the whole site. A policy is of one domain; others of the site may have none."""
        return self.is_connection and self is not Stage.TLS_POLICY


class DelayReason(Enum):
    """Why a delivery waits for a time of the day, not for its turn or its next try."""

    RELEASE = "release"  # the sender's wish
    SEND_WINDOW = "send_window"
    WARMUP = "warmup"  # all sources of its pool warm up, and have sent what the day allows by now


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """A recipient still to be delivered to. ``index``: its place in the envelope. ``attempts``: how many were made.
    ``last_reply``: the reply to the last one, as text.
    """

    index: int
    address: Address
    attempts: int = 0
    notify: Notify | None = None
    orcpt: str | None = None
    last_reply: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """The recipients of one message at one destination domain, as the queue has them, leased to this worker.

    ``topic``: what marketing mail is about. ``content``: None when the message is not in memory: it is in the store.
    ``whole``: no other recipient of the message is, or was, in a queue row. ``delay_dsn_sent``: the sender has been
    told of the delay. ``lease``: the token under which the rows are ours. ``held``: it was held until it expired, and
    must not be sent. ``bounce``: the operator's reason to fail it. ``certified``: it may leave
    from certified sources. ``mark``: a mark of a mailing that transactional mail shows: its name, and where it shows.
    ``priority``: from -9 to 9 (RFC 6710).
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
    certified: bool = False
    tls: SenderTls = SenderTls.AS_POLICY
    mark: tuple[str, str] | None = None
    release: Release | None = None
    deliver_by: DeliverBy | None = None
    priority: int = 0
    content: bytes | None = None
    whole: bool = False
    delay_dsn_sent: bool = False
    lease: int = 0
    held: bool = False
    bounce: str | None = None

    @property
    def attempts(self) -> int:
        return max(recipient.attempts for recipient in self.recipients)

    @property
    def since(self) -> datetime:
        """Since when it was to be delivered."""
        return self.release.at if self.release else self.queued_at


class DueDelivery(NamedTuple):
    """A delivery in the queue that is due. ``ending``: no attempt will be made."""

    message_id: MessageId
    destination: str
    account_id: int
    mailing: str | None
    due_at: datetime
    ending: bool
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """The reply for one recipient. ``delivery_unknown``: lost after the final dot; the receiver may have it."""

    recipient: QueuedRecipient
    stage: Stage
    reply: Reply
    delivery_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """The receiving host of an attempt, for the record. ``tls``: for example ``TLSv1.3``, None for plain text."""

    name: str
    address: str
    tls: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one delivery: a result for each of its recipients.

    ``source``: our address, if a connection was made. ``transcript``: replies that belong to no command (421 before a
    close). ``receiver_sends_dsn``: it took over the DSN parameters (RFC 3461).
    ``provider``: where the route leads, as it is counted; empty if that is not known. ``untried``: recipients that are
    not in ``delivery``, because this machine ran short of something before their turn.
    """

    delivery: Delivery
    results: tuple[Result, ...]
    started_at: datetime
    seconds: float
    host: Host | None = None
    source: str | None = None
    transcript: str | None = None
    receiver_sends_dsn: bool = False
    provider: str = ""
    untried: tuple[QueuedRecipient, ...] = ()


class Fault(Enum):
    """Which side is at fault; only RECIPIENT ever suppresses an address."""

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
    """What a reply meant, and the id of the rule that says so. ``matched``: the text that the rule matched. ``hard``:
    it was permanent, and the address or its domain does not exist. ``certain``: whatever command it answered."""

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
    """``reason``: why ``until`` is later than the retry schedule says."""

    result: Result
    classification: Classification
    until: datetime
    reason: DelayReason | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """``expired``: given up because the time was over; the reply is the last one that came."""

    result: Result
    classification: Classification
    expired: bool = False

    @property
    def suppresses(self) -> bool:
        """Whether the recipient's address is to be suppressed."""
        return self.classification.action is Action.SUPPRESS


Outcome = Delivered | Deferred | Failed
