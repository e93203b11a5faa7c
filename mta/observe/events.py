"""The event log: one JSON line for each event in the life of a session or message.

``EventLog`` has a method for each event, and there is a ``Struct`` for each kind of line; ``docs/operations.md``
documents the fields. The methods only encode; ``mta.observe.sink`` writes. The service's own log is
``mta.observe.log``.

Invariants: No credential and no message text is logged. Methods never wait, nor raise because of the destination.
Limitations: Lines can be lost. Outcomes are also written to the database, in the transaction that records them; that
is what ``mta explain`` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_never

import msgspec

from mta.mail import delivery
from mta.mail.address import Address
from mta.mail.delivery import Attempt, Classification, Result
from mta.mail.hold import Hold
from mta.mail.identity import MessageId, format_id
from mta.mail.message import IPAddress, Message
from mta.mail.reply import Reply
from mta.mail.shaping_action import ShapingAction
from mta.mail.tls_session import TlsFault
from mta.observe.sink import Sink

MAX_TEXT = 500  # characters of a reply or other external text; keeps a line below PIPE_BUF

_encode = msgspec.json.Encoder().encode


class _Event(msgspec.Struct, omit_defaults=True, gc=False, tag_field="event"):
    at: datetime


class SessionEvent(_Event, tag="session"):
    """A client's session ended. ``ending``: why, e.g. ``quit``, ``lost``, ``timeout``, ``errors``, ``shutdown``."""

    session: str
    client: str
    account: str | None
    tls: str | None
    messages: int
    rejections: int
    seconds: float
    ending: str


class AuthFailedEvent(_Event, tag="auth_failed"):
    session: str
    client: str
    username: str
    mechanism: str
    reply: str


class AcceptedEvent(_Event, tag="accepted"):
    id: str
    account: str
    account_id: int
    sender: str
    recipients: int
    size: int
    session: str
    client: str
    protocol: str
    seconds: float
    mailing: str | None = None
    holds: tuple[Hold, ...] = ()
    release_at: datetime | None = None


class RejectedEvent(_Event, tag="rejected"):
    """``verb``: the rejected command, ``CONNECT`` for the session itself, ``.`` for the end of a message."""

    session: str
    client: str
    verb: str
    code: int
    status: str
    text: str
    account: str | None = None
    sender: str | None = None
    recipient: str | None = None


class OutcomeEvent(msgspec.Struct, omit_defaults=True, gc=False):
    """The outcome of an attempt for one recipient. ``total``: seconds since acceptance.

    ``category``, ``fault``, ``rule`` and ``action`` come from the bounce rules and are empty for a delivery.
    ``expired``: failed because the message expired; ``until``: time of the next attempt.
    """

    event: str  # delivered, deferred or failed
    at: datetime
    id: str
    recipient: str
    sender: str
    destination: str
    account: str | None
    account_id: int
    stage: str
    code: int
    status: str
    text: str
    attempts: int
    seconds: float
    total: float
    size: int
    host: str | None
    address: str | None
    tls: str | None
    source: str | None
    mailing: str | None = None
    delivery_unknown: bool = False
    category: str = ""
    fault: str = ""
    rule: str = ""
    action: str = ""
    expired: bool = False
    until: datetime | None = None


class DsnEvent(_Event, tag="dsn"):
    """A delivery status notification was queued as message ``id``, about message ``about``."""

    id: str
    about: str
    recipient: str
    kind: str


class DestinationBackoffEvent(_Event, tag="destination_backoff"):
    """The backoff of a destination started: connections from ``source`` failed, or it says that it gets too much."""

    site: str
    source: str
    until: datetime
    code: int
    status: str
    text: str


class TlsPolicyFailedEvent(_Event, tag="tls_policy_failed"):
    """A host did not come up to a TLS policy. ``testing``: mail goes there nevertheless. ``result``: RFC 8460 4.3."""

    destination: str
    host: str
    by: str
    result: str
    text: str
    testing: bool


class ShapingActionEvent(_Event, tag="shaping_action"):
    """A shaping action was begun by ``rule``, for mail in ``scope``. ``sample``: the reply that began it."""

    action: int
    rule: str
    scope: dict[str, str | int]
    effect: str
    reason: str
    sample: str
    until: datetime


class SourceBackoffEvent(_Event, tag="source_backoff"):
    """This machine cannot send from ``source``; it is not used until ``until``."""

    source: str
    address: str | None
    until: datetime
    text: str


class ExpirySuspendedEvent(_Event, tag="expiry_suspended"):
    """No message expires from now on: a clock was set by ``seconds``, or differs by as many."""

    reason: str
    seconds: float


EVENTS: tuple[type[msgspec.Struct], ...] = (
    SessionEvent,
    AuthFailedEvent,
    AcceptedEvent,
    RejectedEvent,
    OutcomeEvent,
    DsnEvent,
    DestinationBackoffEvent,
    TlsPolicyFailedEvent,
    ShapingActionEvent,
    SourceBackoffEvent,
    ExpirySuspendedEvent,
)


