"""Write accepted messages: record, content in pieces, one queue row per recipient.

A whole batch of messages is one statement: one round trip, one commit. The contents travel as one value and are cut by
the server, which avoids copying them piece by piece through an array. The content of a large message follows in the
same transaction (``content.write``).

Invariants: the content is never changed; text that PostgreSQL rejects never gets into JSON.

Limitations: a batch is held in memory several times over, here and in the server, while it is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson

from mta.mail.delivery import DelayReason, Delivery, QueuedRecipient
from mta.mail.headers import Headers, unfold
from mta.mail.hold import Hold, distinct
from mta.mail.message import Envelope, Message, Notify, Recipient, SenderTls, Stream
from mta.mail.reply import sanitise
from mta.mail.values import dataclass
from mta.store.journal import recipient_activity, record_details
from mta.store.journal.recipient_activity import Contacted
from mta.store.postgres.database import Connection
from mta.store.postgres.secrets import Secrets
from mta.store.queue.content import PIECE, SLOT
from mta.store.queue.holds import HoldRow, placed, rows_of
from policy.base import Finding

SHOWN = 200  # characters kept of a header field
EVIDENCE = 500  # and of what a rule found

_AT_ONCE = timedelta(), None

_DETAILS = ("profile", "expires_at", "origin", "findings")  # of a record: what no statement looks at

_SUMMARY = {b"subject": "subject", b"from": "from", b"message-id": "message-id"}

_STORE = f"""
with
    record as (
        insert into message (id, account_id, sender, size, recipients, received_at, record, details)
        select * from unnest(
            $1::uuid[], $2::bigint[], $3::text[], $4::int[], $5::int[], $6::timestamptz[], $7::jsonb[], $8::bytea[]
        )
    ),
    pieces as (
        insert into content (slot, message_id, part, octets)
        select {SLOT}, id, part, substr($9::bytea, start + part * {PIECE}, least({PIECE}, size - part * {PIECE}))
        from unnest($1::uuid[], $10::int[], $4::int[]) as whole (id, start, size),
             generate_series(0, (size - 1) / {PIECE}) as part
        where start is not null
    )"""  # noqa: S608 - PIECE is our own constant

_QUEUE = """
insert into queue (
    message_id, recipient_index, account_id, mailing, topic, destination, address, address_key, notify, orcpt, holds,
    lease, expires_at, stream, due_at, delayed_by, priority
)
select
    message_id, recipient_index, account_id, mailing, topic, destination, address, address_key, notify, orcpt, holds,
    lease, now() + lasts, stream::stream, least(now() + waits, now() + lasts), delayed_by::delay_reason, priority
from unnest(
    $11::uuid[], $12::int[], $13::bigint[], $14::text[], $15::text[], $16::text[], $17::text[], $18::bytea[],
    $19::smallint[], $20::text[], $21::smallint[], $22::bigint[], $23::interval[], $24::text[],
    $25::interval[], $26::text[], $27::smallint[]
) as one (
    message_id, recipient_index, account_id, mailing, topic, destination, address, address_key, notify, orcpt, holds,
    lease, lasts, stream, waits, delayed_by, priority
)"""

_CONTACT = f""",
    arrived as (
        select * from unnest($28::bytea[], $29::bigint[], $30::timestamptz[]) as one (address_key, account_id, at)
    ),
    contacts as ({recipient_activity.ACCEPTED})"""  # noqa: S608 - our own text

_HELD, _HELD_MARKETING = (f""",
    held as ({placed(first)})""" for first in (28, 31))  # fmt: skip

# By whether there is marketing mail in the batch, and whether anything of it is held.
_PUT = {
    (False, False): _STORE + _QUEUE,
    (False, True): _STORE + _HELD + _QUEUE,
    (True, False): _STORE + _CONTACT + _QUEUE,
    (True, True): _STORE + _CONTACT + _HELD_MARKETING + _QUEUE,
}


class Delay(NamedTuple):
    """Until when the first attempt waits, and why."""

    until: datetime
    reason: DelayReason


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be queued; ``message.content`` is already signed. ``holds``: why it is not to be sent yet.
    ``topic``: what marketing mail is about. ``profile``: whose rules it passed, with their digest. ``mailboxes``: of
    its recipients, in their order, if each is to get one copy of the mailing; else empty. ``certified``: it may leave
    from certified sources. ``mark``: a mark of a mailing that transactional mail shows: its name, and where it
    shows. ``delays``: of the first attempts, by destination."""

    message: Message
    account_id: int
    expires_at: datetime
    findings: tuple[Finding, ...] = ()
    mailing: str | None = None
    holds: tuple[Hold, ...] = ()
    stream: Stream = Stream.TRANSACTIONAL
    topic: str | None = None
    profile: str = ""
    mailboxes: tuple[str, ...] = ()
    certified: bool = False
    mark: tuple[str, str] | None = None
    delays: Mapping[str, Delay] | None = None


