"""One client's connection: aiosmtpd's protocol, with its conversation replaced.

From aiosmtpd come the life of the connection and its stream. Replaced are reading (whole buffers instead of lines),
writing (one write for a group of pipelined replies), timers (per read, not per command), TLS (the loop's own) and the
verbs, which are in ``mta.smtp_server.session``.

It must never show a client an exception, never cancel a commit because the client has gone, and never close without
saying why to a client that can still listen.

*Limits.* What is relied on in aiosmtpd 1.4.6 is checked by ``tests/unit/mta/smtp_server/test_aiosmtpd_contract.py``. A
client whose message is too large is told so at the message's end; at twice the limit the connection is closed.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from typing import cast

from aiosmtpd.smtp import SMTP

from config.schema import Listener
from mta.mail.message import IPAddress
from mta.mail.reply import ReplyKind
from mta.observe.log import get_logger
from mta.smtp_server import replies
from mta.smtp_server.client import Client, client_address
from mta.smtp_server.commands import shown, split
from mta.smtp_server.context import ServerContext
from mta.smtp_server.line_reader import LineReader
from mta.smtp_server.replies import CloseSession, ConnectionLost, Rejected
from mta.smtp_server.reply_writer import ReplyWriter
from mta.smtp_server.session import Session
from mta.store.postgres.errors import StoreUnavailable

log = get_logger()

HANDSHAKE = 30.0  # seconds for TLS
LINGER = 5.0  # seconds for a client to take our last words
SLOW_START = 60.0  # seconds before the rate of a message counts
GROUPED = frozenset({"MAIL", "RCPT", "RSET", "BDAT"})  # their replies may wait for the next ones, RFC 2920 3.2

_NOWHERE = IPv4Address(0)


class _NoHooks:
    """aiosmtpd's handler. Its constructor looks for hooks with dir(), for each connection: here are none."""

    def __dir__(self) -> Iterable[str]:
        return ()


_NO_HOOKS = _NoHooks()


