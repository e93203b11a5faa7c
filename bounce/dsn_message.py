"""Delivery status notices to senders (RFC 3464 in the frame of RFC 6522, RFC 6533 for internationalised mail).

Who is told what is decided by NOTIFY (RFC 3461), the account's choice, and the clock. A notice goes to the envelope
sender, from the null sender, also when the message was itself sent by a program: Auto-Submitted keeps responders
quiet (RFC 3834), not the transport; what stops loops is that a message from the null sender causes no notice.

It must never let a receiver's words become a header field, never return more of the message than allowed, and never
answer the null sender.

*Limits.* ``delivered`` is never said: behind the next host we know nothing, so success is ``relayed``. The text is
English.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from enum import Enum
from textwrap import wrap
from typing import assert_never

from mta.mail.delivery import Attempt, Deferred, Delivered, Delivery, Failed, Outcome, QueuedRecipient
from mta.mail.message import Body, Notify, Return
from mta.mail.reply import Reply

MAX_WORDS = 600  # characters of a receiver's reply that are repeated

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_UNITEXT = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")


class DsnKind(Enum):
    """What is said about a recipient: the Action field of RFC 3464 2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True)
class DsnRecipient:
    """One recipient's part of a notice."""

    kind: DsnKind
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class DsnMessage:
    """A finished notice, to be sent from the null sender to the envelope sender of the message it is about."""

    content: bytes
    body: Body
    smtputf8: bool


def wanted(
    attempt: Attempt, outcomes: Iterable[Outcome], notices: str, delay_after: float, now: datetime
) -> tuple[DsnRecipient, ...]:
    """What the sender is to be told after ``attempt``. Empty: no notice.

    ``notices`` is the account's choice; anything but "notice" means no mail. ``delay_after`` (seconds, 0 never) is how
    long a message waits before its sender is told of it, once.
    """
    delivery = attempt.delivery
    if delivery.sender is None or notices != "notice":
        return ()
    waited = delay_after > 0 and now - delivery.queued_at >= timedelta(seconds=delay_after)
    tell_delay = waited and not delivery.delay_told
    told = (_told(outcome, attempt.dsn, tell_delay) for outcome in outcomes)
    return tuple(part for part in told if part)


def _told(outcome: Outcome, passed_on: bool, tell_delay: bool) -> DsnRecipient | None:
    """RFC 3461 4.1: without NOTIFY, failures are told and, by local policy, delays."""
    notify = outcome.result.recipient.notify
    match outcome:
        case Failed() if notify is None or Notify.FAILURE in notify:
            return DsnRecipient(DsnKind.FAILED, outcome)
        case Deferred() if tell_delay and (notify is None or Notify.DELAY in notify):
            return DsnRecipient(DsnKind.DELAYED, outcome)
        case Delivered() if notify is not None and Notify.SUCCESS in notify and not passed_on:
            return DsnRecipient(DsnKind.RELAYED, outcome)
        case Failed() | Deferred() | Delivered():
            return None
        case _:
            assert_never(outcome)


def compose(
    attempt: Attempt,
    told: Sequence[DsnRecipient],
    *,
    reporter: str,
    notice_id: str,
    message_id: str,
    content: bytes | None,
    limit: int,
    now: datetime,
) -> DsnMessage:
    """The notice about ``told`` (at least one). Raises ValueError for a message from the null sender.

    ``reporter`` is our host name, ``notice_id`` and ``message_id`` the ids of the notice and of the message in our
    notation, ``content`` the message (None: not at hand, nothing of it is returned), ``limit`` the most octets of it
    to return.
    """
    delivery = attempt.delivery
    if delivery.sender is None or not told:
        raise ValueError("there is nobody to be told, or nothing to tell")
    returned = _returned(delivery, told, content, limit)
    utf8 = delivery.smtputf8 and not _is_plain(delivery, told, returned)
    text = _text(attempt, told, reporter, message_id)
    status = _status(attempt, told, reporter, utf8)
    parts = [
        _part("text/plain; charset=" + ("us-ascii" if text.isascii() else "utf-8"), "Notification", text.encode()),
        _part(f"message/{'global-' if utf8 else ''}delivery-status", "Delivery report", status),
    ]
    if returned:
        kind, name = _returned_type(returned.whole, utf8)
        parts.append(_part(kind, name, returned.octets))
    boundary = f"=_{notice_id}"
    while any(boundary.encode() in part for part in parts):
        boundary += "_"
    header = _header(delivery, told, reporter, notice_id, boundary, now)
    frame = b"".join(b"--" + boundary.encode() + b"\r\n" + part for part in parts)
    whole = header.encode() + b"\r\n" + frame + b"--" + boundary.encode() + b"--\r\n"
    return DsnMessage(whole, Body.SEVEN_BIT if whole.isascii() else Body.EIGHT_BIT, utf8)