class EventLog:
    """Write events; each call costs a few microseconds. ``account_name``: by number, None if it is gone."""

    def __init__(self, sink: Sink, account_name: Callable[[int], str | None] = lambda number: None) -> None:
        self._sink, self._account_name = sink, account_name

    def reopen(self) -> None:
        """Reopen the file after rotation (SIGUSR1)."""
        self._sink.reopen()

    def replace(self, sink: Sink) -> None:
        """Write to ``sink`` from now on; the old sink writes its remaining lines and closes."""
        self._sink, old = sink, self._sink
        old.close(patience=0)

    def close(self) -> None:
        """Write the remaining lines, for at most ``sink.CLOSING`` seconds."""
        self._sink.close()

    # --- clients

    def session_closed(
        self,
        *,
        session: str,
        client: IPAddress,
        account: str | None,
        tls: str | None,
        messages: int,
        rejections: int,
        seconds: float,
        ending: str,
    ) -> None:
        rounded = round(seconds, 3)
        self._write(SessionEvent(_now(), session, str(client), account, tls, messages, rejections, rounded, ending))

    def auth_failed(self, *, session: str, client: IPAddress, username: str, mechanism: str, reply: Reply) -> None:
        self._write(AuthFailedEvent(_now(), session, str(client), username[:254], mechanism[:40], str(reply)))

    def rejected(
        self,
        reply: Reply,
        *,
        session: str,
        client: IPAddress,
        verb: str,
        account: str | None = None,
        sender: Address | None = None,
        recipient: Address | None = None,
    ) -> None:
        """Log a command, message or session that was rejected with ``reply``."""
        self._write(
            RejectedEvent(
                _now(),
                session,
                str(client),
                verb,
                reply.code,
                reply.status,
                _short(reply.text),
                account,
                _text(sender),
                _text(recipient),
            )
        )

    # --- messages

    def accepted(
        self,
        message: Message,
        *,
        seconds: float,
        mailing: str | None = None,
        holds: tuple[Hold, ...] = (),
    ) -> None:
        """Log a message that was answered with 250. ``seconds``: since the end of its data."""
        origin, envelope = message.origin, message.envelope
        self._write(
            AcceptedEvent(
                origin.received_at,
                format_id(message.id),
                origin.account,
                origin.account_id,
                _path(envelope.sender),
                len(envelope.recipients),
                message.size,
                origin.session,
                str(origin.client),
                origin.protocol,
                round(seconds, 4),
                mailing,
                holds,
                envelope.release.at if envelope.release else None,
            )
        )

    def outcome(self, attempt: Attempt, outcomes: Sequence[delivery.Outcome]) -> None:
        """Log the outcomes of an attempt, one line for each recipient."""
        now, account = _now(), self._account_name(attempt.delivery.account_id)
        for outcome in outcomes:
            match outcome:
                case delivery.Delivered(result):
                    line = _outcome("delivered", now, attempt, result, account)
                case delivery.Deferred(result, meaning, until):
                    line = _outcome("deferred", now, attempt, result, account, meaning)
                    line.until = until
                case delivery.Failed(result, meaning, expired):
                    line = _outcome("failed", now, attempt, result, account, meaning)
                    line.expired = expired
                case _:
                    assert_never(outcome)
            self._sink.write(_encode(line))

    def dsn(self, dsn: MessageId, *, about: MessageId, recipient: Address, kind: str) -> None:
        """Log a queued notification. ``kind``: ``failed``, ``delayed`` or ``relayed``."""
        self._write(DsnEvent(_now(), format_id(dsn), format_id(about), str(recipient), kind))

    def destination_backoff(self, site: str, source: str, seconds: float, reply: Reply) -> None:
        """Log that nothing is sent from ``source`` to ``site`` for ``seconds``; ``reply``: of the last failure."""
        now = _now()
        until = now + timedelta(seconds=seconds)
        self._write(DestinationBackoffEvent(now, site, source, until, reply.code, reply.status, _short(reply.text)))

    def tls_policy_failed(self, destination: str, host: str, by: str, fault: TlsFault, *, testing: bool) -> None:
        """Log that ``host`` did not come up to the TLS that ``by`` demands for mail to ``destination``."""
        result, text = fault.result.value, _short(fault.text)
        self._write(TlsPolicyFailedEvent(_now(), destination, host, by, result, text, testing))

    def source_backoff(self, source: str, address: str | None, seconds: float, why: str) -> None:
        """Log that this machine cannot send from ``source``, which is not used for ``seconds``."""
        now = _now()
        self._write(SourceBackoffEvent(now, source, address, now + timedelta(seconds=seconds), _short(why)))

    def shaping_action(self, action: ShapingAction) -> None:
        """Log that a rule has begun an action."""
        rule, scope, effect = action.rule, action.scope.fields, action.effect.value
        self._write(
            ShapingActionEvent(
                _now(), action.id, rule, scope, effect, action.reason, _short(action.sample), action.expires_at
            )
        )

    def expiry_suspended(self, reason: str, seconds: float) -> None:
        """Log that a clock cannot be trusted."""
        self._write(ExpirySuspendedEvent(_now(), reason, round(seconds, 1)))

    def _write(self, event: _Event) -> None:
        self._sink.write(_encode(event))


def _outcome(
    event: str,
    now: datetime,
    attempt: Attempt,
    result: Result,
    account: str | None,
    meaning: Classification | None = None,
) -> OutcomeEvent:
    queued, host, reply = attempt.delivery, attempt.host, result.reply
    line = OutcomeEvent(
        event,
        now,
        format_id(queued.message_id),
        str(result.recipient.address),
        _path(queued.sender),
        queued.destination,
        account,
        queued.account_id,
        result.stage.value,
        reply.code,
        reply.status,
        _short(reply.text),
        result.recipient.attempts + 1,
        round(attempt.seconds, 3),
        round((now - queued.queued_at).total_seconds(), 3),
        queued.size,
        host.name if host else None,
        host.address if host else None,
        host.tls if host else None,
        attempt.source,
        queued.mailing,
        result.delivery_unknown,
    )
    if meaning:
        line.category, line.fault, line.rule = meaning.category, meaning.fault.value, meaning.rule
        line.action = meaning.action.value
    return line


def _now() -> datetime:
    return datetime.now(UTC)


def _path(sender: Address | None) -> str:
    return "<>" if sender is None else str(sender)


def _text(address: Address | None) -> str | None:
    return None if address is None else str(address)


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