@dataclass(frozen=True, slots=True)
class Leased:
    """Queued, and this worker's to deliver; the deliveries have their content, unless it is large."""

    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Queued:
    """Queued, and due for any worker."""


@dataclass(frozen=True, slots=True)
class Held:
    """Queued, and sent once these holds have ended."""

    holds: tuple[Hold, ...]


Enqueued = Leased | Queued | Held


async def insert(connection: Connection, batch: Sequence[tuple[NewMessage, int | None]], secrets: Secrets) -> None:
    """Queue messages, each with the lease under which its rows are ours, or None. All of them, or none.

    The content of large ones is not written here.
    """
    messages, rows, starts, contents = [], [], list[int | None](), list[bytes]()
    start = 1
    for accepted, lease in batch:
        messages.append(_message_row(accepted))
        rows += _queue_rows(accepted, lease, secrets)
        if accepted.message.large:
            starts.append(None)
            continue
        starts.append(start)
        contents += accepted.message.head, accepted.message.body
        start += accepted.message.size
    content = b"".join(contents)
    contacted = [each for accepted, _ in batch for each in _contacted(accepted, secrets)]
    held = [row for accepted, _ in batch if accepted.holds for row in _hold_rows(accepted)]
    await connection.fetch(
        _PUT[bool(contacted), bool(held)],
        *zip(*messages, strict=True), content, starts, *zip(*rows, strict=True),
        *zip(*contacted, strict=True), *zip(*held, strict=True),
    )  # fmt: skip


def deliveries(accepted: NewMessage, lease: int) -> list[Delivery]:
    """The deliveries of a message that was queued under ``lease``: one for each destination domain."""
    message, envelope = accepted.message, accepted.message.envelope
    parts: dict[str, list[QueuedRecipient]] = {}
    for n, recipient in enumerate(envelope.recipients):
        queued = QueuedRecipient(n, recipient.address, 0, recipient.notify, recipient.orcpt)
        parts.setdefault(recipient.address.domain, []).append(queued)
    return [
        Delivery(
            message_id=message.id,
            destination=destination,
            sender=envelope.sender,
            recipients=tuple(recipients),
            account_id=accepted.account_id,
            queued_at=message.origin.received_at,
            expires_at=accepted.expires_at,
            size=message.size,
            mailing=accepted.mailing,
            stream=accepted.stream,
            topic=accepted.topic,
            body=envelope.body,
            smtputf8=envelope.smtputf8,
            ret=envelope.ret,
            envid=envelope.envid,
            certified=accepted.certified,
            tls=envelope.tls,
            mark=accepted.mark,
            release=envelope.release,
            deliver_by=envelope.deliver_by,
            priority=envelope.priority,
            content=None if message.large else message.content,
            whole=len(parts) == 1,
            lease=lease,
        )
        for destination, recipients in parts.items()
    ]


def _message_row(accepted: NewMessage) -> tuple[Any, ...]:
    message = accepted.message
    sender = message.envelope.sender
    whole = record(message, accepted.findings) | _purpose(accepted)
    details = {name: whole.pop(name) for name in _DETAILS}
    kept = {name: value for name, value in whole.items() if value is not None and value is not False}
    kept["session"] = message.origin.session
    return (
        message.id,
        accepted.account_id,
        None if sender is None else str(sender),
        message.size,
        len(message.envelope.recipients),
        message.origin.received_at,
        orjson.dumps(kept).decode(),
        record_details.pack(details),
    )