@dataclass(frozen=True, slots=True)
class _Returned:
    octets: bytes
    whole: bool


def _returned(delivery: Delivery, told: Sequence[DsnRecipient], content: bytes | None, limit: int) -> _Returned | None:
    """RFC 3461 4.3 and 6.2: the message goes back only with a failure, and only if RET does not ask for less."""
    if content is None:
        return None
    failed = any(part.kind is DsnKind.FAILED for part in told)
    if failed and delivery.ret is not Return.HEADERS and len(content) <= limit:
        return _Returned(content if content.endswith(b"\r\n") else content + b"\r\n", True)
    end = content.find(b"\r\n\r\n")
    block = content[: end + 2] if end >= 0 else content
    if len(block) > limit:
        # whole fields only: a field begins where a line does not start with white space
        block = block[: limit + 1]
        block = block[: max((match.start() + 2 for match in re.finditer(rb"\r\n(?![ \t]|\Z)", block)), default=0)]
    return _Returned(block, False) if block else None


def _is_plain(delivery: Delivery, told: Sequence[DsnRecipient], returned: _Returned | None) -> bool:
    """Whether the notice can do without SMTPUTF8."""
    addresses = [delivery.sender, *(part.outcome.result.recipient.address for part in told)]
    headers = returned.octets.partition(b"\r\n\r\n")[0] if returned else b""
    return headers.isascii() and all(address is None or address.is_ascii for address in addresses)


def _returned_type(whole: bool, utf8: bool) -> tuple[str, str]:
    if whole:
        return ("message/global" if utf8 else "message/rfc822"), "Undelivered message"
    return ("message/global-headers" if utf8 else "text/rfc822-headers"), "Header of the message"


