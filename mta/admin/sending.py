"""Send a message over HTTP: the same chain, refusals and promise as over SMTP.

Invariants: a message that is reported as queued is committed. Nothing of a message is kept in memory or on disk over
the limits that hold for SMTP.
Limitations: recipients are judged one after the other, as over SMTP.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import ip_address

from config.schema import Limits
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound
from mta.mail.address import Address
from mta.mail.identity import MessageId
from mta.mail.message import Body, Envelope, Recipient
from mta.mail.reply import Reply, ReplyKind
from mta.smtp_server.body import Collected, end_last_line, has_room
from mta.smtp_server.handler import Client
from mta.smtp_server.limits import MemoryBudget
from mta.smtp_server.message_syntax import message_fault
from mta.smtp_server.replies import NO_MEMORY, NO_VALID_RECIPIENTS
from mta.smtp_server.spool import Spool
from mta.store.queue.enqueue import NewMessage
from mta.submission.accept import Submission, SubmissionResult, SubmissionTransaction

_BARE_LF = re.compile(rb"(?<!\r)\n")

PIECE = 64 * 1024  # octets taken at a time


class RecipientStatus(Enum):
    QUEUED = "queued"
    HELD = "held"
    REFUSED = "refused"
    ALREADY_SENT = "already_sent"  # it has its copy of the mailing


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """What became of one recipient. ``message``: the id of its message; ``reply``: why it is refused; ``holds``: why it
    waits."""

    address: Address
    status: RecipientStatus
    message: MessageId | None = None
    reply: Reply | None = None
    holds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message: the answer that SMTP would give to it, and to each recipient."""

    reply: Reply
    recipients: tuple[RecipientResult, ...] = ()

    @property
    def is_accepted(self) -> bool:
        return self.reply.kind is ReplyKind.POSITIVE


@dataclass(slots=True, eq=False)
class _HttpClient(Client):
    """A client of the API. ``scheme``: http or https, as it reached us."""

    scheme: str = "http"

    def protocol_of(self, envelope: Envelope) -> str:
        return self.scheme.upper()


class MessageSender:
    """Takes messages for the queue. ``budget`` and ``spool``: for those that are arriving, in memory and on disk."""

    def __init__(self, submission: Submission, limits: Limits, budget: MemoryBudget, spool: Spool | None) -> None:
        self._submission, self.limits, self.budget, self._spool = submission, limits, budget, spool

    async def send(
        self,
        context: AdminContext,
        account: str | None,
        sender: Address | None,
        recipients: Sequence[Address],
        content: AsyncIterator[bytes],
        *,
        size: int | None = None,
        scheme: str = "http",
        session: str | None = None,
    ) -> Sent:
        """Take one message. ``account``: whose, if the actor is not of one; ``content``: the message in pieces;
        ``size``: as announced, in octets; ``session``: that the message is found by if the request is repeated.

        Raises InvalidValue, NotFound, Refused, StoreUnavailable, and what ``content`` raises.
        """
        client = await self._client(context, account, scheme, session)
        if not recipients or len(recipients) > self.limits.recipients:
            raise InvalidValue("to", f"a message has 1 to {self.limits.recipients} recipients")
        if size is not None and not has_room(size, self.budget, self._spool):
            return Sent(NO_MEMORY)
        envelope = Envelope(sender, ())
        transaction = await self._submission.on_sender(client, envelope, size)
        if isinstance(transaction, Reply):
            return Sent(transaction)
        accepted: list[Recipient] = []
        refused: list[tuple[Address, Reply]] = []
        for recipient in map(Recipient, dict.fromkeys(recipients)):
            reply = await transaction.on_recipient(recipient)
            accepted.append(recipient) if reply is None else refused.append((recipient.address, reply))
        if not accepted:
            return Sent(NO_VALID_RECIPIENTS if len(refused) > 1 else refused[0][1], _results(refused, ()))
        collected = Collected(self.limits, self.budget, self._spool, size)
        try:
            await _collect(collected, _with_crlf(content))
            envelope = replace(envelope, recipients=tuple(accepted))
            submitted = await self._hand_over(transaction, envelope, collected)
        finally:
            collected.drop()
        return Sent(submitted.reply, _results([*refused, *submitted.left_out], submitted.messages))

    async def _client(self, context: AdminContext, name: str | None, scheme: str, session: str | None) -> Client:
        actor = context.actor
        if name is None and actor.account is None:
            raise InvalidValue("account", "say for which account")
        if actor.account_id is not None and name in (None, actor.account):  # from memory, as over SMTP
            account = context.store.accounts.by_id(actor.account_id)
            if account is None:
                raise NotFound(f"there is no account {actor.account!r}")
        else:
            account = (await context.account(name or "")).account
        return _HttpClient(
            session=session or f"api-{secrets.token_hex(8)}",
            address=ip_address(actor.source or "127.0.0.1"),
            account=account,
            credential=actor.name,
            scheme=scheme,
        )

    async def _hand_over(
        self, transaction: SubmissionTransaction, envelope: Envelope, collected: Collected
    ) -> SubmissionResult:
        """Return what becomes of a message that has come whole."""
        if collected.large:
            large = await collected.finish()
            if large is None:
                assert collected.refusal is not None
                return SubmissionResult(collected.refusal)
            envelope = _labelled(envelope, large.header, is_ascii=large.is_ascii)
            return await transaction.submit(envelope, large.header, large)
        if collected.refusal:
            return SubmissionResult(collected.refusal)
        content = end_last_line(collected.whole())
        if fault := message_fault(content, self.limits):
            return SubmissionResult(fault)
        header = content[: content.find(b"\r\n\r\n") + 4] if b"\r\n\r\n" in content else content
        return await transaction.submit(_labelled(envelope, header, is_ascii=content.isascii()), content)


