"""Compose the delivery status notifications that we send (RFC 3464, RFC 6522, RFC 6533).

NOTIFY (RFC 3461), the account's setting and the time in the queue decide who gets one. A DSN goes from the null sender
to the envelope sender, even if a program sent the message: Auto-Submitted (RFC 3834) silences responders, not the
transport. A message from the null sender causes no DSN, which prevents loops.

Invariants: A receiver's text never becomes a header field. No more of the message is returned than allowed. The null
sender never gets a DSN.

Limitations: Success is ``relayed``, never ``delivered``, because nothing is known beyond the next host. Only the part
for people is in the sender's language: subject, names of parts and fields are the customary English ones, which
programs look for.
"""

from __future__ import annotations

import quopri
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from enum import Enum
from textwrap import wrap
from typing import assert_never

from bounce.parsers.mime import decode_unitext
from mta.mail.delivery import Attempt, Deferred, Delivered, Delivery, Failed, Outcome, QueuedRecipient
from mta.mail.message import Body, ByMode, Notify, Return
from mta.mail.reply import Reply

MAX_REPLY = 600  # characters quoted of a receiver's reply

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")


class DsnKind(Enum):
    """The Action field (RFC 3464 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True)
class DsnRecipient:
    """One recipient's part of a DSN."""

    kind: DsnKind
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class DsnWords:
    """What the part for people says, in ``language``; names in braces are filled in. ``moment``: writes a time."""

    language: str
    moment: Callable[[datetime], str]
    system: str
    failed: str
    delayed: str
    relayed: str
    said: str
    reason: str
    expired: str
    retried: str
    reference: str


@dataclass(frozen=True, slots=True)
class DsnMessage:
    """A composed DSN, to be sent from the null sender to the envelope sender of the message it is about."""

    content: bytes
    body: Body
    smtputf8: bool


def wanted(
    attempt: Attempt, outcomes: Iterable[Outcome], notices: str, delay_after: float, now: datetime
) -> tuple[DsnRecipient, ...]:
    """Return what to report to the sender after ``attempt``; empty if no DSN is wanted.

    ``notices`` is the account's choice; anything but "dsn" means no mail. ``delay_after`` (seconds, 0 never) is how
    long a message waits before a single DSN reports the delay; one that is to be delivered by some time has its own.
    """
    delivery = attempt.delivery
    if delivery.sender is None or notices != "dsn":
        return ()
    waited = delay_after > 0 and now - delivery.since >= timedelta(seconds=delay_after)
    by = delivery.deliver_by
    late = by is not None and by.mode is ByMode.NOTIFY and now >= by.deadline
    tell_delay = (waited or late) and not delivery.delay_dsn_sent
    traced = by is not None and by.trace
    parts = (_part_of(outcome, attempt.receiver_sends_dsn, tell_delay, traced) for outcome in outcomes)
    return tuple(part for part in parts if part)


def _part_of(outcome: Outcome, receiver_sends_dsn: bool, tell_delay: bool, traced: bool) -> DsnRecipient | None:
    """Apply RFC 3461 4.1: without NOTIFY, failures are reported and, by local policy, delays. ``traced``: the sender
    wants to know of each relay, unless NOTIFY says NEVER (RFC 2852 4)."""
    notify = outcome.result.recipient.notify
    match outcome:
        case Failed() if notify is None or Notify.FAILURE in notify:
            return DsnRecipient(DsnKind.FAILED, outcome)
        case Deferred() if tell_delay and (notify is None or Notify.DELAY in notify):
            return DsnRecipient(DsnKind.DELAYED, outcome)
        case Delivered() if notify is not None and Notify.SUCCESS in notify and not receiver_sends_dsn:
            return DsnRecipient(DsnKind.RELAYED, outcome)
        case Delivered() if traced and notify != Notify.NEVER:
            return DsnRecipient(DsnKind.RELAYED, outcome)
        case Failed() | Deferred() | Delivered():
            return None
        case _:
            assert_never(outcome)


