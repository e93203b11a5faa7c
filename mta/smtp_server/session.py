"""What each SMTP verb does in a session that brings mail (RFC 5321, 6409, 3030, 4954, 3207).

``Session.obey`` answers one command. It knows the client, the transaction and the next stage, and nothing of sockets:
reading a message and switching to TLS are asked of the ``ConnectionControl``.

It must never take mail from a client that nobody answers for, where somebody has to, and never let the next stage's
failure become anything but 451 4.3.0.

*Limits.* VRFY and EXPN tell nothing, by intention. NOOP and HELP ignore what comes after them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from config.schema import Listener, ListenerTls
from mta.mail.reply import Reply, ReplyKind
from mta.observe.labels import Auth
from mta.observe.log import get_logger
from mta.smtp_server import replies
from mta.smtp_server.auth.authenticator import CredentialRecord
from mta.smtp_server.auth.login import LoginFailed, log_in
from mta.smtp_server.auth.sasl import MECHANISMS
from mta.smtp_server.body import Chunk, Collected, Dots, end_last_line
from mta.smtp_server.client import Client
from mta.smtp_server.commands import (
    NOT_IMPLEMENTED,
    OF_THE_WEB,
    read_chunk,
    read_hello,
    read_mail,
    read_recipient,
)
from mta.smtp_server.context import ServerContext
from mta.smtp_server.message_syntax import content_refusal
from mta.smtp_server.replies import CloseSession, Rejected
from mta.smtp_server.reply_writer import ReplyWriter
from mta.smtp_server.transaction import Transaction
from mta.store.postgres.errors import StoreUnavailable
from policy.accounts.account import Grant

log = get_logger()


class ConnectionControl(Protocol):
    """What a verb may need beside words."""

    async def receive(self, take: Callable[[bytearray], bool]) -> None: ...
    async def encrypt(self) -> None: ...
    def is_quiet(self) -> bool: ...


class Session:
    """``asking``: the next stage is at work. ``transaction`` is the one under way, or the one to come."""

    __slots__ = (
        "_client",
        "_connection",
        "_credential",
        "_dialogue",
        "_failed_logins",
        "_listener",
        "_service",
        "asking",
        "messages",
        "transaction",
    )

    def __init__(
        self,
        service: ServerContext,
        listener: Listener,
        client: Client,
        dialogue: ReplyWriter,
        connection: ConnectionControl,
    ) -> None:
        self._service = service
        self._listener = listener
        self._client = client
        self._dialogue = dialogue
        self._connection = connection
        self._credential: CredentialRecord | None = None
        self._failed_logins = 0
        self.transaction = Transaction()
        self.asking = False
        self.messages = 0

    async def obey(self, verb: str, argument: str) -> None:
        """Do what the client says, and answer. Raises Refusal, Farewell, Hangup."""
        method = _METHODS.get(verb)
        if method is not None:
            await method(self, argument)
        elif verb in OF_THE_WEB:
            raise CloseSession(replies.WEB_CLIENT, "web")
        else:
            raise Rejected(replies.NOT_IMPLEMENTED if verb in NOT_IMPLEMENTED else replies.UNKNOWN)

    # --- greeting, TLS, AUTH

    async def ehlo(self, argument: str) -> None:
        self._begin(read_hello(argument), extended=True)
        lines = [self._service.hostname, "PIPELINING", f"SIZE {self._service.limits.message_size}", "8BITMIME"]
        lines += ["SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN"]
        if self._listener.tls is ListenerTls.STARTTLS and not self._client.tls:
            lines.append("STARTTLS")
        if self._service.authenticator and self._may_log_in:
            lines.append(f"AUTH {' '.join(MECHANISMS)}")
        *first, last = lines
        self._dialogue.say_line("\r\n".join((*(f"250-{line}" for line in first), f"250 {last}")))

    async def helo(self, argument: str) -> None:
        self._begin(read_hello(argument), extended=False)
        self._dialogue.say_line(f"250 {self._service.hostname}")

    def _begin(self, name: str, *, extended: bool) -> None:
        self.forget()
        self._client.hello, self._client.extended = name, extended

    @property
    def _may_log_in(self) -> bool:
        if self._client.tls:
            return True
        return self._listener.auth_without_tls == "loopback" and self._client.address.is_loopback

    async def starttls(self, argument: str) -> None:
        _take_no(argument)
        if self._client.tls:
            raise Rejected(replies.TLS_ALREADY)
        if self._listener.tls is not ListenerTls.STARTTLS:
            raise Rejected(replies.NO_TLS)
        if not self._connection.is_quiet():  # anybody may have put it there (RFC 3207 4.2, CVE-2011-0411)
            raise CloseSession(replies.EARLY_TLS, "protocol")
        self._dialogue.say(replies.START_TLS)
        await self._dialogue.flush()
        await self._connection.encrypt()
        self._begin("", extended=False)
        self._client.account = self._client.credential = self._credential = None

    async def auth(self, argument: str) -> None:
        service, client = self._service, self._client
        if service.authenticator is None:
            raise Rejected(replies.NOT_IMPLEMENTED)
        if not client.extended:
            raise Rejected(replies.GREET_FIRST)
        if self._credential is not None:
            raise Rejected(replies.AUTH_ALREADY)
        if self.transaction.envelope is not None:
            raise Rejected(replies.AUTH_IN_TRANSACTION)
        if not self._may_log_in:
            raise Rejected(replies.AUTH_NEEDS_TLS)
        try:
            credential = await log_in(argument, self._dialogue, service.authenticator, client)
        except LoginFailed as failed:
            self._tell_of(failed)
            return
        self._credential, client.credential = credential, credential.username
        client.account, client.grant = credential.account, credential.grant
        service.metrics.authentications[Auth.OK].inc()
        self._dialogue.say(replies.AUTHENTICATED)

    def _tell_of(self, failed: LoginFailed) -> None:
        """Say that a login failed. Raises Farewell when it was once too often."""
        service, client, reply = self._service, self._client, failed.reply
        service.metrics.authentications[Auth.FAILED if reply is replies.AUTH_FAILED else Auth.LIMITED].inc()
        service.metrics.rejected(reply)
        service.events.auth_failed(
            session=client.session,
            client=client.address,
            username=failed.username,
            mechanism=failed.mechanism,
            reply=reply,
        )
        self._dialogue.say(reply)
        self._dialogue.count_error("AUTH")
        self._failed_logins += 1
        if self._failed_logins >= service.limits.auth_failures:
            raise CloseSession(replies.TOO_MANY_ERRORS, "logins")

    def _check_account(self) -> None:
        """Somebody must answer for the client, still, where that is asked for. Raises Refusal, Farewell."""
        client, authenticator = self._client, self._service.authenticator
        if authenticator is None:
            return
        if self._credential is None:
            client.account, client.grant = authenticator.by_network(client.address), Grant()
        elif current := authenticator.current(self._credential):
            self._credential, client.account, client.grant = current, current.account, current.grant
        else:
            raise CloseSession(replies.REVOKED, "revoked")
        if client.account is None:
            raise Rejected(replies.AUTH_REQUIRED)

    # --- transactions

    async def mail(self, argument: str) -> None:
        client = self._client
        if not client.hello:
            raise Rejected(replies.GREET_FIRST)
        self._check_account()
        self.transaction.before_mail()
        limit = self._service.limits.message_size
        envelope, size = read_mail(argument, extended=client.extended, max_size=limit)
        if size is not None and size > self._service.room.left:
            raise Rejected(replies.NO_ROOM)
        if await self._ask("MAIL", self._service.reception.sender(client, envelope, size), replies.SENDER_OK):
            self.transaction.envelope = envelope

    async def rcpt(self, argument: str) -> None:
        transaction = self.transaction
        envelope = transaction.before_recipient(self._service.limits.recipients)
        transaction.refused += 1  # until it is accepted
        extended, home = self._client.extended, self._service.home
        recipient = read_recipient(argument, extended=extended, utf8=envelope.smtputf8, home=home)
        asked = self._service.reception.recipient(self._client, envelope, recipient)
        if await self._ask("RCPT", asked, replies.RECIPIENT_OK):
            transaction.refused -= 1
            transaction.recipients.append(recipient)

    async def data(self, argument: str) -> None:
        _take_no(argument)
        self.transaction.before_data()
        self._dialogue.say_line("354 end with <CRLF>.<CRLF>")
        await self._dialogue.flush()
        content = self.transaction.content = self._nothing_yet()
        dots = Dots(content)
        await self._connection.receive(dots.take)
        await self._hand_over("DATA", dots.whole)

    async def bdat(self, argument: str) -> None:
        """The chunk is read whatever is wrong with it, or it would be taken for commands (RFC 3030 2)."""
        try:
            size, is_last = read_chunk(argument)
        except Rejected as refusal:  # nobody knows where the next command begins
            raise CloseSession(refusal.reply, "protocol") from None
        transaction = self.transaction
        if refused := transaction.content_refusal():
            await self._connection.receive(Chunk(size, None).take)
            raise Rejected(refused)
        content = transaction.content = transaction.content or self._nothing_yet()
        await self._connection.receive(Chunk(size, content).take)
        if is_last or content.refusal:
            await self._hand_over("BDAT", content.whole)
        else:
            self._dialogue.say(Reply(250, "2.0.0", f"{size} octets received"))

    def _nothing_yet(self) -> Collected:
        return Collected(self._service.limits.message_size, self._service.room)

    async def _hand_over(self, verb: str, whole: Callable[[], bytes]) -> None:
        """The end of a transaction: commit or refuse. Raises Refusal, Farewell, Hangup."""
        transaction, self.transaction = self.transaction, Transaction()
        try:
            assert transaction.content is not None
            if transaction.content.refusal:
                raise Rejected(transaction.content.refusal)
            content = end_last_line(whole())
            if refusal := content_refusal(content, self._service.limits):
                raise Rejected(refusal)
            if self._service.trace.active:
                self._dialogue.show(f"({len(content)} octets of message)", sent=False)
            asked = self._service.reception.accept(self._client, transaction.seal(content), content)
            if await self._ask(verb, asked, replies.INTERNAL):
                self.messages += 1
                self._dialogue.errors = 0
        finally:
            transaction.drop()
        await self._dialogue.flush()

    async def _ask(self, verb: str, asked: Awaitable[Reply | None], usual: Reply) -> bool:
        """Answer with what the next stage says, None being ``usual``. True if that was yes. Raises Farewell, Hangup."""
        dialogue = self._dialogue
        await dialogue.flush_before_waiting()
        self.asking = True
        try:
            reply = await asked or usual
        except StoreUnavailable:  # whoever keeps the store has told the operators
            reply = replies.INTERNAL
            dialogue.record(verb, reply)
        except Exception:
            log.exception("the next stage failed", session=self._client.session, verb=verb)
            reply = replies.INTERNAL
            dialogue.record(verb, reply)
        finally:
            self.asking = False
        dialogue.say(reply)
        if reply.kind is ReplyKind.POSITIVE:
            return True
        dialogue.count_error(verb)
        return False

    async def rset(self, argument: str) -> None:
        _take_no(argument)
        self.forget()
        self._dialogue.say(replies.FORGOTTEN)

    def forget(self) -> None:
        """The transaction under way never was."""
        self.transaction.drop()
        self.transaction = Transaction()

    # --- the rest

    async def noop(self, argument: str) -> None:
        self._dialogue.say(replies.OK)

    async def help(self, argument: str) -> None:
        self._dialogue.say(replies.HELP)

    async def vrfy(self, argument: str) -> None:
        self._dialogue.say(replies.NOT_VERIFIED)

    async def quit(self, argument: str) -> None:
        _take_no(argument)
        raise CloseSession(replies.BYE, "quit")


_METHODS: dict[str, Callable[[Session, str], Awaitable[None]]] = {
    "EHLO": Session.ehlo,
    "HELO": Session.helo,
    "STARTTLS": Session.starttls,
    "AUTH": Session.auth,
    "MAIL": Session.mail,
    "RCPT": Session.rcpt,
    "DATA": Session.data,
    "BDAT": Session.bdat,
    "RSET": Session.rset,
    "NOOP": Session.noop,
    "HELP": Session.help,
    "VRFY": Session.vrfy,
    "QUIT": Session.quit,
}


def _take_no(argument: str) -> None:
    if argument:
        raise Rejected(replies.NO_ARGUMENT)
