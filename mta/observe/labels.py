"""The label values of metrics: small enums, so that the number of series is known before the first message.

In the exposition a member appears as its name in lower case. It must never hold what a client or receiver said.
"""

from __future__ import annotations

from enum import Enum

from mta.mail.reply import Reply, ReplyKind


class Encryption(Enum):
    """Whether a connection was encrypted."""

    YES = "yes"
    NO = "no"

    @classmethod
    def of(cls, version: str | None) -> Encryption:
        return cls.NO if version is None else cls.YES


class Auth(Enum):
    """How an AUTH ended."""

    OK = "ok"
    FAILED = "failed"
    LIMITED = "limited"


class Severity(Enum):
    """Whether a refused client may come again."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"

    @classmethod
    def of(cls, reply: Reply) -> Severity:
        return cls.PERMANENT if reply.kind is ReplyKind.PERMANENT else cls.TRANSIENT


class RejectionSubject(Enum):
    """What a refusal was about: the second figure of its enhanced code (RFC 3463 3)."""

    OTHER = "other"
    ADDRESS = "address"
    MAILBOX = "mailbox"
    SYSTEM = "system"
    NETWORK = "network"
    PROTOCOL = "protocol"
    CONTENT = "content"
    POLICY = "policy"

    @classmethod
    def of(cls, reply: Reply) -> RejectionSubject:
        figure = reply.status[2:3]
        return _SUBJECTS[int(figure)] if figure and figure in "1234567" else cls.OTHER


_SUBJECTS = tuple(RejectionSubject)


class Lookup(Enum):
    """How a DNS look-up ended. ``cached`` ones asked nobody."""

    OK = "ok"
    CACHED = "cached"
    NOT_FOUND = "not_found"
    FAILED = "failed"


class Call(Enum):
    """Calls to the store that somebody waits for."""

    PUT = "put"
    LEASE = "lease"
    CONTENT = "content"
    SETTLE = "settle"
    SUPPRESSIONS = "suppressions"
    RECIPIENTS = "recipients"


class UnsubscribeWay(Enum):
    """How somebody unsubscribed. ``unknown``: by a token that is not ours."""

    ONE_CLICK = "one_click"
    PAGE = "page"
    MAIL = "mail"
    UNKNOWN = "unknown"


class InboundReportKind(Enum):
    """What came back by mail, and came to. The last five change nothing."""

    BOUNCE = "bounce"
    DELAY = "delay"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    ANSWER = "answer"  # of a program: away until Monday, delivered, prove that you are human
    LETTER = "letter"  # for abuse or postmaster
    OTHER = "other"
    REPEATED = "repeated"  # it was taken before
    FORGED = "forged"  # a return path or token that is not ours
    EXPIRED = "expired"
    FOREIGN = "foreign"  # about a message or a recipient of somebody else's
    UNPROVEN = "unproven"  # a complaint without a signature of who reports it


class QueueState(Enum):
    """Where a queued recipient stands. ``leased``: in a worker's window, being delivered or about to be."""

    READY = "ready"
    LEASED = "leased"
    HELD = "held"


class Success(Enum):
    """Whether something was done."""

    YES = "yes"
    NO = "no"