def compose(
    attempt: Attempt,
    recipients: Sequence[DsnRecipient],
    words: DsnWords,
    *,
    reporter: str,
    dsn_id: str,
    message_id: str,
    content: bytes | None,
    limit: int,
    now: datetime,
) -> DsnMessage:
    """Compose the DSN about ``recipients`` (at least one). Raises ValueError for a message from the null sender.

    ``reporter``: our host name; ``dsn_id`` and ``message_id``: ids of the DSN and of the message, formatted;
    ``content``: the message, of a large one its header block (None: not available, nothing is returned); ``limit``:
    octets of it to return at most.
    """
    delivery = attempt.delivery
    if delivery.sender is None or not recipients:
        raise ValueError("a DSN needs a sender to report to and at least one recipient to report on")
    returned = _returned(delivery, recipients, content, limit)
    utf8 = delivery.smtputf8 and not _is_plain(delivery, recipients, returned)
    text = _text(attempt, recipients, words, reporter, message_id)
    status = _status(attempt, recipients, reporter, utf8)
    parts = [
        _text_part(text, words.language),
        _part(f"message/{'global-' if utf8 else ''}delivery-status", "Delivery report", status),
    ]
    if returned:
        kind, name = _returned_type(returned.whole, utf8)
        parts.append(_part(kind, name, returned.octets))
    boundary = f"=_{dsn_id}"
    while any(boundary.encode() in part for part in parts):
        boundary += "_"
    header = _header(delivery, recipients, reporter, dsn_id, boundary, now)
    frame = b"".join(b"--" + boundary.encode() + b"\r\n" + part for part in parts)
    whole = header.encode() + b"\r\n" + frame + b"--" + boundary.encode() + b"--\r\n"
    return DsnMessage(whole, Body.SEVEN_BIT if whole.isascii() else Body.EIGHT_BIT, utf8)


@dataclass(frozen=True, slots=True)
class _Returned:
    octets: bytes
    whole: bool


def _returned(
    delivery: Delivery, recipients: Sequence[DsnRecipient], content: bytes | None, limit: int
) -> _Returned | None:
    """Return what RFC 3461 4.3 and 6.2 allow: the whole message only for a failure and without RET=HDRS."""
    if content is None:
        return None
    failed = any(part.kind is DsnKind.FAILED for part in recipients)
    if failed and delivery.ret is not Return.HEADERS and max(delivery.size, len(content)) <= limit:
        return _Returned(content if content.endswith(b"\r\n") else content + b"\r\n", True)
    end = content.find(b"\r\n\r\n")
    block = content[: end + 2] if end >= 0 else content
    if len(block) > limit:
        # cut at the start of a field: a line that does not begin with white space
        block = block[: limit + 1]
        block = block[: max((match.start() + 2 for match in re.finditer(rb"\r\n(?![ \t]|\Z)", block)), default=0)]
    return _Returned(block, False) if block else None


def _is_plain(delivery: Delivery, recipients: Sequence[DsnRecipient], returned: _Returned | None) -> bool:
    """Return whether the DSN does not need SMTPUTF8."""
    addresses = [delivery.sender, *(part.outcome.result.recipient.address for part in recipients)]
    headers = returned.octets.partition(b"\r\n\r\n")[0] if returned else b""
    return headers.isascii() and all(address is None or address.is_ascii for address in addresses)


def _returned_type(whole: bool, utf8: bool) -> tuple[str, str]:
    if whole:
        return ("message/global" if utf8 else "message/rfc822"), "Undelivered message"
    return ("message/global-headers" if utf8 else "text/rfc822-headers"), "Header of the message"