def _queue_rows(accepted: NewMessage, lease: int | None, secrets: Secrets) -> list[tuple[Any, ...]]:
    holds = len(distinct(accepted.holds)) if accepted.holds else 0
    received_at = accepted.message.origin.received_at
    return [
        (
            accepted.message.id,
            n,
            accepted.account_id,
            accepted.mailing,
            accepted.topic,
            recipient.address.domain,
            str(recipient.address),
            secrets.address_key(recipient.address),
            None if recipient.notify is None else recipient.notify.value,
            recipient.orcpt,
            holds,
            lease,
            accepted.expires_at - received_at,
            accepted.stream.value,
            *_wait(accepted, recipient, received_at),
            accepted.message.envelope.priority,
        )
        for n, recipient in enumerate(accepted.message.envelope.recipients)
    ]


def _wait(accepted: NewMessage, recipient: Recipient, received_at: datetime) -> tuple[timedelta, str | None]:
    delay = accepted.delays.get(recipient.address.domain) if accepted.delays else None
    return (delay.until - received_at, delay.reason.value) if delay else _AT_ONCE


def _hold_rows(accepted: NewMessage) -> Iterator[HoldRow]:
    recipients = len(accepted.message.envelope.recipients)
    return rows_of(distinct(accepted.holds), accepted.message.id, recipients, accepted.account_id, accepted.mailing)


def _contacted(accepted: NewMessage, secrets: Secrets) -> Iterator[Contacted]:
    """Whose mailbox gets more marketing mail, which the frequency rule counts."""
    if accepted.stream is Stream.MARKETING:
        for recipient in accepted.message.envelope.recipients:
            key = secrets.address_key(recipient.address)
            yield key, accepted.account_id, accepted.message.origin.received_at


def record(message: Message, findings: Sequence[Finding]) -> dict[str, Any]:
    """What is kept to explain a message, accepted or refused, and to send it as it was received."""
    origin = message.origin
    return {
        "envelope": _envelope(message.envelope),
        "recipients": [str(recipient.address) for recipient in message.envelope.recipients],
        "origin": {
            "account": origin.account,
            "credential": origin.credential,
            "client": str(origin.client),
            "hello": sanitise(origin.hello, SHOWN),
            "session": origin.session,
            "protocol": origin.protocol,
            "tls": origin.tls,
        },
        "summary": _summary(message.headers),
        "findings": _findings(findings),
    }


def _purpose(accepted: NewMessage) -> dict[str, Any]:
    return {
        "expires_at": accepted.expires_at,
        "stream": accepted.stream.value,
        "mailing": accepted.mailing,
        "topic": accepted.topic,
        "profile": accepted.profile,
        "certified": accepted.certified,
        "mark": accepted.mark,
    }


def _findings(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    evidence = [finding.evidence for finding in findings]
    together = "".join(evidence)  # looked at once, as nearly all that rules say can be stored as it is
    if not (together.isascii() and together.isprintable()) or any(len(each) > EVIDENCE for each in evidence):
        evidence = [sanitise(each, EVIDENCE) for each in evidence]
    return [
        (finding.policy, finding.verdict, said)
        if finding.recipient is None
        else (finding.policy, finding.verdict, said, finding.recipient)
        for finding, said in zip(findings, evidence, strict=True)
    ]


def _envelope(envelope: Envelope) -> dict[str, Any]:
    """What was asked for beyond the addresses; what was not asked for is left out."""
    kept: dict[str, Any] = {"body": envelope.body.value}
    if envelope.smtputf8:
        kept["smtputf8"] = True
    if envelope.ret is not None:
        kept["ret"] = envelope.ret.value
    if envelope.envid is not None:
        kept["envid"] = envelope.envid
    if envelope.tls is not SenderTls.AS_POLICY:
        kept["tls"] = envelope.tls.value
    if envelope.release is not None:
        kept["release"] = [envelope.release.at, envelope.release.request]
    if (by := envelope.deliver_by) is not None:
        kept["deliver_by"] = [by.deadline, by.mode.value, by.trace]
    if envelope.priority:
        kept["priority"] = envelope.priority
    return kept


def _summary(headers: Headers) -> dict[str, str]:
    """The fields that an operator knows a message by, as they came (not decoded); of several the first."""
    found: dict[str, str] = {}
    for field, raw in headers.fields:
        if field in _SUMMARY and (name := _SUMMARY[field]) not in found:
            found[name] = sanitise(unfold(raw.partition(b":")[2]), SHOWN)
    return found


def notify_bits(value: int | None) -> Notify | None:
    """The NOTIFY parameter as it was stored."""
    return None if value is None else Notify(value)
