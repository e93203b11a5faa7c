"""A session with a receiver, from the first SYN to the point where a transaction may begin.

It must never show a password without TLS, and never go on in plain text where TLS is required.

*Limits.* Opportunistic TLS that fails ends the session; going on in plain text takes a new one, which is the courier's
decision.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple

from config.schema import Timeouts
from mta.delivery.client import Label, Lost, SmtpClientProtocol, parse_extensions, tls_problem
from mta.delivery.commands import Extensions
from mta.delivery.quirks import Quirk, Quirks
from mta.delivery.replies import ReceiverReply
from mta.delivery.route import SmartHostLogin, Target, TlsMode, loops_back
from mta.delivery.tls import Contexts
from mta.mail.delivery import Stage
from mta.mail.reply import Reply
from mta.observe.labels import Success
from mta.observe.metrics import Metrics
from mta.observe.trace import Trace

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen at connect(), so it need not be free for every peer
_NOT_UNDERSTOOD = (500, 501, 502, 504)  # EHLO was; HELO may be
_numbers = count(1)


class DeliveryError(Exception):
    """A host cannot be used now. Nothing was sent to those who have no result yet."""

    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(f"{stage.value}: {reply}")
        self.stage = stage
        self.reply = reply


class TlsTrouble(DeliveryError):
    """Opportunistic TLS failed: a new session in plain text may do."""


class PipeliningTrouble(DeliveryError):
    """The receiver lost count of our commands: a new session that sends them one by one may do."""


class StaleTrouble(DeliveryError):
    """An idle connection had died, or was about to: a new one may do."""


class Key(NamedTuple):
    """Connections with the same key can stand in for each other."""

    source: str | None
    address: str
    port: int
    tls: TlsMode
    username: str | None


@dataclass(slots=True, eq=False)
class DeliverySession:
    """A session that is ready for transactions. ``source``: our address. ``tls``: version, None for plain text."""

    key: Key
    wire: SmtpClientProtocol
    target: Target
    source: str
    tls: str | None
    extensions: Extensions
    transactions: int = 0
    dirty: bool = False  # the receiver still has a transaction open
    max_recipients: int | None = None  # in one transaction, once the receiver has shown it


class Dialer:
    """Opens sessions. ``ehlo``: our name. ``loops``: a receiver by our own name is not taken for ourselves."""

    def __init__(
        self, timeouts: Timeouts, ehlo: str, *, loops: bool, quirks: Quirks, trace: Trace | None, metrics: Metrics
    ) -> None:
        self._timeouts = timeouts
        self._ehlo = ehlo
        self._loops = loops
        self._quirks = quirks
        self._trace = trace
        self._metrics = metrics
        self._contexts = Contexts()

    async def dial(self, target: Target, key: Key, login: SmartHostLogin | None, limit: float) -> DeliverySession:
        """A session, before the loop time ``limit``. Raises Trouble."""
        try:
            wire = await self._connect(target, key, limit)
        except DeliveryError:
            self._metrics.connections[Success.NO].inc()
            raise
        self._metrics.connections[Success.YES].inc()
        if wire.over is None:
            self._metrics.connections_open.inc()
            wire.on_end = self._metrics.connections_open.dec
        try:
            return await self._begin(wire, target, key, login)
        except BaseException:
            wire.abort()
            raise

    async def _connect(self, target: Target, key: Key, limit: float) -> SmtpClientProtocol:
        loop = asyncio.get_running_loop()
        strict = key.tls is TlsMode.IMPLICIT
        label = Label(f"{os.getpid():x}-{next(_numbers):x}", f"{target.name} [{target.address}]")
        wire = SmtpClientProtocol(loop, self._trace, label)
        wire.limit = limit
        sock = _socket(target, key.source)
        try:
            async with asyncio.timeout(min(self._timeouts.connect, limit - loop.time())):
                await loop.sock_connect(sock, (target.address, target.port))
                await loop.create_connection(
                    lambda: wire,
                    sock=sock,
                    ssl=self._contexts.for_policy(key.tls) if strict else None,
                    server_hostname=target.name if strict else None,
                )
        except TimeoutError:
            sock.close()
            raise DeliveryError(Stage.CONNECT, _unreachable(target, "no answer")) from None
        except (OSError, ValueError) as error:
            sock.close()
            if strict and not isinstance(error, ConnectionError):
                raise DeliveryError(Stage.TLS, _tls_failed(target, tls_problem(error))) from error
            raise DeliveryError(Stage.CONNECT, _unreachable(target, _why(error))) from error
        except BaseException:
            sock.close()
            raise
        return wire

    async def _begin(
        self, wire: SmtpClientProtocol, target: Target, key: Key, login: SmartHostLogin | None
    ) -> DeliverySession:
        assert wire.transport is not None
        source = str(wire.transport.get_extra_info("sockname")[0])
        greeting = _positive(Stage.HELLO, await wire.greeting(self._timeouts.greeting))
        if not (self._loops or target.home) and greeting.text.partition(" ")[0].lower() == self._ehlo.lower():
            raise DeliveryError(Stage.HELLO, loops_back(target.name))
        extensions = await self._hello(wire)
        if key.tls in (TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED) and await self._encrypt(
            wire, target, key.tls, extensions
        ):
            extensions = await self._hello_again(wire, key.tls)
        if login:
            await self._log_in(wire, login, extensions)
        if self._quirks.has(target.address, Quirk.BROKEN_PIPELINING):
            extensions = replace(extensions, pipelining=False)
        return DeliverySession(key, wire, target, source, wire.tls_version, extensions)

    async def _hello(self, wire: SmtpClientProtocol) -> Extensions:
        patience = (self._timeouts.hello,)
        answer = (await wire.ask(f"EHLO {self._ehlo}\r\n".encode(), patience))[0]
        if isinstance(answer, ReceiverReply) and answer.code in _NOT_UNDERSTOOD:
            _positive(Stage.HELLO, (await wire.ask(f"HELO {self._ehlo}\r\n".encode(), patience))[0])
            return Extensions()
        return parse_extensions(_positive(Stage.HELLO, answer).text)

    async def _hello_again(self, wire: SmtpClientProtocol, tls: TlsMode) -> Extensions:
        """What is offered under TLS. Only now does a receiver tell that it did not like our side of the handshake."""
        try:
            return await self._hello(wire)
        except DeliveryError as trouble:
            if tls is TlsMode.OPPORTUNISTIC and wire.over is not None:
                raise TlsTrouble(Stage.TLS, trouble.reply) from trouble
            raise

    async def _encrypt(self, wire: SmtpClientProtocol, target: Target, tls: TlsMode, extensions: Extensions) -> bool:
        """STARTTLS (RFC 3207). False: go on in plain text."""
        if tls is TlsMode.OPPORTUNISTIC and (
            not extensions.starttls or self._quirks.has(target.address, Quirk.BROKEN_TLS)
        ):
            return False
        failure = TlsTrouble if tls is TlsMode.OPPORTUNISTIC else DeliveryError
        if not extensions.starttls:
            raise DeliveryError(
                Stage.TLS, Reply(451, "4.7.4", f"{target.name} offers no STARTTLS, and TLS is required")
            )
        answer = (await wire.ask(b"STARTTLS\r\n", (self._timeouts.starttls,)))[0]
        if isinstance(answer, Lost):
            raise failure(Stage.TLS, answer.reply)
        if answer.code != 220:
            if tls is TlsMode.OPPORTUNISTIC and wire.usable:
                return False
            raise failure(
                Stage.TLS, Reply(451, "4.7.4", f"{target.name} refused STARTTLS: {answer.code} {answer.text}")
            )
        if problem := await wire.encrypt(self._contexts.for_policy(tls), target.name, self._timeouts.starttls):
            raise failure(Stage.TLS, _tls_failed(target, problem))
        return True

    async def _log_in(self, wire: SmtpClientProtocol, login: SmartHostLogin, extensions: Extensions) -> None:
        """A refusal is our own mistake, not the message's: mail waits until it is mended."""
        if wire.tls_version is None:
            raise DeliveryError(Stage.HELLO, Reply(454, "4.7.0", "no password is shown without TLS"))
        answer = await wire.log_in(login, extensions.auth, self._timeouts.hello)
        if isinstance(answer, Lost):
            raise DeliveryError(Stage.HELLO, answer.reply)
        if not answer.is_positive:
            text = f"the smart host refused the login of {login.username}: {answer.code} {answer.text}"
            raise DeliveryError(Stage.HELLO, Reply(454, "4.7.0", text))


def _positive(stage: Stage, answer: ReceiverReply | Lost) -> ReceiverReply:
    if isinstance(answer, Lost):
        raise DeliveryError(stage, answer.reply)
    if not answer.is_positive:
        raise DeliveryError(stage, Reply.parse(answer.code, answer.text))
    return answer


def _socket(target: Target, source: str | None) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in target.address else socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    if source is not None:
        try:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        except OSError as error:
            sock.close()
            text = f"cannot send from {source} (egress.sources): {_why(error)}"
            raise DeliveryError(Stage.CONNECT, Reply(451, "4.3.5", text)) from error
    return sock


def _unreachable(target: Target, why: str) -> Reply:
    return Reply(451, "4.4.1", f"no connection to {target.name} [{target.address}]:{target.port}: {why}")


def _tls_failed(target: Target, why: str) -> Reply:
    return Reply(451, "4.7.5", f"TLS with {target.name} failed: {why}")


def _why(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