def _text_part(text: str, language: str) -> bytes:
    charset, encoding, octets = "us-ascii", "7bit", text.encode()
    if not text.isascii():
        charset, encoding = "utf-8", "quoted-printable"
        octets = quopri.encodestring(text.replace("\r\n", "\n").encode()).replace(b"\n", b"\r\n")
    head = (
        f"Content-Type: text/plain; charset={charset}\r\nContent-Description: Notification\r\n"
        f"Content-Language: {language}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + octets


def _part(kind: str, description: str, octets: bytes) -> bytes:
    encoding = "7bit" if octets.isascii() else "8bit"
    head = (
        f"Content-Type: {kind}\r\nContent-Description: {description}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + octets + (b"" if octets.endswith(b"\r\n") else b"\r\n")


def _header(
    delivery: Delivery, recipients: Sequence[DsnRecipient], reporter: str, dsn_id: str, boundary: str, now: datetime
) -> str:
    kinds = {part.kind for part in recipients}
    subject = (
        "Delivery Status Notification (Failure)"
        if DsnKind.FAILED in kinds
        else "Delivery Status Notification (Delay)"
        if DsnKind.DELAYED in kinds
        else "Delivery Status Notification (Relayed)"
    )
    return (
        f"From: Mail Delivery System <MAILER-DAEMON@{reporter}>\r\n"
        f"To: <{delivery.sender}>\r\n"
        f"Subject: {subject}\r\n"
        f"Date: {format_datetime(now)}\r\n"
        f"Message-ID: <{dsn_id}@{reporter}>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"\r\n'
    )


def _text(attempt: Attempt, recipients: Sequence[DsnRecipient], words: DsnWords, reporter: str, message_id: str) -> str:
    """Return the part for people."""
    introductions = {DsnKind.FAILED: words.failed, DsnKind.DELAYED: words.delayed, DsnKind.RELAYED: words.relayed}
    paragraphs = [words.system.format(host=reporter)]
    for kind, introduction in introductions.items():
        concerned = [part for part in recipients if part.kind is kind]
        if concerned:
            paragraphs.append("\r\n".join(wrap(introduction, 76, break_on_hyphens=False)))
            paragraphs += [_recipient_text(attempt, part, words) for part in concerned]
    paragraphs.append(words.reference.format(id=message_id))
    return "\r\n\r\n".join(paragraphs) + "\r\n"


def _recipient_text(attempt: Attempt, part: DsnRecipient, words: DsnWords) -> str:
    result, delivery = part.outcome.result, attempt.delivery
    reply = _quoted(result.reply)
    sentences = [
        words.said.format(host=_line(attempt.host.name), reply=reply)
        if attempt.host
        else words.reason.format(reply=reply)
    ]
    if isinstance(part.outcome, Failed) and part.outcome.expired:
        sentences.append(words.expired.format(at=words.moment(delivery.queued_at)))
    if part.kind is DsnKind.DELAYED:
        sentences.append(words.retried.format(at=words.moment(delivery.expires_at)))
    lines = [line for sentence in sentences for line in wrap(sentence, 72, break_on_hyphens=False)]
    return "\r\n".join([f"  <{result.recipient.address}>", *(f"    {line}" for line in lines)])


def _status(attempt: Attempt, recipients: Sequence[DsnRecipient], reporter: str, utf8: bool) -> bytes:
    """Return the part for programs: per-message fields, then a group for each recipient (RFC 3464 2.2, 2.3)."""
    delivery = attempt.delivery
    groups = [[_field("Reporting-MTA", f"dns; {reporter}")]]
    if delivery.envid:
        groups[0].append(_field("Original-Envelope-Id", _decoded(delivery.envid)))
    groups[0].append(_field("Arrival-Date", format_datetime(delivery.queued_at)))
    if delivery.deliver_by:  # RFC 2852 5
        groups[0].append(_field("Deliver-By-Date", format_datetime(delivery.deliver_by.deadline)))
    if delivery.release and delivery.release.request:  # RFC 4865 5
        groups[0].append(_field("Future-Release-Request", delivery.release.request))
    groups += [_recipient_fields(attempt, part) for part in recipients]
    text = "\r\n".join("".join(group) for group in groups)
    return text.encode() if utf8 else text.encode("ascii", "replace")


def _recipient_fields(attempt: Attempt, part: DsnRecipient) -> list[str]:
    result, host = part.outcome.result, attempt.host
    address = result.recipient.address
    fields = []
    if result.recipient.orcpt:
        fields.append(_field("Original-Recipient", _original(result.recipient)))
    fields.append(_field("Final-Recipient", f"{'rfc822' if address.is_ascii else 'utf-8'}; {address}"))
    fields.append(_field("Action", part.kind.value))
    fields.append(_field("Status", _line(result.reply.status)))
    if host:
        fields.append(_field("Remote-MTA", f"dns; {host.name}"))
        fields.append(_field("Diagnostic-Code", f"smtp; {_quoted(result.reply)}"))
    elif part.kind is not DsnKind.RELAYED:
        fields.append(_field("Diagnostic-Code", f"x-imprimatur; {_quoted(result.reply)}"))
    fields.append(_field("Last-Attempt-Date", format_datetime(attempt.started_at)))
    if part.kind is DsnKind.DELAYED:
        fields.append(_field("Will-Retry-Until", format_datetime(attempt.delivery.expires_at)))
    return fields


def _original(recipient: QueuedRecipient) -> str:
    """Return ORCPT with its xtext decoded (RFC 3461 6.3, RFC 6533 3)."""
    kind, _, encoded = (recipient.orcpt or "").partition(";")
    address = _decoded(encoded)
    if kind.lower() == "utf-8":
        address = _line(decode_unitext(address))
    return f"{kind}; {address}"


def _decoded(xtext: str) -> str:
    return _line(_XTEXT.sub(lambda match: chr(int(match[1], 16)), xtext))


def _quoted(reply: Reply) -> str:
    return _line(f"{reply.code} {reply.status} {reply.text}")[:MAX_REPLY]


def _line(text: str) -> str:
    """Return ``text`` on one line without control characters, so that it cannot start a field of its own."""
    return " ".join(_CONTROL.sub(" ", text).split())


def _field(name: str, value: str) -> str:
    """Return one field, folded at spaces before column 78; a word too long for a line is cut (RFC 5322 2.1.1)."""
    lines = wrap(_line(value), 76 - len(name), break_long_words=False, break_on_hyphens=False) or [""]
    return f"{name}: " + "\r\n ".join(line.encode()[:990].decode(errors="ignore") for line in lines) + "\r\n"
