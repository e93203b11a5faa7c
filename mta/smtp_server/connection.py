"""One client's connection: bytes, timers and TLS. aiosmtpd's protocol, with its conversation replaced.

From aiosmtpd come the life of the connection and its stream. Replaced are reading (whole buffers instead of lines),
writing (one write for a group of pipelined replies), timers (per read, not per command), TLS (the loop's own) and the
commands, which are in ``mta.smtp_server.session``.

Invariants: a commit is not cancelled because the client has gone. A client that can still read is told why its
connection is closed. However much a client sends in one flight, others get their turn after TURN commands.

Limitations: what is relied on in aiosmtpd 1.4.6 is checked by ``tests/unit/mta/smtp_server/test_aiosmtpd_contract.py``.
A client whose message is too large is told so at the message's end; at twice the limit the connection is closed.
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
from mta.mail.reply import Reply
from mta.observe.log import get_logger
from mta.smtp_server import replies
from mta.smtp_server.handler import Client, ServerContext, client_address, enter
from mta.smtp_server.limits import Slot
from mta.smtp_server.line_io import LineReader, ReplyWriter
from mta.smtp_server.replies import CloseSession, ConnectionLost
from mta.smtp_server.session import Session

log = get_logger()

HANDSHAKE = 30.0  # seconds for TLS
LINGER = 5.0  # seconds for a client to take the last reply
SLOW_START = 60.0  # seconds before the rate of a message counts
TURN = 32  # commands that came in one flight and are answered before others get their turn: about 1 ms

_UNKNOWN_ADDRESS = IPv4Address(0)


class _NoHooks:
    """aiosmtpd's handler. Its constructor looks for hooks with dir(), for each connection: here are none."""

    def __dir__(self) -> Iterable[str]:
        return ()


_NO_HOOKS = _NoHooks()