async def _with_crlf(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield ``content`` with CRLF in place of each bare LF: where a message ends, HTTP says."""
    after_cr = False
    async for piece in content:
        if not piece:
            continue
        if piece.count(b"\n") != piece.count(b"\r\n"):
            first, rest = (piece[:1], piece[1:]) if after_cr and piece.startswith(b"\n") else (b"", piece)
            yield first + _BARE_LF.sub(b"\r\n", rest)
        else:
            yield piece
        after_cr = piece.endswith(b"\r")


async def _collect(collected: Collected, content: AsyncIterator[bytes]) -> None:
    """Take all of ``content``; what is too much for memory goes to disk meanwhile."""
    async for piece in content:
        buffer = bytearray(piece)
        while buffer:
            collected.take(buffer, min(len(buffer), PIECE))
            if collected.refusal is None and collected.is_full:
                await collected.spill()
        if collected.refusal:
            return


def _labelled(envelope: Envelope, header: bytes, *, is_ascii: bool) -> Envelope:
    """Return the envelope with what the content needs of receivers: over SMTP the client says so, here we look."""
    addresses = [each.address for each in envelope.recipients] + ([envelope.sender] if envelope.sender else [])
    needs_utf8 = not header.isascii() or not all(each.is_ascii for each in addresses)
    return replace(envelope, body=Body.SEVEN_BIT if is_ascii else Body.EIGHT_BIT, smtputf8=needs_utf8)


def _results(left_out: Sequence[tuple[Address, Reply]], messages: Sequence[NewMessage]) -> tuple[RecipientResult, ...]:
    results = [
        RecipientResult(
            address,
            RecipientStatus.ALREADY_SENT if reply.kind is ReplyKind.POSITIVE else RecipientStatus.REFUSED,
            reply=reply,
        )
        for address, reply in left_out
    ]
    for copy in messages:
        holds = tuple(each.text for each in copy.holds)
        status = RecipientStatus.HELD if holds else RecipientStatus.QUEUED
        results += [
            RecipientResult(each.address, status, copy.message.id, holds=holds)
            for each in copy.message.envelope.recipients
        ]
    return tuple(results)