class Connection(SMTP):
    """``arrival``: the client's address, if the listener has looked at it already: it is counted, and TLS is on.

    Without it the peer of the connection is the client, and the session counts it.
    """

    command_size_limits: dict[str, int] = {}  # noqa: RUF012  aiosmtpd shares and changes its own; ours stays empty

    def __init__(self, service: ServerContext, listener: Listener, arrival: IPAddress | None = None) -> None:
        super().__init__(
            _NO_HOOKS,
            data_size_limit=None,
            hostname=service.hostname,
            timeout=service.limits.command_timeout,
            loop=asyncio.get_running_loop(),
        )
        self._service = service
        self._listener = listener
        self._arrival = arrival
        self._deadline = self._alarm = math.inf
        self._counted = False
        self._commands = 0
        self._started = self.loop.time()

    def __dir__(self) -> Iterable[str]:
        """aiosmtpd's constructor looks for verbs with dir() and inspect.getmembers(): 0.1 ms for each connection."""
        return ()

    # --- the connection's life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        self._client = Client(secrets.token_hex(5), self._arrival or _peer(transport), tls=_tls_of(transport))
        self._input = LineReader(transport, self.loop.create_future)
        super().connection_made(transport)
        self._dialogue = ReplyWriter(self._service, self._client, self._input, self._writer)
        self._verbs = Session(self._service, self._listener, self._client, self._dialogue, self)

    def data_received(self, data: bytes) -> None:
        self._input.feed(data)

    def eof_received(self) -> bool:
        """The client may have stopped talking and still listen: what it sent is worked off and answered."""
        self._input.feed_eof()
        return self._client.tls is None

    def connection_lost(self, error: Exception | None) -> None:
        """aiosmtpd would cancel the session's task here, and with it a commit."""
        self._dialogue.client_is_gone = True
        self._input.feed_eof()
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        super(SMTP, self).connection_lost(error)
        self.transport = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._dialogue.client_is_slow = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self._dialogue.client_is_slow = False

    def finish(self) -> None:
        """The service is closing: end now, or when the transaction under way is over."""
        if self._verbs.transaction.envelope is None:
            self._input.interrupt(CloseSession(replies.SHUTTING_DOWN, "shutdown"))

    @property
    def has_begun(self) -> bool:
        return self._handler_coroutine is not None

    @property
    def task(self) -> asyncio.Task[None]:
        assert self._handler_coroutine is not None
        return self._handler_coroutine

    def cut(self) -> None:
        """End now; only what the next stage has begun is waited for."""
        if not self._input.interrupt(CloseSession(replies.SHUTTING_DOWN, "shutdown")) and not self._verbs.asking:
            self._writer.transport.abort()

    # --- time

    def _reset_timeout(self, duration: float | None = None) -> None:
        """The client has ``duration`` seconds from now. The timer is moved only when it would come too late."""
        self._deadline = self.loop.time() + (self._timeout_duration if duration is None else duration)
        if self._timeout_handle is None or self._deadline < self._alarm:
            if self._timeout_handle is not None:
                self._timeout_handle.cancel()
            self._alarm = self._deadline
            self._timeout_handle = self.loop.call_at(self._alarm, self._timeout_cb)

    def _timeout_cb(self) -> None:
        self._timeout_handle = None
        if self._verbs.asking:
            self._reset_timeout()  # the client waits for us, not we for it
        elif self._deadline > self.loop.time():
            self._alarm = self._deadline
            self._timeout_handle = self.loop.call_at(self._alarm, self._timeout_cb)
        elif not self._input.interrupt(CloseSession(replies.TIMED_OUT, "timeout")):
            self._writer.transport.abort()  # it does not take what we say

    def _check_time(self) -> None:
        """A session may have to end, if it can between transactions. Raises Farewell."""
        limits, busy = self._service.limits, self._verbs.transaction.envelope is not None
        if self._service.closing and not busy:
            raise CloseSession(replies.SHUTTING_DOWN, "shutdown")
        age = self.loop.time() - self._started
        if age > limits.session_time and (not busy or age > 2 * limits.session_time):
            raise CloseSession(replies.SESSION_OVER, "time")
        self._commands += 1
        if self._commands > limits.commands:
            raise CloseSession(replies.TOO_MANY_COMMANDS, "commands")
        self._reset_timeout(limits.command_timeout)

    # --- the conversation

    async def _handle_client(self) -> None:
        """The whole session, from greeting to good-bye."""
        ending = "lost"
        try:
            await self._welcome()
            while True:
                await self._next_command()
        except CloseSession as farewell:
            ending = farewell.ending
            self._dialogue.say(farewell.reply)
            if farewell.reply.kind is not ReplyKind.POSITIVE:
                self._dialogue.record("CONNECT", farewell.reply)
        except ConnectionLost:
            pass
        except Exception:
            log.exception("a session ended with an internal error", session=self._client.session)
        finally:
            await self._part(ending)

    async def _welcome(self) -> None:
        """Let the client in, and greet it. Raises Farewell, Hangup."""
        service, limits, client = self._service, self._service.limits, self._client
        service.sessions.add(self)
        service.metrics.sessions.inc()
        service.metrics.sessions_open.inc()
        if self._arrival is None:
            refusal = service.connections.enter(client.address, limits)
            if refusal:
                raise CloseSession(refusal, "unwelcome")
        self._counted = True
        if service.closing:
            raise CloseSession(replies.SHUTTING_DOWN, "shutdown")
        if self._input.buffer:
            raise CloseSession(replies.EARLY_TALKER, "unwelcome")
        self._dialogue.say_line(f"220 {service.hostname} ESMTP")

    async def _next_command(self) -> None:
        """Read a command and answer it. Raises Farewell, Hangup."""
        self._check_time()
        dialogue, verb = self._dialogue, ""
        try:
            verb, argument = split(await dialogue.hear())
            if self._service.trace.active:
                dialogue.show_command(verb, argument)
            await self._verbs.obey(verb, argument)
        except Rejected as refusal:
            dialogue.refuse(shown(verb), refusal.reply)
        except (CloseSession, ConnectionLost):
            raise
        except StoreUnavailable:
            dialogue.refuse(verb, replies.INTERNAL)
        except Exception:
            log.exception("a command ended with an internal error", session=self._client.session, verb=verb)
            dialogue.refuse(verb, replies.INTERNAL)
        if verb not in GROUPED:
            await dialogue.flush()

    async def _part(self, ending: str) -> None:
        """Close the connection, and tell the event log."""
        service, client = self._service, self._client
        self._dialogue.close()
        self._verbs.forget()
        if self.transport is not None:
            self._reset_timeout(LINGER)
        try:
            await self._writer.wait_closed()
        except OSError:
            pass
        service.sessions.discard(self)
        service.metrics.sessions_open.dec()
        if self._counted:
            service.connections.leave(client.address)
        service.events.session_closed(
            session=client.session,
            client=client.address,
            account=client.account.name if client.account else None,
            tls=client.tls,
            messages=self._verbs.messages,
            rejections=self._dialogue.refusals,
            seconds=self.loop.time() - self._started,
            ending=ending,
        )

    # --- for the verbs

    def is_quiet(self) -> bool:
        """Whether the client has sent nothing but what was read."""
        return not self._input.buffer

    async def receive(self, take: Callable[[bytearray], bool]) -> None:
        """Let ``take`` have what comes until it has enough. Raises Farewell, Hangup."""
        limits, buffer, clock = self._service.limits, self._input.buffer, self.loop.time
        if take(buffer):
            return
        started, received = clock(), len(buffer)

        def take_in_time(octets: int) -> bool:
            nonlocal received
            received += octets
            if take(buffer):
                return True
            seconds = clock() - started
            if seconds > SLOW_START and received < seconds * limits.data_rate:
                raise CloseSession(replies.TOO_SLOW, "timeout")
            if received > 2 * limits.message_size:
                raise CloseSession(replies.TOO_LARGE, "size")
            self._reset_timeout(limits.data_timeout)
            return False

        self._reset_timeout(limits.data_timeout)
        await self._dialogue.flush_before_waiting()
        await self._input.more(take_in_time)

    async def encrypt(self) -> None:
        """Go on with TLS (STARTTLS). Raises Hangup: then there is nobody to say anything to."""
        self._reset_timeout(HANDSHAKE + LINGER)
        try:
            await self._writer.start_tls(self._service.tls, ssl_handshake_timeout=HANDSHAKE)
        except OSError:
            raise ConnectionLost from None
        transport = cast(asyncio.Transport, self._writer.transport)
        if self._input.buffer:
            raise ConnectionLost
        self.transport = transport
        self._input.attach(transport)
        self._client.tls = _tls_of(transport)


def _peer(transport: asyncio.Transport) -> IPAddress:
    """The other end, unless it has gone already."""
    name = transport.get_extra_info("peername")
    return client_address(name[0]) if name else _NOWHERE


def _tls_of(transport: asyncio.Transport) -> str | None:
    """Such as ``TLSv1.3 TLS_AES_256_GCM_SHA384``; None on a plain connection."""
    encrypted = transport.get_extra_info("ssl_object")
    return f"{encrypted.version()} {encrypted.cipher()[0]}" if encrypted else None