class Connection(SMTP):
    """``client``, ``slot``: if the listener has looked at it already: it is counted, and TLS is on.

    Without it the peer of the connection is the client, and is counted here.
    """

    command_size_limits: dict[str, int] = {}  # noqa: RUF012  aiosmtpd shares and changes its own; ours stays empty

    def __init__(
        self,
        context: ServerContext,
        listener: Listener,
        client: IPAddress | None = None,
        slot: Slot | None = None,
    ) -> None:
        super().__init__(
            _NO_HOOKS,
            data_size_limit=None,
            hostname=context.hostname,
            timeout=context.limits.command_timeout,
            loop=asyncio.get_running_loop(),
        )
        self._context = context
        self._listener = listener
        self._known_client = client
        self._deadline = self._alarm = math.inf
        self._slot = slot
        self._started = self.loop.time()
        self._in_a_row = 0  # commands, since others had their turn

    def __dir__(self) -> Iterable[str]:
        """aiosmtpd's constructor looks for verbs with dir() and inspect.getmembers(): 0.1 ms for each connection."""
        return ()

    # --- the protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        address = self._known_client or _peer(transport)
        self._client = Client(secrets.token_hex(5), address, tls=_tls_of(transport))
        self._input = LineReader(transport, self.loop.create_future)
        super().connection_made(transport)
        self._output = ReplyWriter(self._writer, self._client, self._context.trace)
        self._session = Session(self._context, self._listener, self._client, self._output, self)

    def data_received(self, data: bytes) -> None:
        self._input.feed(data)

    def eof_received(self) -> bool:
        """The client may have stopped sending and still read: what it sent is answered."""
        self._input.feed_eof()
        return self._client.tls is None

    def connection_lost(self, error: Exception | None) -> None:
        """aiosmtpd would cancel the session's task here, and with it a commit."""
        self._output.client_is_gone = True
        self._input.feed_eof()
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        super(SMTP, self).connection_lost(error)
        self.transport = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._output.client_is_slow = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self._output.client_is_slow = False

    # --- the life of the session

    async def _handle_client(self) -> None:
        """Run the session, then close the connection."""
        context, ending = self._context, "lost"
        context.sessions.add(self)
        context.metrics.sessions.inc()
        context.metrics.sessions_open.inc()
        try:
            ending = await self._session.run()
        except Exception:
            log.exception("session failed", session=self._client.session)
        finally:
            await self._close(ending)

    async def _close(self, ending: str) -> None:
        """Close the connection, and log the session's event."""
        context, client, session = self._context, self._client, self._session
        self._output.close()
        session.reset()
        if self.transport is not None:
            self._reset_timeout(LINGER)
        try:
            await self._writer.wait_closed()
        except OSError:
            pass
        context.sessions.discard(self)
        context.metrics.sessions_open.dec()
        if self._slot:
            self._slot.leave()
        context.events.session_closed(
            session=client.session,
            client=client.address,
            account=client.account.name if client.account else None,
            tls=client.tls,
            messages=session.messages,
            rejections=session.rejections,
            seconds=self.age(),
            ending=ending,
        )

    @property
    def has_begun(self) -> bool:
        return self._handler_coroutine is not None

    @property
    def task(self) -> asyncio.Task[None]:
        assert self._handler_coroutine is not None
        return self._handler_coroutine

    def finish(self) -> None:
        """The service is closing: end now, or when the transaction in progress is over."""
        if not self._session.in_transaction:
            self._input.interrupt(CloseSession(replies.SHUTTING_DOWN, "shutdown"))

    def cut(self) -> None:
        """End now; only what the handler has begun is waited for."""
        waiting = self._input.interrupt(CloseSession(replies.SHUTTING_DOWN, "shutdown"))
        if not waiting and not self._session.waiting_for_handler:
            self._writer.transport.abort()

    # --- timers

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Give the client ``duration`` seconds from now. The timer is moved only when it would come too late."""
        self._deadline = self.loop.time() + (self._timeout_duration if duration is None else duration)
        if self._timeout_handle is None or self._deadline < self._alarm:
            if self._timeout_handle is not None:
                self._timeout_handle.cancel()
            self._alarm = self._deadline
            self._timeout_handle = self.loop.call_at(self._alarm, self._timeout_cb)

    def _timeout_cb(self) -> None:
        self._timeout_handle = None
        if self._session.waiting_for_handler:
            self._reset_timeout()  # the client waits for us
        elif self._deadline > self.loop.time():
            self._alarm = self._deadline
            self._timeout_handle = self.loop.call_at(self._alarm, self._timeout_cb)
        elif self._input.interrupt(CloseSession(replies.TIMED_OUT, "timeout")):
            pass
        elif self._input.is_waking:  # something came in this turn of the loop: the session looks at it first
            self._timeout_handle = self.loop.call_at(self._alarm, self._timeout_cb)
        else:
            self._writer.transport.abort()  # it does not read our replies

    # --- for the session

    def admit(self) -> None:
        """Raise CloseSession if the client may not begin a session."""
        context = self._context
        if self._slot is None:
            entered = enter(context, self._client.address)
            if isinstance(entered, Reply):
                raise CloseSession(entered, "unwelcome")
            self._slot = entered
        if context.closing:
            raise CloseSession(replies.SHUTTING_DOWN, "shutdown")
        if self._input.buffer:
            raise CloseSession(replies.EARLY_TALKER, "unwelcome")

    def recognise(self) -> None:
        """The client has logged in."""
        if self._slot:
            self._slot.recognise()

    def age(self) -> float:
        """Return the seconds since the connection began."""
        return self.loop.time() - self._started

    def has_input(self) -> bool:
        """Return whether the client has sent more than was read."""
        return bool(self._input.buffer)

    def lines_ahead(self, verb: bytes, most: int) -> list[bytes]:
        """Return the next lines as far as they have come and begin with ``verb``; they stay to be read."""
        return self._input.ahead(verb, most) if self._input.buffer else []

    async def read_line(self) -> bytes:
        """Return the client's next line, without CRLF. Raises Rejected, CloseSession, ConnectionLost."""
        self._reset_timeout(self._context.limits.command_timeout)
        self._in_a_row += 1
        if self._in_a_row >= TURN:
            self._in_a_row = 0
            await asyncio.sleep(0)
        while (line := self._input.line()) is None:
            self._in_a_row = 0
            await self._output.flush()
            await self._input.more()
        return line

    async def read_message(self, take: Callable[[bytearray], bool]) -> None:
        """Give ``take`` what comes until it has enough. Raises CloseSession, ConnectionLost."""
        limits, buffer, clock = self._context.limits, self._input.buffer, self.loop.time
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
                raise CloseSession(replies.too_large(limits.message_size), "size")
            self._reset_timeout(limits.data_timeout)
            return False

        self._reset_timeout(limits.data_timeout)
        await self.flush_before_waiting()
        await self._input.more(take_in_time)

    async def flush_before_waiting(self) -> None:
        """Send the replies that are queued, unless the client has sent more already."""
        if not self._input.buffer:
            await self._output.flush()

    async def start_tls(self) -> None:
        """Go on with TLS. Raises ConnectionLost if the handshake fails: then no reply can be sent."""
        self._reset_timeout(HANDSHAKE + LINGER)
        try:
            await self._writer.start_tls(self._context.tls, ssl_handshake_timeout=HANDSHAKE)
        except OSError:
            raise ConnectionLost from None
        transport = cast(asyncio.Transport, self._writer.transport)
        if self._input.buffer:
            raise ConnectionLost
        self.transport = transport
        self._input.attach(transport)
        self._client.tls = _tls_of(transport)


def _peer(transport: asyncio.Transport) -> IPAddress:
    """Return the address of the other end, unless it has gone already."""
    name = transport.get_extra_info("peername")
    return client_address(name[0]) if name else _UNKNOWN_ADDRESS


def _tls_of(transport: asyncio.Transport) -> str | None:
    """Return e.g. ``TLSv1.3 TLS_AES_256_GCM_SHA384``, None for a plain connection."""
    encrypted = transport.get_extra_info("ssl_object")
    return f"{encrypted.version()} {encrypted.cipher()[0]}" if encrypted else None
