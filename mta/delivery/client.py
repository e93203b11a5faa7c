"""The connection to a receiver: octets out, replies in, each within its time. aiosmtplib's protocol, with pipelining.

aiosmtplib awaits one reply for each command. Here a group of commands is written at once and its replies are collected
in order (RFC 2920), every reply has its own timeout (RFC 5321 4.5.3.2), unsolicited replies are kept, and the end of
the session is a value that says why, not an exception.

Invariants: nothing counts as answered that was not; nothing waits without a limit. Receivers are not trusted: what they
send may be cut anywhere, endless, or not SMTP at all; of a reply no more than MAX_REPLY octets are kept, and nothing is
guessed.

Limitations: one task at a time may use a connection. A reply line may end with a bare LF (RFC 5321 2.3.8 forbids it;
some receivers send it). Before the greeting and in the reply to EHLO empty and indented lines are skipped, as other
MTAs do; never between STARTTLS and the handshake.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import Enum, auto
from math import inf
from typing import NamedTuple, cast

from aiosmtplib.errors import SMTPServerDisconnected
from aiosmtplib.esmtp import parse_esmtp_extensions
from aiosmtplib.protocol import SMTPProtocol

from mta.delivery.tls.contexts import handshake_fault
from mta.mail.reply import Reply
from mta.mail.tls_session import TlsFault, TlsResult
from mta.mail.values import dataclass
from mta.observe.trace import TraceSink

BLOCK = 256 * 1024  # octets of a message written at once; more wait until the receiver has taken some
MAX_REPLY = 64 * 1024  # octets of one reply, all its lines together
MAX_UNSOLICITED = 4  # replies to no command that are kept; a session with one is not used again

_LINE = re.compile(rb"([0-9]{3})(?:([ -])([^\n]*)|\r?)\n")
_ODD = re.compile(rb"[ \t]*+\r?\n|[ \t]++(?:(?=[0-9]{3}[ \r\n-])|[^\n]*+\n)")  # an empty line, an indent, indented text
_DER = 2  # _ssl.ENCODING_DER
_SHOWN = 100  # octets of an invalid reply that are reported


class ReceiverReply(NamedTuple):
    """A reply as it came: the code, and its lines joined by LF."""

    code: int
    text: str

    @property
    def is_positive(self) -> bool:
        return 200 <= self.code <= 299

    @property
    def is_regular(self) -> bool:
        """Whether the code may answer a command (RFC 5321 4.2.1); any other means that the dialogue is out of step."""
        return 200 <= self.code <= 599

    @property
    def reply(self) -> Reply:
        return Reply.parse(self.code, self.text)


@dataclass(frozen=True, slots=True)
class NotSmtp:
    """What came is not SMTP. ``text``: how it shows."""

    text: str


_TOO_LONG = NotSmtp(f"more than {MAX_REPLY} octets")


class ReplyReader:
    """Parse replies from pieces of any size.

    ``lenient``: skip empty lines, and what is indented and no reply (RFC 1123 1.2.2). ``odd``: octets skipped.
    """

    __slots__ = ("_code", "_lines", "_octets", "_rest", "lenient", "odd")

    def __init__(self, *, lenient: bool = False) -> None:
        self.lenient, self.odd = lenient, 0
        self._rest = b""  # an incomplete line
        self._lines: list[bytes] = []  # of an incomplete reply
        self._code = b""
        self._octets = 0  # in self._lines

    @property
    def is_empty(self) -> bool:
        """True between two replies."""
        return not self._rest and not self._lines

    def feed(self, data: bytes) -> list[ReceiverReply | NotSmtp]:
        """Return the replies that are complete with ``data``. After a NotSmtp the reader is of no more use."""
        self._rest = self._rest + data if self._rest else data
        replies: list[ReceiverReply | NotSmtp] = []
        if b"\n" in data:  # a line that comes octet by octet is not to be parsed again for each of them
            self._take_lines(replies)
        if len(self._rest) + self._octets + self.odd > MAX_REPLY:
            replies.append(_TOO_LONG)
        return replies

    def _take_lines(self, replies: list[ReceiverReply | NotSmtp]) -> None:
        buffer, start = self._rest, 0
        while True:
            if self.lenient:
                start = self._skip_odd(buffer, start)
            match = _LINE.match(buffer, start)
            if match is None:
                break
            code, more, text = match.groups()
            if self._lines and code != self._code:
                codes = f"{self._code.decode()} and {code.decode()}"
                replies.append(NotSmtp(f"lines with the codes {codes}"))
                return
            start = match.end()
            self._octets += start - match.start()
            if self._octets > MAX_REPLY:
                return
            line = text.strip() if text else b""
            if more == b"-":
                self._code = code
                self._lines.append(line)
                continue
            if self._lines:
                line, self._lines = b"\n".join((*self._lines, line)), []
            self._octets = 0
            replies.append(ReceiverReply(int(code), line.decode("utf-8", "replace")))
        self._rest = buffer[start:]
        if b"\n" in self._rest:
            line = self._rest.partition(b"\n")[0][:_SHOWN]
            replies.append(NotSmtp(repr(line.decode("ascii", "backslashreplace"))))

    def _skip_odd(self, buffer: bytes, start: int) -> int:
        """Return where the next line begins that is not skipped."""
        end = start
        while match := _ODD.match(buffer, end):
            end = match.end()
        self.odd += end - start
        return end


class Cause(Enum):
    """Why a session is over."""

    CLOSED = auto()  # by the receiver
    CLOSED_WITH_421 = auto()
    TIMEOUT = auto()
    NOT_SMTP = auto()
    STALLED = auto()  # the receiver takes no more octets of the message
    ABORTED = auto()  # by us


@dataclass(frozen=True, slots=True)
class Lost:
    """Instead of a reply: the session is over. ``reply``: how that is recorded."""

    cause: Cause
    reply: Reply


@dataclass(frozen=True, slots=True)
class NotSent:
    """Instead of the reply to a message: the session ended before the message did, so it cannot have been taken."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class RejectedEarly:
    """The receiver rejected the message before its end. The session is over."""

    reply: Reply


