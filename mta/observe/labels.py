"""The label values of metrics.

Invariants: Enums only, so that the number of series is known before the first message; never text from a client or
receiver. The exposition shows a member's name in lower case.
"""

from __future__ import annotations

from enum import Enum
from typing import assert_never

from mta.mail.delivery import Deferred, Delivered, Failed, Outcome
from mta.mail.reply import Reply, ReplyKind


class Label(Enum):
    """The values of one label."""

    __hash__ = object.__hash__  # Enum's own is ten times slower, and each count of a message looks one up


class Encryption(Label):
    """Whether a connection was encrypted."""

    YES = "yes"
    NO = "no"

    @classmethod
    def of(cls, version: str | None) -> Encryption:
        return cls.NO if version is None else cls.YES


class Auth(Label):
    """The result of an AUTH command."""

    OK = "ok"
    FAILED = "failed"
    LIMITED = "limited"


class Severity(Label):
    """Whether a rejected client may try again."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"

    @classmethod
    def of(cls, reply: Reply) -> Severity:
        return cls.PERMANENT if reply.kind is ReplyKind.PERMANENT else cls.TRANSIENT


class RejectionSubject(Label):
    """The subject of a rejection: the second digit of its enhanced status code (RFC 3463 3)."""

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
        digit = reply.status[2:3]
        return _SUBJECTS[int(digit)] if digit and digit in "1234567" else cls.OTHER


_SUBJECTS = tuple(RejectionSubject)


class Lookup(Label):
    """The result of a DNS lookup. ``cached``: answered without a query."""

    OK = "ok"
    CACHED = "cached"
    NOT_FOUND = "not_found"
    FAILED = "failed"


class LinkLookup(Label):
    """What the links of a message were found to be in takedowns and URL blocklists. ``unanswered``: a list gave no
    answer in time, whatever follows from that."""

    CLEAR = "clear"
    LISTED = "listed"
    TAKEN_DOWN = "taken_down"
    UNANSWERED = "unanswered"


class PageFetch(Label):
    """What was found of a page that a mailing links to. ``unanswered``: it could not be got."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNANSWERED = "unanswered"


class StoreCall(Label):
    """Calls to the store that something waits for."""

    ENQUEUE = "enqueue"
    CLAIM = "claim"
    CONTENT = "content"
    RECORD_OUTCOME = "record_outcome"
    SUPPRESSIONS = "suppressions"
    RECIPIENTS = "recipients"


class SignUpResult(Label):
    """What became of a request of a sign-up form. ``bot``: no person filled the form in."""

    ASKED = "asked"
    LIMITED = "limited"
    BOT = "bot"
    INVALID = "invalid"
    SENT = "sent"
    CONFIRMED = "confirmed"
    EXPIRED = "expired"


class UnsubscribeMethod(Label):
    """How a recipient unsubscribed. ``unknown``: the token is not valid."""

    ONE_CLICK = "one_click"
    PAGE = "page"
    MAIL = "mail"
    UNKNOWN = "unknown"


class InboundReportKind(Label):
    """What an inbound report turned out to be. The last five change nothing."""

    BOUNCE = "bounce"
    DELAY = "delay"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    AUTO_REPLY = "auto_reply"  # vacation notice, delivery confirmation, challenge
    ABUSE_MAIL = "abuse_mail"  # written to abuse or postmaster
    OTHER = "other"
    DUPLICATE = "duplicate"  # already processed
    FORGED = "forged"  # the return path or token is not valid
    EXPIRED = "expired"
    UNMATCHED = "unmatched"  # about a message or recipient that we do not know
    UNVERIFIED = "unverified"  # a complaint without the signature of a reporter


class QueueState(Label):
    """The state of a queued recipient. ``leased``: in a worker's active queue. ``delayed``: it waits for a time."""

    READY = "ready"
    LEASED = "leased"
    HELD = "held"
    DELAYED = "delayed"


