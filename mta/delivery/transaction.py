"""One mail transaction: envelope, message, and the reply for each recipient (RFC 5321 3.3, RFC 2920).

Where the receiver offers PIPELINING the envelope goes out at once, otherwise command by command. The message follows in
one piece; a large one is read from the store while it is sent. Recipients part ways here: some are accepted, some
rejected, some are to be tried again.

Invariants: no recipient gets another's reply: a receiver that replies more often, or otherwise, than it was asked gets
no message. A message whose final dot went out never counts as unsent. Nothing goes on the wire that could be read as
two things: what is not plainly an address or a parameter is refused here. Content is never converted, as it is signed:
a receiver that cannot take it as it is does not get it.
Limitations: the message waits for the reply to DATA: two round trips for each transaction. BDAT would take one, but
then a connection that is lost at any point leaves it unknown whether the message was taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import assert_never

from bounce.verp import Verp
from config.schema import Timeouts
from mta.delivery.client import Cause, Lost, NotSent, ReceiverReply, RejectedEarly
from mta.delivery.delivery_session import DeliveryError, DeliverySession, Extensions, PipeliningError, StaleSessionError
from mta.mail.address import Address
from mta.mail.delivery import Delivery, QueuedRecipient, Result, Stage
from mta.mail.headers import Headers
from mta.mail.large_body import whole_lines
from mta.mail.message import Body, ByMode, DeliverBy, Notify, SenderTls
from mta.mail.reply import Reply
from mta.mail.values import dataclass
from mta.store.postgres.errors import StoreUnavailable
from mta.store.queue.content import ContentMissing, StoredContent

Content = bytes | StoredContent  # the latter if it is too large for memory

_SAFE = re.compile(r"[^\x00-\x20\x7f<>]+\Z")  # in a path: nothing that could end it (RFC 5321 4.1.2)
_XTEXT = re.compile(r"[\x21-\x7e]+\Z")  # RFC 3461 4
_DOT = re.compile(rb"\r\n\.")  # twice as fast as methods of ``bytes``
_TOO_MANY = re.compile(r"(?i)too many (?:recipients|rcpts)")

MAX_BY = 999_999_999  # seconds, RFC 2852 4

UNSAFE = Reply(553, "5.1.3", "address cannot be used in an SMTP command")
NO_UTF8_ADDRESS = Reply(553, "5.6.7", "non-ASCII address, but the receiver does not support SMTPUTF8")
NO_UTF8 = Reply(550, "5.6.7", "non-ASCII message headers, but the receiver does not support SMTPUTF8")
NO_EIGHT_BIT = Reply(
    550,
    "5.6.3",
    "8-bit message content, but the receiver does not support 8BITMIME; send it as quoted-printable or base64 "
    '(the operator can have that done: submission.eightbit = "encode")',
)
OUT_OF_STEP = Reply(451, "4.5.0", "the receiver's replies do not match our commands")


@dataclass(slots=True)
class Progress:
    """``results``: of the recipients that have a reply. ``left``: those that have none; with ``error`` only another
    session can get them one."""

    results: list[Result] = field(default_factory=list)
    left: list[QueuedRecipient] = field(default_factory=list)
    error: DeliveryError | None = None

    def add(
        self, recipients: Sequence[QueuedRecipient], stage: Stage, reply: Reply, *, delivery_unknown: bool = False
    ) -> None:
        """Note the reply for these recipients."""
        self.results += [Result(recipient, stage, reply, delivery_unknown) for recipient in recipients]
        done = {recipient.index for recipient in recipients}
        self.left = [recipient for recipient in self.left if recipient.index not in done]


async def transact(
    session: DeliverySession,
    delivery: Delivery,
    recipients: Sequence[QueuedRecipient],
    content: Content,
    timeouts: Timeouts,
    max_recipients: int,
    verp: Verp | None = None,
    *,
    started: Callable[[], None],
) -> Progress:
    """Deliver to as many ``recipients`` as one transaction takes. At least one gets a result, or there is an error.

    ``verp`` makes the return paths, one for each recipient; without it bounces go to the sender. ``started``: called
    when the receiver has answered MAIL.
    """
    sender = _sender(delivery, recipients[0], verp)
    progress = _screen(session.extensions, delivery, sender, recipients, content)
    if not progress.left:
        return progress
    if sender != delivery.sender:
        max_recipients = 1  # each has a return path of its own: what comes back to it speaks of nobody else
        sender = _sender(delivery, progress.left[0], verp)
    limits = (max_recipients, session.extensions.recipients, session.max_recipients)
    batch = progress.left[: min(limit for limit in limits if limit is not None)]
    envelope = await _send_envelope(session, delivery, sender, batch, content, timeouts)
    started()
    if stage := _out_of_step(session, envelope):
        _give_up(session, progress, stage)
    elif _mail_accepted(session, envelope.mail, progress):
        accepted = _sort_recipients(session, batch, envelope.rcpts, progress)
        if progress.error is None and envelope.data is not None:
            await _send_content(session, envelope.data, accepted, content, timeouts, progress)
    elif isinstance(envelope.data, ReceiverReply) and envelope.data.code == 354:
        await session.protocol.send_message(b".\r\n", timeouts.block, timeouts.final_dot)
    return progress


# --- what the receiver can be asked for


def _sender(delivery: Delivery, recipient: QueuedRecipient, verp: Verp | None) -> Address | None:
    """Return the sender for MAIL. The null sender stays null: nothing may bounce to it."""
    if verp is None or delivery.sender is None:
        return delivery.sender
    return verp.make(delivery.message_id, recipient.index)


def _screen(
    extensions: Extensions,
    delivery: Delivery,
    sender: Address | None,
    recipients: Sequence[QueuedRecipient],
    content: Content,
) -> Progress:
    """Return the results of recipients that this receiver cannot be asked for; the others are ``left``."""
    progress = Progress()
    if reply := unsupported(delivery, sender, content, extensions):
        progress.add(recipients, Stage.SENDER, reply)
        return progress
    for recipient in recipients:
        if reply := unsupported_recipient(recipient, extensions):
            progress.add([recipient], Stage.RECIPIENT, reply)
        else:
            progress.left.append(recipient)
    return progress


def unsupported(delivery: Delivery, sender: Address | None, content: Content, extensions: Extensions) -> Reply | None:
    """Return why this receiver cannot take the message at all; None if it can."""
    if sender is not None and not _SAFE.match(sender.local):
        return UNSAFE
    if extensions.size is not None and (size := size_of(content)) > extensions.size:
        text = f"message size {size} exceeds the receiver's limit of {extensions.size} octets"
        return Reply(552, "5.3.4", text)
    if not extensions.smtputf8:
        if sender is not None and not sender.is_ascii:
            return NO_UTF8_ADDRESS
        if delivery.smtputf8 and not _header_block(content).isascii():
            return NO_UTF8
    if not extensions.eight_bit and not _is_ascii(delivery, content):
        return NO_EIGHT_BIT
    return None


def unsupported_recipient(recipient: QueuedRecipient, extensions: Extensions) -> Reply | None:
    """Return why this receiver cannot be asked for ``recipient``; None if it can."""
    if not _SAFE.match(recipient.address.local):
        return UNSAFE
    if not extensions.smtputf8 and not recipient.address.is_ascii:
        return NO_UTF8_ADDRESS
    return None


# --- commands


def mail_command(
    delivery: Delivery, sender: Address | None, content: Content, extensions: Extensions, now: datetime
) -> bytes:
    """MAIL (RFC 5321 4.1.1.2), for a delivery that is supported. ``now``: what BY counts from."""
    command = f"MAIL FROM:<{sender or ''}>"
    if extensions.sizes:
        command += f" SIZE={size_of(content)}"
    if extensions.eight_bit and not _is_ascii(delivery, content):
        command += " BODY=8BITMIME"
    if extensions.smtputf8 and (delivery.smtputf8 or not _all_ascii(delivery, sender)):
        command += " SMTPUTF8"
    if extensions.dsn:
        if delivery.ret is not None:
            command += f" RET={delivery.ret.value}"
        if delivery.envid is not None and _XTEXT.match(delivery.envid):
            command += f" ENVID={delivery.envid}"
    if delivery.tls is SenderTls.REQUIRED:
        command += " REQUIRETLS"
    if delivery.priority and extensions.mt_priority:
        command += f" MT-PRIORITY={delivery.priority}"
    if delivery.deliver_by and extensions.deliver_by is not None:
        command += _by(delivery.deliver_by, extensions.deliver_by, now)
    return command.encode() + b"\r\n"


def _by(wanted: DeliverBy, shortest: int, now: datetime) -> str:
    """Return BY with what is left of the time (RFC 2852 4.1); a receiver that would refuse so little is not told."""
    left = math.floor((wanted.deadline - now).total_seconds())
    if wanted.mode is ByMode.RETURN and left < max(1, shortest):
        return ""
    return f" BY={max(left, -MAX_BY)};{wanted.mode.value}{'T' if wanted.trace else ''}"


def rcpt_command(recipient: QueuedRecipient, extensions: Extensions) -> bytes:
    """RCPT (RFC 5321 4.1.1.3), with the recipient's own DSN parameters (RFC 3461 4)."""
    command = f"RCPT TO:<{recipient.address}>"
    if extensions.dsn:
        if recipient.notify is not None:
            wanted = ",".join(str(flag.name) for flag in Notify if flag in recipient.notify)
            command += f" NOTIFY={wanted or 'NEVER'}"
        if recipient.orcpt is not None and _XTEXT.match(recipient.orcpt):
            command += f" ORCPT={recipient.orcpt}"
    return command.encode() + b"\r\n"


