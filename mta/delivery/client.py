"""The wire to a receiver: octets out, replies in, each within its time. aiosmtplib's protocol with a queue of replies.

aiosmtplib awaits one reply for each command. Here a group of commands is written at once and its replies are collected
in order (RFC 2920), every reply has its own patience (RFC 5321 4.5.3.2), what nobody asked for is kept, and the end of
the session is a value that says why, not an exception out of nowhere.

It must never say that something was answered when it was not, and never wait without a limit.

*Limits.* One task at a time may speak. A message is held whole until it is written.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import cast

from aiosmtplib.auth import auth_login_encode, auth_plain_encode
from aiosmtplib.errors import SMTPServerDisconnected
from aiosmtplib.esmtp import parse_esmtp_extensions
from aiosmtplib.protocol import SMTPProtocol

from mta.delivery.commands import Extensions
from mta.delivery.replies import Garbled, ReceiverReply, ReplyReader
from mta.delivery.route import SmartHostLogin
from mta.mail.reply import Reply
from mta.observe.trace import Trace

BLOCK = 64 * 1024  # octets of a message written at once; more wait until the receiver has taken some


class Cause(Enum):
    """Why a session is over."""

    CLOSED = auto()  # the receiver hung up
    SHUT = auto()  # it said 421 before
    SILENT = auto()
    GARBLED = auto()
    STUCK = auto()  # it does not take the message's octets
    ABORTED = auto()  # by us


@dataclass(frozen=True, slots=True)
class Lost:
    """In place of an answer: the session is over. ``reply``: how that is recorded."""

    cause: Cause
    reply: Reply


@dataclass(frozen=True, slots=True)
class Unsent:
    """In place of the answer to a message: the session ended before the message did; it cannot have been taken."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Early:
    """The receiver refused the message before its end. The session is over."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Label:
    """What the live dialogue calls this session."""

    session: str
    peer: str


class SmtpClientProtocol(SMTPProtocol):
    """One connection. ``limit``: loop time at which waiting ends whatever patience is left (not for the final dot)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, trace: Trace | None, label: Label) -> None:
        super().__init__(loop)
        self.limit = inf
        self.strays: list[ReceiverReply] = []  # what nobody asked for
        self.over: Lost | None = None
        self.on_end: Callable[[], None] | None = None
        self._trace = trace
        self._label = label
        self._reader = ReplyReader()
        self._shut: Reply | None = None  # a 421: the receiver is about to hang up
        self._answers: list[ReceiverReply] = []
        self._patience: Sequence[float] = ()  # of each answer in the group
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    @property
    def usable(self) -> bool:
        """Whether another transaction may be begun."""
        return self.over is None and self._shut is None and not self.strays and self._reader.is_empty

    # --- asking

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expect((inf,))  # the greeting may be here before anybody waits for it

    async def greeting(self, patience: float) -> ReceiverReply | Lost:
        """The receiver's first words."""
        assert self._waiter is not None
        self._arm(patience, self.limit)
        await self._waiter
        return self._collected()[0]

    async def ask(
        self, octets: bytes, patience: Sequence[float], shown: str | None = None
    ) -> list[ReceiverReply | Lost]:
        """Write, and collect an answer for each member of ``patience`` (seconds after the one before).

        ``shown`` stands for ``octets`` in the live dialogue.
        """
        waiter = self._expect(patience)
        if self.over is None:
            if self._tracing:
                self._show(True, shown or octets.decode("utf-8", "replace"))
            self._arm(patience[0], self.limit)
            self._put(octets)
            await waiter
        return self._collected()

    async def send_message(
        self, octets: bytes, block: float, final_dot: float
    ) -> ReceiverReply | Early | Unsent | Lost:
        """Write a message with its final dot, and wait for the answer. Lost: it may have been taken, nobody knows."""
        waiter = self._expect((final_dot,))
        if self._tracing:
            self._show(True, f"[{len(octets)} octets of message]")
        sent = self._put(octets) if len(octets) <= BLOCK else await self._put_blocks(octets, block, waiter)
        if not sent:
            return self._unsent()
        self._arm(final_dot, inf)
        await waiter
        return self._collected()[0]

    def _put(self, octets: bytes) -> bool:
        """Write. False: there is nobody to write to any more."""
        try:
            self.write(octets)
        except SMTPServerDisconnected:
            self.end(Lost(Cause.CLOSED, _CLOSED))
            return False
        return True

    async def _put_blocks(self, octets: bytes, block: float, waiter: asyncio.Future[None]) -> bool:
        """Write no faster than it is taken. False: the session, or the message, ended before the last block."""
        for start in range(0, len(octets), BLOCK):
            if self._paused:
                await self._drain(block)
            if waiter.done() or not self._put(octets[start : start + BLOCK]):
                return False
        return True

    async def _drain(self, block: float) -> None:
        patience = min(block, self.limit - self._loop.time())
        try:
            async with asyncio.timeout(patience):
                await self._drain_helper()
        except TimeoutError:
            text = f"the receiver takes nothing more of the message for {patience:.0f} s"
            self.end(Lost(Cause.STUCK, Reply(451, "4.4.2", text)))
        except OSError:
            pass  # lost meanwhile; connection_lost() has noted it

    def _unsent(self) -> Early | Unsent:
        """What became of a message that was not sent to its end. The session cannot go on."""
        answer = self._answers[0] if self._answers else None
        self.end(Lost(Cause.ABORTED, Reply(451, "4.4.2", "the receiver answered before the message had ended")))
        if answer is not None and answer.code >= 400 and answer.is_regular:
            return Early(Reply.parse(answer.code, answer.text))
        assert self.over is not None
        return Unsent(self.over.reply)

    def _expect(self, patience: Sequence[float]) -> asyncio.Future[None]:
        self._answers = []
        self._patience = patience
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _collected(self) -> list[ReceiverReply | Lost]:
        """The answers, and ``over`` in place of those that will never come."""
        self._waiter = None
        self._deadline = inf
        answers: list[ReceiverReply | Lost] = [*self._answers]
        if (missing := len(self._patience) - len(answers)) > 0:
            assert self.over is not None
            answers += [self.over] * missing
        return answers

    # --- what comes

    def data_received(self, data: bytes) -> None:
        if self.over is not None:
            return
        for answer in self._reader.feed(data):
            if isinstance(answer, Garbled):
                text = f"the receiver does not speak SMTP: {answer.text}"
                self.end(Lost(Cause.GARBLED, Reply(451, "4.5.0", text)))
            else:
                self._take(answer)

    def _take(self, answer: ReceiverReply) -> None:
        if self._tracing:
            self._show(False, f"{answer.code} {answer.text}".replace("\n", f"\n{answer.code} "))
        if answer.code == 421:
            self._shut = Reply.parse(answer.code, answer.text)
        if self._waiter is None or self._waiter.done():
            self.strays.append(answer)
            return
        self._answers.append(answer)
        if not answer.is_regular:
            text = f"the receiver does not speak SMTP: it answered {answer.code}"
            self.end(Lost(Cause.GARBLED, Reply(451, "4.5.0", text)))
        elif len(self._answers) == len(self._patience):
            self._waiter.set_result(None)
            if self._paused:
                self.resume_writing()  # whoever waits for room is to see the answer first
        else:
            self._arm(self._patience[len(self._answers)], self.limit)

    def eof_received(self) -> bool:
        self.end(Lost(Cause.CLOSED, _CLOSED))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(Lost(Cause.CLOSED, _CLOSED))
        super().connection_lost(exc)

    def end(self, lost: Lost) -> None:
        """The session is over; who waits is told. The first reason counts, and a 421 before any."""
        if self.over is not None:
            return
        self.over = Lost(Cause.SHUT, self._shut) if self._shut else lost
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

    def abort(self) -> None:
        """Hang up at once. What was not written to its final dot has not been sent."""
        self.end(_LEFT)

    def quit(self, patience: float) -> None:
        """Take leave without waiting for it: QUIT now, and the connection closes with the answer."""
        if self.over is None:
            self._expect((patience,)).add_done_callback(lambda _: self.end(_LEFT))
            self._arm(patience, inf)
            self._put(b"QUIT\r\n")

    async def farewell(self, patience: float) -> None:
        """QUIT, and wait until the connection is closed."""
        self.quit(patience)
        if self._waiter is not None:
            await self._waiter

    # --- time

    def _arm(self, seconds: float, limit: float) -> None:
        """The next answer must be here within ``seconds``. One timer serves many deadlines: it looks when it rings."""
        self._deadline = deadline = min(self._loop.time() + seconds, limit)
        if deadline < self._timer_at:
            if self._timer:
                self._timer.cancel()
            self._set_timer(deadline)

    def _set_timer(self, at: float) -> None:
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_at = None, inf
        if self._deadline == inf:
            return
        if self._loop.time() < self._deadline:
            self._set_timer(self._deadline)
        else:
            self.end(Lost(Cause.SILENT, Reply(451, "4.4.2", "the receiver did not answer in time")))

    # --- TLS and AUTH

    async def encrypt(self, context: ssl.SSLContext, name: str, patience: float) -> str | None:
        """Encrypt the connection; None, or what went wrong: then the session is over.

        Whatever came in plain text behind the 220 is forgotten: it may have been put there (RFC 3207 4.2).
        """
        self._reader = ReplyReader()
        self.strays.clear()
        if self.over is not None:
            return self.over.reply.text
        try:
            transport = await self._loop.start_tls(
                cast(asyncio.WriteTransport, self.transport),
                self,
                context,
                server_hostname=name,
                ssl_handshake_timeout=patience,
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; ValueError: a name that cannot be in SNI
            return self._no_tls(tls_problem(error))
        if transport is None or self.over is not None:
            return self._no_tls("the connection was closed in the handshake")
        self.transport = transport
        self._over_ssl = True
        return None

    def _no_tls(self, why: str) -> str:
        self.end(Lost(Cause.ABORTED, Reply(451, "4.7.5", f"TLS failed: {why}")))
        return why

    @property
    def tls_version(self) -> str | None:
        """For example ``TLSv1.3``; None for plain text."""
        tls = self.transport.get_extra_info("ssl_object") if self.transport else None
        return tls.version() if tls else None

    async def log_in(self, login: SmartHostLogin, mechanisms: frozenset[str], patience: float) -> ReceiverReply | Lost:
        """AUTH by the first mechanism that both sides know (RFC 4954)."""
        hidden = "********"
        if "plain" in mechanisms:
            blob = auth_plain_encode(login.username, login.password)
            return (await self.ask(b"AUTH PLAIN " + blob + b"\r\n", (patience,), f"AUTH PLAIN {hidden}"))[0]
        if "login" in mechanisms:
            lines = [b"AUTH LOGIN", *auth_login_encode(login.username, login.password)]
            return await self._dialogue(lines, patience)
        return ReceiverReply(454, "4.7.0 no mechanism in common: PLAIN or LOGIN is needed")

    async def _dialogue(self, lines: list[bytes], patience: float) -> ReceiverReply | Lost:
        """Each line only when the one before was answered with 334; the last answer."""
        answer: ReceiverReply | Lost = ReceiverReply(334, "")
        for line in lines:
            if isinstance(answer, Lost) or answer.code != 334:
                break
            answer = (await self.ask(line + b"\r\n", (patience,), "AUTH ********"))[0]
        return answer

    # --- the live dialogue

    @property
    def _tracing(self) -> bool:
        return self._trace is not None and self._trace.active

    def _show(self, sent: bool, text: str) -> None:
        assert self._trace is not None
        for line in text.rstrip("\r\n").split("\n"):
            self._trace.line("out", self._label.session, self._label.peer, sent, line.rstrip("\r"))


_CLOSED = Reply(451, "4.4.2", "the receiver closed the connection")
_LEFT = Lost(Cause.ABORTED, Reply(451, "4.4.2", "we have taken leave"))


def parse_extensions(text: str) -> Extensions:
    """What the answer to EHLO offers."""
    return Extensions.of(*parse_esmtp_extensions(text))


def tls_problem(error: Exception) -> str:
    """What a failed handshake comes to, in one line for the operator."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "handshake failed").replace("_", " ").lower()
    if isinstance(error, ConnectionAbortedError):
        return "no handshake in time"
    return str(error) or type(error).__name__