class BackgroundTask(Label):
    """Every long-lived task of the service. Without those that ``matter`` mail is not taken, or not sent."""

    # of every process with a store
    NOTIFICATIONS = "notifications"
    ACCOUNTS = "accounts"
    MAILINGS = "mailings"
    BREAKERS = "breakers"
    SHAPING_ACTIONS = "shaping_actions"
    TAKEDOWNS = "takedowns"
    PROCESS_METRICS = "process_metrics"
    LOOP_WATCH = "loop_watch"
    STATUS = "status"
    # of a worker
    LEASE = "lease"
    CLOCK = "clock"
    KEYS = "keys"
    CLAIM = "claim"
    REQUEUE = "requeue"
    EGRESS_LIMITS = "egress_limits"
    WITHDRAW = "withdraw"
    QUOTAS = "quotas"
    REPEATED_TEXTS = "repeated_texts"
    REPLY_COUNTS = "reply_counts"
    WARMUP = "warmup"
    REJECTIONS = "rejections"
    ACCEPT = "accept"
    REPORTS = "reports"
    REPORT_BACKLOG = "report_backlog"
    SOURCES = "sources"
    TLS_COUNTS = "tls_counts"
    # of the web process
    WEBHOOKS = "webhooks"
    WEBHOOK_LAG = "webhook_lag"
    RATE_HISTORY = "rate_history"
    # of the supervisor
    CHILD = "child"
    POSTGRES = "postgres"
    RELOAD = "reload"
    # of the first web process: the periodic jobs
    DATABASE = "database"
    DEAD_LEASES = "dead_leases"
    CONTENT_RING = "content_ring"
    QUEUE_SIZE = "queue_size"
    RETENTION = "retention"
    MAILING_HOLDS = "mailing_holds"
    SENDER_DOMAINS = "sender_domains"
    BREAKER_WATCH = "breaker_watch"
    AUTOMATION = "automation"
    BLOCKLISTS = "blocklists"
    SOURCE_CHECKS = "source_checks"
    COMPLAINT_DEADLINES = "complaint_deadlines"
    SIGN_UPS = "sign_ups"
    ADDRESS_LISTS = "address_lists"
    TLS_POLICIES = "tls_policies"
    TLS_REPORTS = "tls_reports"

    @property
    def matters(self) -> bool:
        return self in _MATTERS


_MATTERS = {
    BackgroundTask.NOTIFICATIONS,
    BackgroundTask.ACCOUNTS,
    BackgroundTask.MAILINGS,
    BackgroundTask.BREAKERS,
    BackgroundTask.TAKEDOWNS,
    BackgroundTask.LEASE,
    BackgroundTask.KEYS,
    BackgroundTask.CLAIM,
    BackgroundTask.REQUEUE,
    BackgroundTask.EGRESS_LIMITS,
    BackgroundTask.WITHDRAW,
    BackgroundTask.ACCEPT,
    BackgroundTask.CHILD,
    BackgroundTask.POSTGRES,
    BackgroundTask.DATABASE,
    BackgroundTask.DEAD_LEASES,
}


class Success(Label):
    """Whether something succeeded."""

    YES = "yes"
    NO = "no"


class ProviderOutcome(Label):
    """What became of a recipient in one attempt."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"

    @classmethod
    def of(cls, outcome: Outcome) -> ProviderOutcome:
        match outcome:
            case Delivered():
                return cls.DELIVERED
            case Deferred():
                return cls.DEFERRED
            case Failed():
                return cls.FAILED
            case _:
                assert_never(outcome)


class TlsDemandedBy(Label):
    """Who demanded TLS that a receiver did not come up to."""

    DANE = "dane"
    MTA_STS = "mta_sts"
    MTA_STS_TESTING = "mta_sts_testing"
    REQUIRETLS = "requiretls"


class Protection(Label):
    """How a connection to a receiver is protected; verified by the authorities that this machine trusts, or DANE."""

    PLAIN = "plain"
    ENCRYPTED = "encrypted"
    VERIFIED = "verified"
    DANE = "dane"


class Resource(Label):
    """What this machine was short of. ``ports``: local ports for connections to receivers. ``sources``: addresses of
    egress.sources that it can send from. ``share``: connections or starts that the site's limits allow. ``lease``: it
    could not renew its lease, and with it its shares."""

    DESCRIPTORS = "descriptors"
    MEMORY = "memory"
    PORTS = "ports"
    SOURCES = "sources"
    SHARE = "share"
    LEASE = "lease"
