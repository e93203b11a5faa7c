"""The event log: what became of each message, one JSON line for each event of its life.

One method of ``EventLog`` for each kind of event, and one ``Struct`` for each kind of line; ``docs/operations.md``
documents the fields. Writing is the business of ``mta.observe.sink``: a method here only encodes and leaves.

What happens to the service itself is in its own log (``mta.observe.log``).

It must never hold a credential or a message's text, never wait, and never raise because of where the lines go.

*Limits.* The log is for searching and feeding other systems; what must not be lost (what a message came to) is in the
database, in the same transaction as the outcome, and is what ``mta explain`` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import assert_never

import msgspec

from mta.mail import delivery
from mta.mail.address import Address
from mta.mail.delivery import Attempt, Classification, Result
from mta.mail.identity import MessageId, format_id
from mta.mail.message import IPAddress, Message
from mta.mail.reply import Reply
from mta.observe.sink import Sink

MAX_TEXT = 500  # characters of a reply or other outside text; keeps a line below what a pipe takes in one piece

_encode = msgspec.json.Encoder().encode
_id = lru_cache(4096)(format_id)  # a message is written about at least twice


class _Event(msgspec.Struct, omit_defaults=True, gc=False, tag_field="event"):
    at: datetime


class SessionEvent(_Event, tag="session"):
    """A client's session has ended. ``ending``: how, e.g. ``quit``, ``lost``, ``timeout``, ``errors``, ``shutdown``."""

    session: str
    client: str
    account: str | None
    tls: str | None
    messages: int
    refusals: int
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
    sender: str
    recipients: int
    size: int
    session: str
    client: str
    protocol: str
    seconds: float
    mailing: str | None = None
    hold: str | None = None


class RejectedEvent(_Event, tag="rejected"):
    """``verb``: the command that was refused, ``CONNECT`` for the session itself, ``.`` for the message's end."""

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
    """What an attempt came to for one recipient. ``total``: seconds since acceptance.

    ``fault`` and ``rule`` (of the bounce rules) are empty where nothing went wrong; ``action`` says whether the address
    was suppressed; ``expired``: given up because the time was over; ``until``: when it is tried again.
    """

    event: str  # delivered, deferred or failed
    at: datetime
    id: str
    recipient: str
    sender: str
    destination: str
    account: int
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
    ambiguous: bool = False
    category: str = ""
    fault: str = ""
    rule: str = ""
    action: str = ""
    expired: bool = False
    until: datetime | None = None


class DsnEvent(_Event, tag="dsn"):
    """A delivery status notice was queued as message ``id``, about message ``about``."""

    id: str
    about: str
    recipient: str
    kind: str


class DestinationBackoffEvent(_Event, tag="destination_backoff"):
    """A destination gets a rest after connections to it failed."""

    site: str
    until: datetime
    code: int
    status: str
    text: str


EVENTS: tuple[type[msgspec.Struct], ...] = (
    SessionEvent,
    AuthFailedEvent,
    AcceptedEvent,
    RejectedEvent,
    OutcomeEvent,
    DsnEvent,
    DestinationBackoffEvent,
)


class EventLog:
    """One method for each kind of event; each costs a few microseconds and never waits."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def reopen(self) -> None:
        """Open the file anew, after it was moved away (SIGUSR1)."""
        self._sink.reopen()

    def replace(self, sink: Sink) -> None:
        """Go on in ``sink``; what is left goes to the old one."""
        self._sink, old = sink, self._sink
        old.close()

    def close(self) -> None:
        """Write what is left, for at most a second or two."""
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
        refusals: int,
        seconds: float,
        ending: str,
    ) -> None:
        rounded = round(seconds, 3)
        self._write(SessionEvent(_now(), session, str(client), account, tls, messages, refusals, rounded, ending))

    def auth_failed(self, *, session: str, client: IPAddress, username: str, mechanism: str, reply: Reply) -> None:
        self._write(AuthFailedEvent(_now(), session, str(client), username[:254], mechanism[:40], str(reply)))

    def refused(
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
        """A command, message or session was turned away with ``reply``."""
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
        hold: str | None = None,
    ) -> None:
        """The client got its 250. ``seconds``: since the end of the data."""
        origin, envelope = message.origin, message.envelope
        self._write(
            AcceptedEvent(
                origin.received_at,
                _id(message.id),
                origin.account,
                _path(envelope.sender),
                len(envelope.recipients),
                len(message.content),
                origin.session,
                str(origin.client),
                origin.protocol,
                round(seconds, 4),
                mailing,
                hold,
            )
        )

    def settled(self, attempt: Attempt, outcomes: Sequence[delivery.Outcome]) -> None:
        """What an attempt came to, one line for each recipient."""
        now = _now()
        for outcome in outcomes:
            match outcome:
                case delivery.Delivered(result):
                    line = _outcome("delivered", now, attempt, result)
                case delivery.Deferred(result, meaning, until):
                    line = _outcome("deferred", now, attempt, result, meaning)
                    line.until = until
                case delivery.Failed(result, meaning, expired):
                    line = _outcome("failed", now, attempt, result, meaning)
                    line.expired = expired
                case _:
                    assert_never(outcome)
            self._sink.write(_encode(line))

    def notice(self, notice: MessageId, *, about: MessageId, recipient: Address, kind: str) -> None:
        """``kind``: ``failed``, ``delayed`` or ``delivered``."""
        self._write(DsnEvent(_now(), _id(notice), _id(about), str(recipient), kind))

    def lane_rests(self, site: str, seconds: float, reply: Reply) -> None:
        """Nothing is sent to ``site`` for ``seconds``; ``reply`` is what the last failed connection got."""
        now = _now()
        until = now + timedelta(seconds=seconds)
        self._write(DestinationBackoffEvent(now, site, until, reply.code, reply.status, _short(reply.text)))

    def _write(self, event: _Event) -> None:
        self._sink.write(_encode(event))


def _outcome(
    event: str, now: datetime, attempt: Attempt, result: Result, meaning: Classification | None = None
) -> OutcomeEvent:
    queued, host, reply = attempt.delivery, attempt.host, result.reply
    line = OutcomeEvent(
        event,
        now,
        _id(queued.message_id),
        str(result.recipient.address),
        _path(queued.sender),
        queued.destination,
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
        result.ambiguous,
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
