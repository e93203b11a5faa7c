"""One mail transaction: envelope, message, and what each recipient got (RFC 5321 3.3, RFC 2920).

Where the receiver offers PIPELINING the envelope goes out at once, and the message behind it in one piece; else command
by command. Recipients part ways here: some are taken, some refused, some are to be tried again.

It must never give a recipient another's answer: a receiver that answers more, or otherwise, than it was asked gets no
message. It must never call a message unsent whose final dot went out.

*Limits.* The message waits for the answer to DATA: two round trips for each transaction. BDAT would take one, but then
a connection that dies at any point leaves the message's fate unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from bounce.verp import Verp
from config.schema import Timeouts
from mta.delivery import commands
from mta.delivery.client import Cause, Early, Lost, Unsent
from mta.delivery.replies import ReceiverReply
from mta.delivery.session import DeliveryError, DeliverySession, PipeliningTrouble, StaleTrouble
from mta.mail.address import Address
from mta.mail.delivery import Delivery, QueuedRecipient, Result, Stage
from mta.mail.reply import Reply

_OUT_OF_STEP = Reply(451, "4.5.0", "the receiver's answers do not fit our commands")


@dataclass(slots=True)
class Progress:
    """``results``: who is served. ``left``: who is not; with ``trouble`` only another session can serve them."""

    results: list[Result] = field(default_factory=list)
    left: list[QueuedRecipient] = field(default_factory=list)
    trouble: DeliveryError | None = None

    def give(
        self, recipients: Sequence[QueuedRecipient], stage: Stage, reply: Reply, *, delivery_unknown: bool = False
    ) -> None:
        """These are served."""
        self.results += [Result(recipient, stage, reply, delivery_unknown) for recipient in recipients]
        served = {recipient.index for recipient in recipients}
        self.left = [recipient for recipient in self.left if recipient.index not in served]


@dataclass(frozen=True, slots=True)
class _Envelope:
    """The answers to the envelope. ``data`` None: DATA was not sent, as there was nobody to send to."""

    mail: ReceiverReply | Lost
    rcpts: Sequence[ReceiverReply | Lost]
    data: ReceiverReply | Lost | None


async def transact(
    session: DeliverySession,
    delivery: Delivery,
    recipients: Sequence[QueuedRecipient],
    content: bytes,
    timeouts: Timeouts,
    max_recipients: int,
    verp: Verp | None = None,
) -> Progress:
    """Serve as many ``recipients`` as one transaction takes. At least one gets a result, or there is trouble.

    ``verp`` makes return paths that stand in for the sender; without it bounces go to the sender himself.
    """
    progress = Progress()
    sender = _sender(delivery, recipients, verp)
    if obstacle := commands.obstacle(delivery, sender, content, session.extensions):
        progress.give(recipients, Stage.SENDER, obstacle)
        return progress
    for recipient in recipients:
        if refusal := commands.recipient_obstacle(recipient, session.extensions):
            progress.give([recipient], Stage.RECIPIENT, refusal)
        else:
            progress.left.append(recipient)
    if not progress.left:
        return progress
    limits = (max_recipients, session.extensions.recipients, session.max_recipients)
    batch = progress.left[: min(limit for limit in limits if limit is not None)]
    envelope = await _send_envelope(session, delivery, sender, batch, content, timeouts)
    if stage := _misstep(session, envelope):
        _give_up(session, progress, stage)
    elif _mail_taken(session, envelope.mail, progress):
        accepted = _sort_recipients(session, batch, envelope.rcpts, progress)
        if progress.trouble is None and envelope.data is not None:
            await _send_content(session, envelope.data, accepted, content, timeouts, progress)
    elif isinstance(envelope.data, ReceiverReply) and envelope.data.code == 354:
        await session.wire.send_message(b".\r\n", timeouts.block, timeouts.final_dot)
    return progress


# --- the envelope


def _sender(delivery: Delivery, recipients: Sequence[QueuedRecipient], verp: Verp | None) -> Address | None:
    """Who the receiver is told the message is from. The null sender stays what it is: nothing may come back to it."""
    if verp is None or delivery.sender is None:
        return delivery.sender
    return verp.make(delivery.message_id, recipients[0].index if len(recipients) == 1 else None)


async def _send_envelope(
    session: DeliverySession,
    delivery: Delivery,
    sender: Address | None,
    batch: Sequence[QueuedRecipient],
    content: bytes,
    timeouts: Timeouts,
) -> _Envelope:
    extensions = session.extensions
    mail = commands.mail(delivery, sender, content, extensions)
    rcpts = [commands.rcpt(recipient, extensions) for recipient in batch]
    reset, session.dirty = session.dirty, False
    session.transactions += 1
    if extensions.pipelining:
        return await _pipelined(session, reset, mail, rcpts, timeouts)
    return await _one_by_one(session, reset, mail, rcpts, timeouts)


async def _pipelined(
    session: DeliverySession, reset: bool, mail: bytes, rcpts: list[bytes], timeouts: Timeouts
) -> _Envelope:
    octets = b"".join([b"RSET\r\n" if reset else b"", mail, *rcpts, b"DATA\r\n"])
    patience = [*[timeouts.mail] * (1 + reset), *[timeouts.rcpt] * len(rcpts), timeouts.data]
    answers = await session.wire.ask(octets, patience)
    return _Envelope(answers[reset], answers[1 + reset : -1], answers[-1])


async def _one_by_one(
    session: DeliverySession, reset: bool, mail: bytes, rcpts: list[bytes], timeouts: Timeouts
) -> _Envelope:
    wire = session.wire
    if reset:
        await wire.ask(b"RSET\r\n", (timeouts.mail,))
    (sender,) = await wire.ask(mail, (timeouts.mail,))
    if not isinstance(sender, ReceiverReply) or not sender.is_positive:
        return _Envelope(sender, (), None)
    answers = [(await wire.ask(rcpt, (timeouts.rcpt,)))[0] for rcpt in rcpts]
    if not any(isinstance(answer, ReceiverReply) and answer.is_positive for answer in answers):
        return _Envelope(sender, answers, None)
    (data,) = await wire.ask(b"DATA\r\n", (timeouts.data,))
    return _Envelope(sender, answers, data)


def _misstep(session: DeliverySession, envelope: _Envelope) -> Stage | None:
    """Where an answer is none that the command can have, or behind the last one if there are more than commands.

    A 421 more is no misstep: it may come at any time (RFC 5321 3.8).
    """
    stages = [(Stage.SENDER, envelope.mail), *((Stage.RECIPIENT, answer) for answer in envelope.rcpts)]
    for stage, answer in stages:
        if isinstance(answer, ReceiverReply) and (not answer.is_regular or 300 <= answer.code <= 399):
            return stage
    data = envelope.data
    if isinstance(data, ReceiverReply) and data.code != 354 and (data.code < 400 or not data.is_regular):
        return Stage.DATA
    return Stage.DATA if any(stray.code != 421 for stray in session.wire.strays) else None


def _give_up(session: DeliverySession, progress: Progress, stage: Stage) -> None:
    """Answers that do not fit cannot be told apart: none counts, and there is no message."""
    reply = session.wire.over.reply if session.wire.over else _OUT_OF_STEP
    progress.trouble = (PipeliningTrouble if session.extensions.pipelining else DeliveryError)(stage, reply)
    session.wire.abort()


def _mail_taken(session: DeliverySession, mail: ReceiverReply | Lost, progress: Progress) -> bool:
    """Whether MAIL was taken; if not, what that means for everybody."""
    if isinstance(mail, ReceiverReply) and mail.is_positive:
        session.dirty = True
        return True
    if isinstance(mail, ReceiverReply) and mail.code != 421:
        progress.give(progress.left, Stage.SENDER, Reply.parse(mail.code, mail.text))
        return False
    reply = mail.reply if isinstance(mail, Lost) else Reply.parse(mail.code, mail.text)
    died = isinstance(mail, ReceiverReply) or mail.cause in (Cause.CLOSED, Cause.SHUT)
    progress.trouble = (StaleTrouble if died and session.transactions > 1 else DeliveryError)(Stage.SENDER, reply)
    return False


def _sort_recipients(
    session: DeliverySession,
    batch: Sequence[QueuedRecipient],
    answers: Sequence[ReceiverReply | Lost],
    progress: Progress,
) -> list[QueuedRecipient]:
    """Who was accepted. They stay in ``left`` for now, as does who was one too many; the others get their results."""
    accepted: list[QueuedRecipient] = []
    lost: Lost | None = None
    for recipient, answer in zip(batch, answers, strict=True):
        if isinstance(answer, Lost):
            lost = answer
        elif answer.is_positive:
            accepted.append(recipient)
        else:
            reply = Reply.parse(answer.code, answer.text)
            if accepted and commands.is_too_many(reply):
                session.max_recipients = len(accepted)
            else:
                progress.give([recipient], Stage.RECIPIENT, reply)
    if lost:
        _interrupted(session, lost, Stage.RECIPIENT, progress)
    return accepted


def _interrupted(session: DeliverySession, lost: Lost, stage: Stage, progress: Progress) -> None:
    """The session ended before the message. A host that said 421 has answered for everybody; else another may do."""
    if lost.cause is Cause.SHUT:
        progress.give(progress.left, stage, lost.reply)
    elif lost.cause is Cause.SILENT and session.extensions.pipelining:
        progress.trouble = PipeliningTrouble(stage, lost.reply)
    else:
        progress.trouble = DeliveryError(stage, lost.reply)


# --- the message


async def _send_content(
    session: DeliverySession,
    data: ReceiverReply | Lost,
    accepted: Sequence[QueuedRecipient],
    content: bytes,
    timeouts: Timeouts,
    progress: Progress,
) -> None:
    """Behind DATA: the message, or what stands in its way. RFC 2920 3.1: a lone dot if nobody is to get it."""
    if isinstance(data, Lost):
        return _interrupted(session, data, Stage.DATA, progress)
    if data.code != 354:
        reply = Reply.parse(data.code, data.text)
        return progress.give(progress.left if data.code == 421 else accepted, Stage.DATA, reply)
    if session.wire.strays:
        farewell = session.wire.strays[0]
        return progress.give(progress.left, Stage.DATA, Reply.parse(farewell.code, farewell.text))
    session.dirty = False
    if not accepted:
        await session.wire.send_message(b".\r\n", timeouts.block, timeouts.final_dot)
        return None
    answer = await session.wire.send_message(commands.wire_form(content), timeouts.block, timeouts.final_dot)
    match answer:
        case ReceiverReply():
            nonsense = not answer.is_regular or 300 <= answer.code <= 399
            reply = Reply.parse(answer.code, answer.text)
            progress.give(accepted, Stage.FINAL_DOT, reply, delivery_unknown=nonsense)
            if answer.code == 421 or nonsense:
                progress.give(progress.left, Stage.FINAL_DOT, reply)
                session.wire.abort()
        case Early(reply):
            progress.give(progress.left, Stage.DATA, reply)
        case Unsent(reply):
            progress.trouble = DeliveryError(Stage.DATA, reply)
        case Lost(_, reply):
            progress.give(accepted, Stage.FINAL_DOT, reply, delivery_unknown=True)
            progress.give(progress.left, Stage.DATA, reply)
        case _:
            assert_never(answer)
    return None
