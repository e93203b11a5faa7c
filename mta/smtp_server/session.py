"""One SMTP session: its loop, and what each command does (RFC 5321, 6409, 3030, 4954, 3207).

Which command may come when is in ``states``. The session knows no sockets: reading and TLS are the connection's, behind
``ConnectionControl``; what becomes of mail is the handler's.

Invariants: mail is accepted only from a client with an account, where an authenticator is set. An internal error, here
or in the handler, is answered 451 4.3.0 without its text, never with 5xx, and the session goes on.

Limitations: VRFY and EXPN tell nothing, on purpose. NOOP and HELP ignore what follows them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import field
from datetime import UTC, datetime
from typing import Protocol, TypeVar, TypeVarTuple

from config.schema import Listener, ListenerTls
from mta.mail.address import Address
from mta.mail.message import Body, Envelope, Recipient, SenderTls
from mta.mail.reply import Reply, ReplyKind
from mta.mail.values import dataclass, replace
from mta.observe.labels import Auth
from mta.observe.log import get_logger
from mta.observe.trace import MASK
from mta.smtp_server import replies
from mta.smtp_server.auth.authenticator import CredentialRecord
from mta.smtp_server.auth.sasl import MECHANISMS, LoginFailed, log_in
from mta.smtp_server.body import ChunkReader, Collected, DataReader, end_last_line, has_room, normalise_line_ends
from mta.smtp_server.commands import (
    HTTP_METHODS,
    NOT_IMPLEMENTED,
    WITHOUT_ARGUMENT,
    device_hello,
    parse_line,
    read_chunk,
    read_hello,
    read_mail,
    read_recipient,
    shown,
)
from mta.smtp_server.handler import Client, MailTransaction, ServerContext
from mta.smtp_server.line_io import ReplyWriter
from mta.smtp_server.message_syntax import message_fault
from mta.smtp_server.replies import CloseSession, ConnectionLost, Rejected
from mta.smtp_server.states import AFTER_REJECTION, TRANSITIONS, State
from mta.smtp_server.timing import TimingOffer
from mta.store.postgres.errors import StoreFull, StoreUnavailable
from policy.accounts.account import Grant

log = get_logger()

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

GROUPED = frozenset({"MAIL", "RCPT", "RSET", "BDAT"})  # their replies may wait for the next ones, RFC 2920 3.2
END_OF_MESSAGE = "."  # instead of a verb, where a whole message is rejected
GROUP = 500  # recipients that are looked up together


class ConnectionControl(Protocol):
    """What a session needs of its connection beside the ``ReplyWriter``."""

    def admit(self) -> None: ...
    async def read_line(self) -> bytes: ...
    async def read_message(self, take: Callable[[bytearray], bool]) -> None: ...
    async def flush_before_waiting(self) -> None: ...
    async def start_tls(self) -> None: ...
    def has_input(self) -> bool: ...
    def lines_ahead(self, verb: bytes, most: int) -> list[bytes]: ...
    def recognise(self) -> None: ...
    def age(self) -> float: ...


@dataclass(slots=True)
class _Mail:
    """The transaction in progress. ``size``: as announced. ``ahead``: recipients that the handler knows to come next.
    ``content``: what DATA or BDAT have brought, None before the first octet."""

    envelope: Envelope
    transaction: MailTransaction
    size: int | None = None
    recipients: list[Recipient] = field(default_factory=list)
    ahead: int = 0
    content: Collected | None = None

    def complete(self, *, is_ascii: bool) -> Envelope:
        """Return the envelope with its recipients. The content is labelled as what it is, whatever MAIL said: receivers
        must be told."""
        mail = self.envelope
        body = Body.SEVEN_BIT if is_ascii else Body.EIGHT_BIT
        return replace(mail, recipients=tuple(self.recipients), body=body)


class Session:
    """One client's session. ``waiting_for_handler``: the stage behind is at work, and the client waits for us."""

    __slots__ = (
        "_client",
        "_commands",
        "_connection",
        "_context",
        "_credential",
        "_errors",
        "_failed_logins",
        "_listener",
        "_mail",
        "_writer",
        "messages",
        "rejections",
        "state",
        "waiting_for_handler",
    )

    def __init__(
        self,
        context: ServerContext,
        listener: Listener,
        client: Client,
        writer: ReplyWriter,
        connection: ConnectionControl,
    ) -> None:
        self._context = context
        self._listener = listener
        self._client = client
        self._writer = writer
        self._connection = connection
        self._credential: CredentialRecord | None = None
        self._mail: _Mail | None = None
        self._commands = self._errors = self._failed_logins = 0
        self.state = State.CONNECTED
        self.waiting_for_handler = False
        self.messages = self.rejections = 0

    @property
    def in_transaction(self) -> bool:
        return self._mail is not None

    # --- the loop

    async def run(self) -> str:
        """Greet the client and run its commands until the session ends; return how it ended, in one word.

        This is the error boundary: the one place where an exception becomes a reply.
        """
        context, writer = self._context, self._writer
        try:
            self._connection.admit()
            writer.send_line(f"220 {context.hostname} ESMTP")
            while True:
                self._check_limits()
                verb = ""
                try:
                    verb, argument = parse_line(await self._connection.read_line())
                    if context.trace.active:
                        writer.trace_command(verb, argument)
                    await self._run_command(verb, argument)
                except Rejected as rejected:
                    self._reject(rejected, verb)
                except (CloseSession, ConnectionLost):
                    raise
                except StoreUnavailable as error:  # logged where the store is kept
                    full = isinstance(error, StoreFull) or (context.disk is not None and context.disk.short())
                    self._reject(Rejected(replies.NO_STORAGE if full else replies.INTERNAL), verb)
                except Exception:
                    log.exception("command failed", session=self._client.session, verb=shown(verb))
                    self._reject(Rejected(replies.INTERNAL), verb)
                if verb not in GROUPED and writer.has_replies:
                    await writer.flush()
        except CloseSession as close:
            writer.send(close.reply)
            if close.reply.kind is not ReplyKind.POSITIVE:
                self._record(close.reply, "CONNECT")
            return close.ending
        except ConnectionLost:
            return "lost"

    async def _run_command(self, verb: str, argument: str) -> None:
        """Run one command if it is in order, and go on to the next state."""
        state = self.state
        row = TRANSITIONS[state]
        then = row.get(verb)
        if then is None:
            if verb in HTTP_METHODS:
                raise CloseSession(replies.WEB_CLIENT, "web")
            raise Rejected(replies.NOT_IMPLEMENTED if verb in NOT_IMPLEMENTED else replies.UNKNOWN)
        if argument and verb in WITHOUT_ARGUMENT:
            raise Rejected(replies.NO_ARGUMENT)
        if verb == "AUTH" and self._context.authenticator is None:
            raise Rejected(replies.NOT_IMPLEMENTED)
        if isinstance(then, Reply):
            if verb == "BDAT":
                await self._skip_chunk(argument)
            raise Rejected(then)
        try:
            event = await _COMMANDS[verb](self, argument)
        except Exception:
            self.state = AFTER_REJECTION.get((state, verb), state)
            raise
        reached = row[event] if event else then
        assert isinstance(reached, State)
        self.state = reached

    def _check_limits(self) -> None:
        """Raise CloseSession if the session must end before its next command."""
        limits, age = self._context.limits, self._connection.age()
        if self._context.closing and not self.in_transaction:
            raise CloseSession(replies.SHUTTING_DOWN, "shutdown")
        if age > limits.session_time and (not self.in_transaction or age > 2 * limits.session_time):
            raise CloseSession(replies.SESSION_TOO_LONG, "time")
        self._commands += 1
        if self._commands > limits.commands:
            raise CloseSession(replies.TOO_MANY_COMMANDS, "commands")

    def _reject(self, rejected: Rejected, verb: str) -> None:
        """Answer with a rejection, record and count it. Raises CloseSession when there were too many."""
        reply, verb = rejected.reply, shown(verb)
        sender = rejected.sender or (self._mail.envelope.sender if self._mail else None)
        self._writer.send(reply)
        self._record(reply, rejected.verb or verb, sender, rejected.recipient)
        self.rejections += 1
        if reply.kind is ReplyKind.PERMANENT and not (verb == "RCPT" and self._client.account is not None):
            self._count_error()

    def _record(self, reply: Reply, verb: str, sender: Address | None = None, recipient: Address | None = None) -> None:
        client = self._client
        self._context.metrics.rejected(reply)
        if reply is replies.NO_STORAGE:
            self._context.metrics.storage_rejections.inc()
        self._context.events.rejected(
            reply,
            session=client.session,
            client=client.address,
            verb=verb,
            account=client.account.name if client.account else None,
            sender=sender,
            recipient=recipient,
        )

    def _count_error(self) -> None:
        """Count an error of the client. Raises CloseSession when there were too many.

        A temporary rejection is our trouble or a limit of ours, not an error. Nor is a rejected recipient of an
        account: cut off in its list, it would only send the list again.
        """
        self._errors += 1
        if self._errors >= self._context.limits.errors:
            raise CloseSession(replies.TOO_MANY_ERRORS, "errors")

    # --- greeting, TLS, AUTH

    async def _ehlo(self, argument: str) -> None:
        self._begin(self._hello(argument), extended=True)
        lines = [self._context.hostname, "PIPELINING", f"SIZE {self._context.limits.message_size}", "8BITMIME"]
        lines += ["SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN"]
        if timing := self._timing:
            lines += timing.keywords
        if self._takes_requiretls:
            lines.append("REQUIRETLS")
        if self._listener.tls is ListenerTls.STARTTLS and not self._client.tls:
            lines.append("STARTTLS")
        if self._context.authenticator and self._may_log_in:
            lines.append(f"AUTH {' '.join(MECHANISMS)}")
        *first, last = lines
        self._writer.send_line("\r\n".join((*(f"250-{line}" for line in first), f"250 {last}")))

    async def _helo(self, argument: str) -> None:
        self._begin(self._hello(argument), extended=False)
        self._writer.send_line(f"250 {self._context.hostname}")

    def _hello(self, argument: str) -> str:
        """Return the name that the client gives itself; that of a listed device need not be one."""
        try:
            return read_hello(argument)
        except Rejected:
            client = self._client
            if not any(client.address in network for network in self._context.limits.device_networks):
                raise
            log.info("EHLO name of a device", session=client.session, client=str(client.address), name=argument[:80])
            return device_hello(argument)

    def _begin(self, name: str, *, extended: bool) -> None:
        self.reset()
        self._client.hello, self._client.extended = name, extended

    @property
    def _timing(self) -> TimingOffer | None:
        """What is offered about times (RFC 4865 3, 2852 3, 6710 3): where mail is submitted."""
        if self._context.authenticator is None:
            return None
        return TimingOffer(datetime.now(UTC), self._context.limits.send_delay)

    @property
    def _takes_requiretls(self) -> bool:
        """Whether REQUIRETLS is offered (RFC 8689 2): under TLS, where mail is submitted."""
        return self._client.tls is not None and self._context.authenticator is not None

    @property
    def _may_log_in(self) -> bool:
        if self._client.tls:
            return True
        return self._listener.auth_without_tls == "loopback" and self._client.address.is_loopback

    async def _starttls(self, argument: str) -> None:
        if self._client.tls:
            raise Rejected(replies.TLS_ACTIVE)
        if self._listener.tls is not ListenerTls.STARTTLS:
            raise Rejected(replies.NO_TLS)
        if self._connection.has_input():  # anyone may have put it there (RFC 3207 4.2, CVE-2011-0411)
            raise CloseSession(replies.DATA_BEFORE_TLS, "protocol")
        self._writer.send(replies.START_TLS)
        await self._writer.flush()
        await self._connection.start_tls()
        self._begin("", extended=False)
        self._client.account = self._client.credential = self._credential = None

    async def _auth(self, argument: str) -> None:
        context, client = self._context, self._client
        assert context.authenticator is not None
        if not client.extended:
            raise Rejected(replies.EHLO_FIRST)
        if self._credential is not None:
            raise Rejected(replies.AUTH_ALREADY)
        if not self._may_log_in:
            raise Rejected(replies.AUTH_NEEDS_TLS)
        try:
            credential = await log_in(argument, self._challenge, context.authenticator, client.address)
        except LoginFailed as failed:
            self._login_failed(failed)
            return
        self._credential, client.credential = credential, credential.username
        client.account, client.grant = credential.account, credential.grant
        self._connection.recognise()
        context.metrics.authentications[Auth.OK].inc()
        self._writer.send(replies.AUTHENTICATED)

    async def _challenge(self, text: bytes) -> bytes:
        """Return the client's answer to a challenge, still in base64."""
        self._writer.send_challenge(text)
        answer = await self._connection.read_line()
        if self._context.trace.active:
            self._writer.trace(MASK, sent=False)
        return answer

    def _login_failed(self, failed: LoginFailed) -> None:
        """Answer a failed login, which has an event of its own. Raises CloseSession when there were too many."""
        context, client, reply = self._context, self._client, failed.reply
        context.metrics.authentications[Auth.FAILED if reply is replies.AUTH_FAILED else Auth.LIMITED].inc()
        context.metrics.rejected(reply)
        context.events.auth_failed(
            session=client.session,
            client=client.address,
            username=failed.username,
            mechanism=failed.mechanism,
            reply=reply,
        )
        self._writer.send(reply)
        self.rejections += 1
        if reply is replies.AUTH_BUSY:
            return
        self._count_error()
        self._failed_logins += 1
        if self._failed_logins >= context.limits.auth_failures:
            raise CloseSession(replies.TOO_MANY_ERRORS, "logins")

    def _require_account(self) -> None:
        """Raise Rejected if the client must have an account and has none, CloseSession if it has lost it."""
        client, authenticator = self._client, self._context.authenticator
        if authenticator is None:
            return
        if self._credential is None:
            client.account, client.grant = authenticator.by_network(client.address), Grant()
        elif current := authenticator.current(self._credential):
            self._credential, client.account, client.grant = current, current.account, current.grant
        else:
            raise CloseSession(replies.CREDENTIAL_CHANGED, "revoked")
        if client.account is None:
            raise Rejected(replies.AUTH_REQUIRED)

    # --- transactions

    async def _mail_from(self, argument: str) -> None:
        self._require_account()
        client, context = self._client, self._context
        limit = context.limits.message_size
        envelope, size = read_mail(argument, extended=client.extended, max_size=limit, timing=self._timing)
        if envelope.tls is SenderTls.REQUIRED and not self._takes_requiretls:
            raise Rejected(replies.NO_REQUIRETLS)
        if size is not None and not has_room(size, context.message_budget, context.spool):
            raise Rejected(replies.NO_MEMORY)
        asked, most = envelope.priority, client.account.max_priority if client.account else 0
        if asked > most:
            envelope = replace(envelope, priority=most)
        answer = await self._ask(context.handler.on_sender, client, envelope, size)
        if isinstance(answer, Reply):
            raise Rejected(answer, sender=envelope.sender)
        self._mail = _Mail(envelope, answer, size)
        self._writer.send(replies.SENDER_OK if asked <= most else replies.priority_lowered(asked, most))

    async def _rcpt_to(self, argument: str) -> None:
        mail, context = self._mail, self._context
        assert mail is not None
        if len(mail.recipients) >= context.limits.recipients:
            raise Rejected(replies.TOO_MANY_RECIPIENTS)
        recipient = read_recipient(
            argument,
            extended=self._client.extended,
            utf8=mail.envelope.smtputf8,
            postmaster_domain=context.postmaster_domain,
        )
        ahead: list[Address] = []
        if mail.ahead:
            mail.ahead -= 1
        elif lines := self._connection.lines_ahead(b"RCPT", GROUP):
            ahead, mail.ahead = self._recipients_of(lines), len(lines)
        rejection = await self._ask(mail.transaction.on_recipient, recipient, ahead)
        if rejection is not None:
            raise Rejected(rejection, recipient=recipient.address)
        mail.recipients.append(recipient)
        self._writer.send(replies.RECIPIENT_OK)

    def _recipients_of(self, lines: Sequence[bytes]) -> list[Address]:
        """Return the addresses that are named in RCPT lines which come next; what is wrong with others is said then."""
        found = []
        for line in lines:
            with suppress(Rejected):
                named = read_recipient(parse_line(line)[1], extended=self._client.extended, utf8=True)
                found.append(named.address)
        return found

    async def _data(self, argument: str) -> None:
        assert self._mail is not None
        self._writer.send_line(replies.END_DATA)
        await self._writer.flush()
        content = self._mail.content = self._new_content(self._mail)
        reader = DataReader(content)
        await self._read(reader, content)
        await self._end_of_message(reader.whole)

    async def _bdat(self, argument: str) -> str | None:
        mail = self._mail
        assert mail is not None
        size, is_last = _chunk(argument)
        content = mail.content = mail.content or self._new_content(mail)
        await self._read(ChunkReader(size, content), content)
        if is_last or content.refusal:
            await self._end_of_message(content.whole)
            await self._writer.flush()
            return "BDAT LAST"
        self._writer.send(Reply(250, "2.0.0", f"{size} octets received"))
        return None

    async def _skip_chunk(self, argument: str) -> None:
        """Read a chunk that is out of order, or it would be taken for commands (RFC 3030 2)."""
        size, _ = _chunk(argument)
        await self._connection.read_message(ChunkReader(size, None).take)

    def _new_content(self, mail: _Mail) -> Collected:
        context = self._context
        return Collected(context.limits, context.message_budget, context.spool, mail.size)

    async def _read(self, reader: DataReader | ChunkReader, content: Collected) -> None:
        """Read until ``reader`` has all; what is too much for memory goes to disk meanwhile."""
        await self._connection.read_message(reader.take)
        while not reader.has_all:
            await self._ask(content.spill)
            await self._connection.read_message(reader.take)

    async def _end_of_message(self, whole: Callable[[], bytes]) -> None:
        """Hand the message to the handler, which commits or rejects it. The transaction is over in any case."""
        mail, self._mail = self._mail, None
        assert mail is not None
        assert mail.content is not None
        try:
            if mail.content.large:
                answer = await self._ask(self._hand_over_large, mail, mail.content)
            else:
                answer = mail.content.refusal or await self._hand_over(mail, self._with_line_ends(whole()))
        finally:
            mail.content.drop()
        if answer.kind is not ReplyKind.POSITIVE:
            if answer.kind is ReplyKind.PERMANENT and not answer.text.endswith("]"):  # no id of the message
                answer = replace(answer, text=f"{answer.text} [session {self._client.session}]")
            raise Rejected(answer, verb=END_OF_MESSAGE, sender=mail.envelope.sender)
        self.messages += 1
        self._errors = 0
        self._writer.send(answer)

    def _with_line_ends(self, content: bytes) -> bytes:
        if self._context.limits.line_endings == "normalise":
            content = normalise_line_ends(content)
        return end_last_line(content)

    async def _hand_over(self, mail: _Mail, content: bytes) -> Reply:
        """Return the answer to a message that is in memory."""
        if fault := message_fault(content, self._context.limits):
            return fault
        self._trace_message(len(content))
        return await self._ask(mail.transaction.on_message, mail.complete(is_ascii=content.isascii()), content, None)

    async def _hand_over_large(self, mail: _Mail, content: Collected) -> Reply:
        """Return the answer to a message that is on disk, but for its end."""
        large = await content.finish()
        if large is None:
            assert content.refusal is not None
            return content.refusal
        self._trace_message(content.octets)
        return await mail.transaction.on_message(mail.complete(is_ascii=large.is_ascii), large.header, large)

    def _trace_message(self, octets: int) -> None:
        if self._context.trace.active:
            self._writer.trace(f"({octets} octets of message)", sent=False)

    async def _ask(self, ask: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Return the handler's answer. What is queued leaves first: it may take long."""
        if self._writer.has_replies:
            await self._connection.flush_before_waiting()
        self.waiting_for_handler = True
        try:
            return await ask(*args)
        finally:
            self.waiting_for_handler = False

    async def _rset(self, argument: str) -> None:
        self.reset()
        self._writer.send(replies.OK)

    def reset(self) -> None:
        """Drop the transaction in progress."""
        if self._mail is not None and self._mail.content is not None:
            self._mail.content.drop()
        self._mail = None

    # --- the others

    async def _noop(self, argument: str) -> None:
        self._writer.send(replies.OK)

    async def _help(self, argument: str) -> None:
        self._writer.send(replies.HELP)

    async def _vrfy(self, argument: str) -> None:
        self._writer.send(replies.CANNOT_VERIFY)

    async def _quit(self, argument: str) -> None:
        raise CloseSession(replies.BYE, "quit")


_COMMANDS: dict[str, Callable[[Session, str], Awaitable[str | None]]] = {
    "EHLO": Session._ehlo,
    "HELO": Session._helo,
    "STARTTLS": Session._starttls,
    "AUTH": Session._auth,
    "MAIL": Session._mail_from,
    "RCPT": Session._rcpt_to,
    "DATA": Session._data,
    "BDAT": Session._bdat,
    "RSET": Session._rset,
    "NOOP": Session._noop,
    "HELP": Session._help,
    "VRFY": Session._vrfy,
    "QUIT": Session._quit,
}


def _chunk(argument: str) -> tuple[int, bool]:
    """Return size and LAST of a BDAT. Without them it is not known where the next command begins: the session ends."""
    try:
        return read_chunk(argument)
    except Rejected as rejected:
        raise CloseSession(rejected.reply, "protocol") from None