_CLOSED = Lost(Cause.CLOSED, Reply(451, "4.4.2", "connection closed by the receiver"))
_QUIT = Lost(Cause.ABORTED, Reply(451, "4.4.2", "connection closed by this host"))


class SmtpClientProtocol(SMTPProtocol):
    """One connection. ``limit``: loop time at which every wait ends (but for the reply to the final dot).

    ``name`` and ``peer``: what the trace calls the session and its other side. ``on_end``: called when the session is
    over; ``on_closed``: when the connection is closed. ``in_doubt``: a message was sent to its final dot, and has no
    reply yet. ``is_revoked``: cut, as this worker could not rely on its share of the limits any more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, trace: TraceSink | None, name: str, peer: str) -> None:
        super().__init__(loop)
        self.limit = inf
        self.in_doubt = False
        self.on_closed: Callable[[], None] | None = None
        self.is_closed = self.is_revoked = False
        self.unsolicited_replies: list[ReceiverReply] = []
        self.over: Lost | None = None
        self.on_end: Callable[[], None] | None = None
        self._trace, self._name, self._peer = trace, name, peer
        self._reader = ReplyReader(lenient=True)  # until the greeting is here
        self._closing: Reply | None = None  # a 421: the receiver is about to close the connection
        self._replies: list[ReceiverReply] = []
        self._timeouts: Sequence[float] = ()  # of each reply in the group
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    @property
    def usable(self) -> bool:
        """Whether another transaction may be begun."""
        return self.over is None and self._closing is None and not self.unsolicited_replies and self._reader.is_empty

    @property
    def speaks_oddly(self) -> bool:
        """Whether lines of the receiver were skipped, since the connection or its encryption began."""
        return self._reader.odd > 0

    # --- commands

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expect((inf,))  # the greeting may be here before it is asked for
        if self.over is not None:  # it was ended while the connection was made
            cast(asyncio.Transport, transport).abort()

    async def greeting(self, timeout: float) -> ReceiverReply | Lost:
        assert self._waiter is not None
        self._arm(timeout, self.limit)
        await self._waiter
        return self._collected()[0]

    async def ask(
        self, octets: bytes, timeouts: Sequence[float], shown: str | None = None, *, lenient: bool = False
    ) -> list[ReceiverReply | Lost]:
        """Write commands, and collect a reply for each of ``timeouts`` (seconds after the one before).

        ``shown``: what the trace shows instead of ``octets``. ``lenient``: skip empty and indented lines.
        """
        self._reader.lenient = lenient
        waiter = self._expect(timeouts)
        if self.over is None:
            if self._tracing:
                self._show(True, shown or octets.decode("utf-8", "replace"))
            self._arm(timeouts[0], self.limit)
            self._put(octets)
            await waiter
        return self._collected()

    async def send_message(
        self, octets: bytes, block: float, final_dot: float
    ) -> ReceiverReply | RejectedEarly | NotSent | Lost:
        """Write a message with its final dot, and wait for the reply. Lost: it may have been taken.

        ``block``, ``final_dot``: timeouts in seconds.
        """
        waiter = self._expect((final_dot,))
        if self._tracing:
            self._show(True, f"[{len(octets)} octets of message]")
        sent = self._put(octets) if len(octets) <= BLOCK else await self._put_blocks(octets, block, waiter)
        return await self._answer_to_message(sent, final_dot, waiter)

    async def send_pieces(
        self, pieces: AsyncIterator[bytes], block: float, final_dot: float
    ) -> ReceiverReply | RejectedEarly | NotSent | Lost:
        """Do the same with a message that comes in pieces, its final dot included. Raises what ``pieces`` raises."""
        waiter, octets, sent = self._expect((final_dot,)), 0, True
        async for piece in pieces:
            octets += len(piece)
            if not (sent := await self._put_blocks(piece, block, waiter)):
                break
        if self._tracing:
            self._show(True, f"[{octets} octets of message]")
        return await self._answer_to_message(sent, final_dot, waiter)

    async def _answer_to_message(
        self, sent: bool, final_dot: float, waiter: asyncio.Future[None]
    ) -> ReceiverReply | RejectedEarly | NotSent | Lost:
        if not sent:
            return self._unsent()
        self._arm(final_dot, inf)
        self.in_doubt = True
        try:
            await waiter
        finally:
            self.in_doubt = False
        return self._collected()[0]

    def _put(self, octets: bytes | memoryview) -> bool:
        """Write; return whether the connection is still there."""
        try:
            self.write(cast(bytes, octets))  # the transport takes either
        except SMTPServerDisconnected:
            self.end(_CLOSED)
            return False
        return True

    async def _put_blocks(self, octets: bytes, timeout: float, waiter: asyncio.Future[None]) -> bool:
        """Write no faster than it is taken; return False if session or message ended before the last block."""
        view = memoryview(octets)
        for start in range(0, len(view), BLOCK):
            if self._paused:
                await self._drain(timeout)
            if waiter.done() or not self._put(view[start : start + BLOCK]):
                return False
        return True

    async def _drain(self, timeout: float) -> None:
        timeout = min(timeout, self.limit - self._loop.time())
        try:
            async with asyncio.timeout(timeout):
                await self._drain_helper()
        except TimeoutError:
            text = f"the receiver took no message data for {timeout:.0f} s"
            self.end(Lost(Cause.STALLED, Reply(451, "4.4.2", text)))
        except OSError:
            pass  # lost meanwhile; connection_lost() has noted it

    def _unsent(self) -> RejectedEarly | NotSent:
        """What became of a message that was not sent to its end. The session cannot go on."""
        answer = self._replies[0] if self._replies else None
        self.end(Lost(Cause.ABORTED, Reply(451, "4.4.2", "the receiver replied before the end of the message")))
        if answer is not None and answer.code >= 400 and answer.is_regular:
            return RejectedEarly(answer.reply)
        assert self.over is not None
        return NotSent(self.over.reply)

    def _expect(self, timeouts: Sequence[float]) -> asyncio.Future[None]:
        self._replies = []
        self._timeouts = timeouts
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _collected(self) -> list[ReceiverReply | Lost]:
        """Return the replies, and ``over`` instead of those that will never come."""
        self._waiter = None
        self._deadline = inf
        replies: list[ReceiverReply | Lost] = [*self._replies]
        if (missing := len(self._timeouts) - len(replies)) > 0:
            assert self.over is not None
            replies += [self.over] * missing
        return replies

    # --- replies

    def data_received(self, data: bytes) -> None:
        if self.over is not None:
            return
        for reply in self._reader.feed(data):
            if isinstance(reply, NotSmtp):
                self._end_not_smtp(reply.text)
            elif self.over is None:
                self._take(reply)

    def _take(self, reply: ReceiverReply) -> None:
        if self._tracing:
            self._show(False, f"{reply.code} {reply.text}".replace("\n", f"\n{reply.code} "))
        if reply.code == 421:
            self._closing = reply.reply
        if self._waiter is None or self._waiter.done():
            self.unsolicited_replies.append(reply)
            if len(self.unsolicited_replies) > MAX_UNSOLICITED:
                self._end_not_smtp("replies to no command")
            return
        self._replies.append(reply)
        if not reply.is_regular:
            self._end_not_smtp(f"code {reply.code}")
        elif len(self._replies) == len(self._timeouts):
            self._waiter.set_result(None)
            if self._paused:
                self.resume_writing()  # a writer that waits for room must see the reply first
        else:
            self._arm(self._timeouts[len(self._replies)], self.limit)

    # --- the end

    def eof_received(self) -> bool:
        self.end(_CLOSED)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(_CLOSED)
        super().connection_lost(exc)
        self.is_closed = True
        if self.on_closed:
            self._loop.call_soon(self.on_closed)  # the loop closes the socket when this call has returned

    def _end_not_smtp(self, how: str) -> None:
        self.end(Lost(Cause.NOT_SMTP, Reply(451, "4.5.0", f"the receiver sent an invalid SMTP reply: {how}")))

    def end(self, lost: Lost) -> None:
        """End the session and wake who waits. The first reason counts, and a 421 before any."""
        if self.over is not None:
            return
        self.over = Lost(Cause.CLOSED_WITH_421, self._closing) if self._closing else lost
        if self._tracing:
            self._show(False, f"[{self.over.reply.text}]")
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self.resume_writing()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).abort()
        if self.on_end:
            self.on_end()

    def revoke(self) -> None:
        """Close the connection, whatever it has come to."""
        self.is_revoked = not self.in_doubt
        self.abort()

    def abort(self) -> None:
        """Close the connection at once. What was not written to its final dot has not been sent."""
        self.end(_QUIT)

    def quit(self, timeout: float) -> None:
        """Send QUIT without waiting here; the connection closes with the reply."""
        if self.over is None:
            self._expect((timeout,)).add_done_callback(lambda _: self.end(_QUIT))
            self._arm(timeout, inf)
            self._put(b"QUIT\r\n")

    async def wait_quit(self, timeout: float) -> None:
        """Send QUIT, and wait until the connection is closed."""
        self.quit(timeout)
        if self._waiter is not None:
            await self._waiter

    # --- time

    def _arm(self, seconds: float, limit: float) -> None:
        """Set the deadline of the next reply. One timer serves many deadlines: it checks when it fires."""
        self._deadline = deadline = min(self._loop.time() + seconds, limit)
        if deadline < self._timer_at:
            if self._timer:
                self._timer.cancel()
            self._set_timer(deadline)

    def _set_timer(self, at: float) -> None:
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer, self._timer_at = None, inf
        if self._deadline == inf:
            return
        if self._loop.time() < self._deadline:
            self._set_timer(self._deadline)
        else:
            self.end(Lost(Cause.TIMEOUT, Reply(451, "4.4.2", "the receiver did not reply in time")))

    # --- TLS

    async def encrypt(self, context: ssl.SSLContext, name: str, timeout: float) -> TlsFault | None:
        """Encrypt the connection; return None, or what went wrong: then the session is over.

        What came in plain text after the 220 is discarded: it may have been injected (RFC 3207 4.2).
        """
        self._reader = ReplyReader()
        self.unsolicited_replies.clear()
        if self.over is not None:
            return _closed(self.over.reply.text)
        try:
            transport = await self._loop.start_tls(
                cast(asyncio.WriteTransport, self.transport),
                self,
                context,
                server_hostname=name,
                ssl_handshake_timeout=timeout,
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; ValueError: a name that cannot be in SNI
            return self._no_tls(handshake_fault(error))
        if transport is None or self.over is not None:
            return self._no_tls(_closed("closed during the handshake"))
        self.transport = transport
        self._over_ssl = True
        return None

    def _no_tls(self, fault: TlsFault) -> TlsFault:
        self.end(Lost(Cause.ABORTED, Reply(451, "4.7.5", f"TLS failed: {fault.text}")))
        return fault

    @property
    def tls_version(self) -> str | None:
        """For example ``TLSv1.3``; None for plain text."""
        tls = self.transport.get_extra_info("ssl_object") if self.transport else None
        return tls.version() if tls else None

    def certificates(self) -> list[bytes]:
        """Return the chain that the receiver has shown, its own certificate first (DER); verified or not."""
        tls = self.transport.get_extra_info("ssl_object") if self.transport else None
        if tls is None:
            return []
        if hasattr(tls, "get_unverified_chain"):  # from Python 3.13 on
            return [bytes(each) for each in tls.get_unverified_chain()]
        return [each.public_bytes(_DER) for each in tls._sslobj.get_unverified_chain() or ()]

    # --- trace

    @property
    def _tracing(self) -> bool:
        return self._trace is not None and self._trace.active

    def _show(self, sent: bool, text: str) -> None:
        assert self._trace is not None
        for line in text.rstrip("\r\n").split("\n"):
            self._trace.line("out", self._name, self._peer, sent, line.rstrip("\r"))


def _closed(text: str) -> TlsFault:
    return TlsFault(TlsResult.VALIDATION_FAILURE, text, in_handshake=True)


def ehlo_keywords(text: str) -> tuple[Mapping[str, str], Sequence[str]]:
    """Parse the reply to EHLO: parameters by lower-case keyword, and the AUTH mechanisms."""
    return parse_esmtp_extensions(text)