def _part(kind: str, description: str, octets: bytes) -> bytes:
    encoding = "7bit" if octets.isascii() else "8bit"
    head = (
        f"Content-Type: {kind}\r\nContent-Description: {description}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + octets + (b"" if octets.endswith(b"\r\n") else b"\r\n")


def _header(
    delivery: Delivery, told: Sequence[DsnRecipient], reporter: str, notice_id: str, boundary: str, now: datetime
) -> str:
    kinds = {part.kind for part in told}
    subject = (
        "Message not delivered"
        if DsnKind.FAILED in kinds
        else "Message delayed"
        if DsnKind.DELAYED in kinds
        else "Message passed on"
    )
    return (
        f"From: Mail Delivery System <MAILER-DAEMON@{reporter}>\r\n"
        f"To: <{delivery.sender}>\r\n"
        f"Subject: {subject}\r\n"
        f"Date: {format_datetime(now)}\r\n"
        f"Message-ID: <{notice_id}@{reporter}>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"\r\n'
    )


_INTRODUCTIONS = {
    DsnKind.FAILED: "Your message could not be delivered to the following recipients. It will not be tried again.",
    DsnKind.DELAYED: "Your message is still on its way to the following recipients. There is no need to send it again.",
    DsnKind.RELAYED: "Your message was passed on for the following recipients. Their system sends no confirmations: "
    "this is the last you hear of it, unless something goes wrong there.",
}


def _text(attempt: Attempt, told: Sequence[DsnRecipient], reporter: str, message_id: str) -> str:
    """The part for people."""
    paragraphs = [f"This is the mail system at {reporter}."]
    for kind, introduction in _INTRODUCTIONS.items():
        concerned = [part for part in told if part.kind is kind]
        if concerned:
            paragraphs.append("\r\n".join(wrap(introduction, 76)))
            paragraphs += [_recipient_text(attempt, part) for part in concerned]
    paragraphs.append(f"Our reference: {message_id}")
    return "\r\n\r\n".join(paragraphs) + "\r\n"


def _recipient_text(attempt: Attempt, told: DsnRecipient) -> str:
    result = told.outcome.result
    speaker = f"{_line(attempt.host.name)} answered" if attempt.host else "The reason"
    sentences = [f"{speaker}: {_said(result.reply)}"]
    if isinstance(told.outcome, Failed) and told.outcome.expired:
        sentences.append(f"It was tried since {format_datetime(attempt.delivery.queued_at)}, which is long enough.")
    if told.kind is DsnKind.DELAYED:
        sentences.append(f"It will be tried until {format_datetime(attempt.delivery.expires_at)}.")
    lines = [line for sentence in sentences for line in wrap(sentence, 72)]
    return "\r\n".join([f"  <{result.recipient.address}>", *(f"    {line}" for line in lines)])


def _status(attempt: Attempt, told: Sequence[DsnRecipient], reporter: str, utf8: bool) -> bytes:
    """The part for programs: fields about the message, then a group for each recipient (RFC 3464 2.2, 2.3)."""
    delivery = attempt.delivery
    groups = [[_field("Reporting-MTA", f"dns; {reporter}")]]
    if delivery.envid:
        groups[0].append(_field("Original-Envelope-Id", _decoded(delivery.envid)))
    groups[0].append(_field("Arrival-Date", format_datetime(delivery.queued_at)))
    groups += [_recipient_fields(attempt, part) for part in told]
    text = "\r\n".join("".join(group) for group in groups)
    return text.encode() if utf8 else text.encode("ascii", "replace")


def _recipient_fields(attempt: Attempt, told: DsnRecipient) -> list[str]:
    result, host = told.outcome.result, attempt.host
    address = result.recipient.address
    fields = []
    if result.recipient.orcpt:
        fields.append(_field("Original-Recipient", _original(result.recipient)))
    fields.append(_field("Final-Recipient", f"{'rfc822' if address.is_ascii else 'utf-8'}; {address}"))
    fields.append(_field("Action", told.kind.value))
    fields.append(_field("Status", _line(result.reply.status)))
    if host:
        fields.append(_field("Remote-MTA", f"dns; {host.name}"))
        fields.append(_field("Diagnostic-Code", f"smtp; {_said(result.reply)}"))
    elif told.kind is not DsnKind.RELAYED:
        fields.append(_field("Diagnostic-Code", f"x-imprimatur; {_said(result.reply)}"))
    fields.append(_field("Last-Attempt-Date", format_datetime(attempt.started_at)))
    if told.kind is DsnKind.DELAYED:
        fields.append(_field("Will-Retry-Until", format_datetime(attempt.delivery.expires_at)))
    return fields


def _original(recipient: QueuedRecipient) -> str:
    """ORCPT with its xtext undone (RFC 3461 6.3, RFC 6533 3)."""
    kind, _, encoded = (recipient.orcpt or "").partition(";")
    address = _decoded(encoded)
    if kind.lower() == "utf-8":
        address = _line(_UNITEXT.sub(_character, address))
    return f"{kind}; {address}"


def _character(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return chr(code) if code <= 0x10FFFF else "?"


def _decoded(xtext: str) -> str:
    return _line(_XTEXT.sub(lambda match: chr(int(match[1], 16)), xtext))


def _said(reply: Reply) -> str:
    return _line(f"{reply.code} {reply.status} {reply.text}")[:MAX_WORDS]


def _line(text: str) -> str:
    """``text`` on one line and harmless: what a receiver or a client wrote must not begin a field of its own."""
    return " ".join(_CONTROL.sub(" ", text).split())


def _field(name: str, value: str) -> str:
    """One field, folded at spaces before column 78; a word too long for a line is cut (RFC 5322 2.1.1)."""
    lines = wrap(_line(value), 76 - len(name), break_long_words=False, break_on_hyphens=False) or [""]
    return f"{name}: " + "\r\n ".join(line.encode()[:990].decode(errors="ignore") for line in lines) + "\r\n"