def dot_stuffed(content: bytes) -> bytes:
    """Return the message as it goes after DATA, final dot included (RFC 5321 4.5.2)."""
    content = _stuffed(content)
    return content + (b".\r\n" if content.endswith(b"\r\n") or not content else b"\r\n.\r\n")


async def dot_stuffed_pieces(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a message that comes in pieces as it goes after DATA, final dot included."""
    last = b""
    async for lines in whole_lines(pieces):
        last = lines
        yield _stuffed(lines)
    yield b".\r\n" if last.endswith(b"\r\n") or not last else b"\r\n.\r\n"


def _stuffed(lines: bytes) -> bytes:
    """Return whole lines with their first dots doubled. Most messages have none, and attachments no dot at all."""
    if lines.startswith(b"."):
        lines = b"." + lines
    last = lines.rfind(b".")
    return _DOT.sub(b"\r\n..", lines) if _DOT.search(lines, 0, last + 1) else lines


def size_of(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.size


def _header_block(content: Content) -> bytes:
    return content[: Headers.split(content).size] if isinstance(content, bytes) else content.head


def _is_ascii(delivery: Delivery, content: Content) -> bool:
    """Return whether the content is ASCII; of a large one ``delivery.body`` says what it was before our fields."""
    if isinstance(content, bytes):
        return content.isascii()
    return delivery.body is Body.SEVEN_BIT and content.head.isascii()


def _all_ascii(delivery: Delivery, sender: Address | None) -> bool:
    addresses: list[Address] = [recipient.address for recipient in delivery.recipients]
    return all(address.is_ascii for address in addresses) and (sender is None or sender.is_ascii)


# --- the envelope


@dataclass(frozen=True, slots=True)
class _EnvelopeReplies:
    """``data`` None: DATA was not sent, as no recipient was accepted."""

    mail: ReceiverReply | Lost
    rcpts: Sequence[ReceiverReply | Lost]
    data: ReceiverReply | Lost | None


async def _send_envelope(
    session: DeliverySession,
    delivery: Delivery,
    sender: Address | None,
    batch: Sequence[QueuedRecipient],
    content: Content,
    timeouts: Timeouts,
) -> _EnvelopeReplies:
    """MAIL, RCPT and DATA; before them RSET, if the receiver still has a transaction open."""
    mail = mail_command(delivery, sender, content, session.extensions, datetime.now(UTC))
    rcpts = [rcpt_command(recipient, session.extensions) for recipient in batch]
    reset, session.dirty = session.dirty, False
    session.transactions += 1
    if session.extensions.pipelining:
        return await _pipelined(session, reset, mail, rcpts, timeouts)
    return await _one_by_one(session, reset, mail, rcpts, timeouts)


async def _pipelined(
    session: DeliverySession, reset: bool, mail: bytes, rcpts: list[bytes], timeouts: Timeouts
) -> _EnvelopeReplies:
    octets = b"".join([b"RSET\r\n" if reset else b"", mail, *rcpts, b"DATA\r\n"])
    waits = [*[timeouts.mail] * (1 + reset), *[timeouts.rcpt] * len(rcpts), timeouts.data]
    answers = await session.protocol.ask(octets, waits)
    return _EnvelopeReplies(answers[reset], answers[1 + reset : -1], answers[-1])


async def _one_by_one(
    session: DeliverySession, reset: bool, mail: bytes, rcpts: list[bytes], timeouts: Timeouts
) -> _EnvelopeReplies:
    protocol = session.protocol
    if reset:
        await protocol.ask(b"RSET\r\n", (timeouts.mail,))
    (sender,) = await protocol.ask(mail, (timeouts.mail,))
    if not isinstance(sender, ReceiverReply) or not sender.is_positive:
        return _EnvelopeReplies(sender, (), None)
    answers = [(await protocol.ask(rcpt, (timeouts.rcpt,)))[0] for rcpt in rcpts]
    if not any(isinstance(answer, ReceiverReply) and answer.is_positive for answer in answers):
        return _EnvelopeReplies(sender, answers, None)
    (data,) = await protocol.ask(b"DATA\r\n", (timeouts.data,))
    return _EnvelopeReplies(sender, answers, data)


def _out_of_step(session: DeliverySession, envelope: _EnvelopeReplies) -> Stage | None:
    """Return where a reply cannot belong to its command; the last stage if there are more replies than commands.

    An additional 421 is allowed: it may come at any time (RFC 5321 3.8).
    """
    stages = [(Stage.SENDER, envelope.mail), *((Stage.RECIPIENT, answer) for answer in envelope.rcpts)]
    for stage, answer in stages:
        if isinstance(answer, ReceiverReply) and (not answer.is_regular or 300 <= answer.code <= 399):
            return stage
    data = envelope.data
    if isinstance(data, ReceiverReply) and data.code != 354 and (data.code < 400 or not data.is_regular):
        return Stage.DATA
    return Stage.DATA if any(reply.code != 421 for reply in session.protocol.unsolicited_replies) else None


def _give_up(session: DeliverySession, progress: Progress, stage: Stage) -> None:
    """Replies that do not fit cannot be told apart: none counts, and there is no message."""
    reply = session.protocol.over.reply if session.protocol.over else OUT_OF_STEP
    progress.error = (PipeliningError if session.extensions.pipelining else DeliveryError)(stage, reply)
    session.protocol.abort()


def _mail_accepted(session: DeliverySession, mail: ReceiverReply | Lost, progress: Progress) -> bool:
    """Return whether MAIL was accepted; if not, note what that means for all recipients."""
    if isinstance(mail, ReceiverReply) and mail.is_positive:
        session.dirty = True
        return True
    if isinstance(mail, ReceiverReply) and mail.code != 421:
        progress.add(progress.left, Stage.SENDER, mail.reply)
        return False
    closed = isinstance(mail, ReceiverReply) or mail.cause in (Cause.CLOSED, Cause.CLOSED_WITH_421)
    stale = closed and session.transactions > 1
    progress.error = (StaleSessionError if stale else DeliveryError)(Stage.SENDER, mail.reply)
    return False


def is_too_many(reply: Reply) -> bool:
    """Return whether RCPT was rejected only because the transaction has enough of them (RFC 5321 4.5.3.1.10)."""
    if reply.code not in (451, 452, 552):
        return False
    return reply.status.endswith(".5.3") or bool(_TOO_MANY.search(reply.text))


def _sort_recipients(
    session: DeliverySession,
    batch: Sequence[QueuedRecipient],
    answers: Sequence[ReceiverReply | Lost],
    progress: Progress,
) -> list[QueuedRecipient]:
    """Return the accepted recipients. They stay ``left`` for now, as do those that were too many."""
    accepted: list[QueuedRecipient] = []
    lost: Lost | None = None
    for recipient, answer in zip(batch, answers, strict=True):
        if isinstance(answer, Lost):
            lost = answer
        elif answer.is_positive:
            accepted.append(recipient)
        elif accepted and is_too_many(answer.reply):
            session.max_recipients = len(accepted)
        else:
            progress.add([recipient], Stage.RECIPIENT, answer.reply)
    if lost:
        _interrupted(session, lost, Stage.RECIPIENT, progress)
    return accepted


def _interrupted(session: DeliverySession, lost: Lost, stage: Stage, progress: Progress) -> None:
    """The session ended before the message. A 421 counts for all recipients; otherwise another host may do."""
    if lost.cause is Cause.CLOSED_WITH_421:
        progress.add(progress.left, stage, lost.reply)
    elif lost.cause is Cause.TIMEOUT and session.extensions.pipelining:
        progress.error = PipeliningError(stage, lost.reply)
    else:
        progress.error = DeliveryError(stage, lost.reply)


# --- the message


async def _send(
    session: DeliverySession, content: Content, timeouts: Timeouts
) -> ReceiverReply | RejectedEarly | NotSent | Lost:
    """Send the message. Raises ContentMissing, StoreUnavailable for one that is read while it is sent."""
    protocol = session.protocol
    if isinstance(content, bytes):
        return await protocol.send_message(dot_stuffed(content), timeouts.block, timeouts.final_dot)
    return await protocol.send_pieces(dot_stuffed_pieces(content.pieces()), timeouts.block, timeouts.final_dot)


async def _send_content(
    session: DeliverySession,
    data: ReceiverReply | Lost,
    accepted: Sequence[QueuedRecipient],
    content: Content,
    timeouts: Timeouts,
    progress: Progress,
) -> None:
    """Send the message after DATA, if nothing prevents it. RFC 2920 3.1: a lone dot if no recipient was accepted."""
    protocol = session.protocol
    if isinstance(data, Lost):
        return _interrupted(session, data, Stage.DATA, progress)
    if data.code != 354:
        return progress.add(progress.left if data.code == 421 else accepted, Stage.DATA, data.reply)
    if protocol.unsolicited_replies:
        return progress.add(progress.left, Stage.DATA, protocol.unsolicited_replies[0].reply)
    session.dirty = False
    if not accepted:
        await protocol.send_message(b".\r\n", timeouts.block, timeouts.final_dot)
        return None
    try:
        answer = await _send(session, content, timeouts)
    except (ContentMissing, StoreUnavailable) as error:
        protocol.abort()
        progress.error = DeliveryError(Stage.DATA, Reply(451, "4.3.0", f"message not read from the queue: {error}"))
        return None
    match answer:
        case ReceiverReply():
            nonsense = not answer.is_regular or 300 <= answer.code <= 399
            progress.add(accepted, Stage.FINAL_DOT, answer.reply, delivery_unknown=nonsense)
            if answer.code == 421 or nonsense:
                progress.add(progress.left, Stage.FINAL_DOT, answer.reply)
                protocol.abort()
        case RejectedEarly(reply):
            progress.add(progress.left, Stage.DATA, reply)
        case NotSent(reply):
            progress.error = DeliveryError(Stage.DATA, reply)
        case Lost(_, reply):
            progress.add(accepted, Stage.FINAL_DOT, reply, delivery_unknown=True)
            progress.add(progress.left, Stage.DATA, reply)
        case _:
            assert_never(answer)
    return None
