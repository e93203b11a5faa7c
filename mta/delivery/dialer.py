"""Open sessions with receivers, up to the point where a transaction may begin: connection, EHLO, TLS, AUTH.

``Quirks`` remembers what a receiver does not master.

Invariants: no password is shown without TLS, and nothing goes on in plain text where TLS is required.
Limitations: opportunistic TLS that fails ends the session; going on in plain text takes a new one, which the courier
decides. Each worker learns quirks for itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum, auto
from itertools import count

from config.schema import PathLimits, Timeouts
from mta.delivery.client import Lost, ReceiverReply, SmtpClientProtocol
from mta.delivery.delivery_session import (
    DeliveryError,
    DeliverySession,
    Extensions,
    OpportunisticTlsError,
    SessionKey,
    TlsError,
)
from mta.delivery.egress import proxy
from mta.delivery.egress.local_address import is_to_blame
from mta.delivery.egress.sources import EgressSource, SourceFailed
from mta.delivery.route import SmartHostLogin, Target, loops_back
from mta.delivery.shortage import Shortage, shortage, shortage_at_connect
from mta.delivery.tls import dane
from mta.delivery.tls.contexts import TlsContexts, handshake_fault
from mta.delivery.tls.demand import TlsPolicy
from mta.mail.delivery import Stage
from mta.mail.reply import Reply
from mta.mail.tls_session import TlsFault, TlsResult
from mta.observe.labels import Resource, Success
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.observe.trace import MASK, TraceSink

log = get_logger()

QUIRK_LASTS = 3600.0  # seconds; then the receiver gets another chance
MAX_QUIRKS = 10_000  # addresses remembered

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen at connect(), so it need not be free for every peer
_NOT_UNDERSTOOD = (500, 501, 502, 504)  # EHLO was; HELO may be
_numbers = count(1)


class Quirk(Enum):
    BROKEN_TLS = auto()
    BROKEN_PIPELINING = auto()
    ODD_LINES = auto()  # in its replies


class Quirks:
    """What receivers do not master, by address."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, Quirk], float] = {}

    def note(self, address: str, quirk: Quirk) -> None:
        self._until.pop((address, quirk), None)
        if len(self._until) >= MAX_QUIRKS:
            del self._until[next(iter(self._until))]
        self._until[address, quirk] = time.monotonic() + QUIRK_LASTS

    def has(self, address: str, quirk: Quirk) -> bool:
        return time.monotonic() < self._until.get((address, quirk), 0.0)


class Dialer:
    """Opens sessions. ``ehlo``: our name, unless the source has its own. ``loops``: a receiver that greets by our own
    name is not a mail loop. ``begun``: connections that are not ready for a transaction yet."""

    def __init__(
        self,
        timeouts: Timeouts,
        ehlo: str,
        *,
        loops: bool,
        quirks: Quirks,
        trace: TraceSink | None,
        metrics: Metrics,
        begun: set[SmtpClientProtocol],
    ) -> None:
        self._timeouts = timeouts
        self._ehlo = ehlo
        self._loops = loops
        self._quirks = quirks
        self._trace = trace
        self._metrics = metrics
        self._contexts = TlsContexts()
        self._begun = begun

    async def dial(
        self,
        target: Target,
        key: SessionKey,
        login: SmartHostLogin | None,
        limits: PathLimits,
        limit: float,
        closed: Callable[[], None],
    ) -> DeliverySession:
        """Open a session, before the loop time ``limit``. ``closed``: called when its connection is closed, or could
        not be made. Raises DeliveryError, Shortage, SourceFailed."""
        protocol = self._protocol(target, limit)
        self._begun.add(protocol)
        try:
            return await self._open(protocol, target, key, login, limits, closed)
        except DeliveryError as error:
            if protocol.is_revoked:
                raise Shortage(Resource.LEASE) from error
            raise
        finally:
            self._begun.discard(protocol)

    def _protocol(self, target: Target, limit: float) -> SmtpClientProtocol:
        name = f"{os.getpid():x}-{next(_numbers):x}"
        loop = asyncio.get_running_loop()
        protocol = SmtpClientProtocol(loop, self._trace, name, f"{target.name} [{target.address}]")
        protocol.limit = limit
        return protocol

    async def _open(
        self,
        protocol: SmtpClientProtocol,
        target: Target,
        key: SessionKey,
        login: SmartHostLogin | None,
        limits: PathLimits,
        closed: Callable[[], None],
    ) -> DeliverySession:
        try:
            await self._connect(protocol, target, key)
        except BaseException as error:
            closed()
            if isinstance(error, DeliveryError):
                self._metrics.connections[Success.NO].inc()
            raise
        protocol.on_closed = closed
        if protocol.is_closed:
            closed()
        if protocol.is_revoked:
            raise Shortage(Resource.LEASE)
        self._metrics.connections[Success.YES].inc()
        if protocol.over is None:
            self._metrics.connections_open.inc()
            protocol.on_end = self._metrics.connections_open.dec
        try:
            session = await self._begin(protocol, target, key, login)
        except BaseException:
            protocol.abort()
            raise
        if not limits.pipelining or self._quirks.has(target.address, Quirk.BROKEN_PIPELINING):
            session.extensions = replace(session.extensions, pipelining=False)
        return session

    async def _connect(self, protocol: SmtpClientProtocol, target: Target, key: SessionKey) -> None:
        loop = asyncio.get_running_loop()
        implicit = key.tls.policy is TlsPolicy.IMPLICIT
        sock = _socket(target, key.source)
        try:
            async with asyncio.timeout(min(self._timeouts.connect, protocol.limit - loop.time())):
                if key.source.proxy:
                    await proxy.connect(sock, key.source, target.address, target.port)
                else:
                    await loop.sock_connect(sock, (target.address, target.port))
                await loop.create_connection(
                    lambda: protocol,
                    sock=sock,
                    ssl=self._contexts.of(key.tls.policy, key.certificate) if implicit else None,
                    server_hostname=target.name if implicit else None,
                )
        except TimeoutError:
            sock.close()
            raise DeliveryError(Stage.CONNECT, _unreachable(target, "no answer")) from None
        except proxy.EgressProxyError as error:
            sock.close()
            raise SourceFailed(key.source, str(error)) from error
        except proxy.BehindProxyError as error:
            sock.close()
            raise DeliveryError(Stage.CONNECT, _unreachable(target, str(error))) from error
        except (OSError, ValueError) as error:
            sock.close()
            if resource := shortage_at_connect(error, target.address):
                raise Shortage(resource) from error
            ours = key.source.address
            if ours is not None and is_to_blame(ours, target.address, error):
                raise SourceFailed(key.source, _why(error)) from error
            if implicit and not isinstance(error, ConnectionError):
                raise _tls_failed(target, handshake_fault(error)) from error
            raise DeliveryError(Stage.CONNECT, _unreachable(target, _why(error))) from error
        except BaseException:
            sock.close()
            raise

    async def _begin(
        self, protocol: SmtpClientProtocol, target: Target, key: SessionKey, login: SmartHostLogin | None
    ) -> DeliverySession:
        """Greeting, EHLO, TLS, AUTH: up to the first MAIL."""
        assert protocol.transport is not None
        source = key.source.address or str(protocol.transport.get_extra_info("sockname")[0])
        ehlo = key.source.ehlo or self._ehlo
        greeting = _positive(Stage.HELLO, await protocol.greeting(self._timeouts.greeting))
        if not (self._loops or target.home) and greeting.text.partition(" ")[0].lower() == ehlo.lower():
            raise DeliveryError(Stage.HELLO, loops_back(target.name))
        extensions = await self._hello(protocol, ehlo)
        self._note_odd_lines(protocol, target)
        if await self._encrypt(protocol, target, key, extensions):
            extensions = await self._hello_again(protocol, ehlo, key.tls.policy)
        if login:
            await self._log_in(protocol, login, extensions)
        return DeliverySession(key, protocol, target, source, protocol.tls_version, extensions)

    async def _hello(self, protocol: SmtpClientProtocol, ehlo: str) -> Extensions:
        timeouts = (self._timeouts.hello,)
        (answer,) = await protocol.ask(f"EHLO {ehlo}\r\n".encode(), timeouts, lenient=True)
        if isinstance(answer, ReceiverReply) and answer.code in _NOT_UNDERSTOOD:
            _positive(Stage.HELLO, (await protocol.ask(f"HELO {ehlo}\r\n".encode(), timeouts))[0])
            return Extensions()
        return Extensions.parse(_positive(Stage.HELLO, answer).text)

    def _note_odd_lines(self, protocol: SmtpClientProtocol, target: Target) -> None:
        if protocol.speaks_oddly and not self._quirks.has(target.address, Quirk.ODD_LINES):
            self._quirks.note(target.address, Quirk.ODD_LINES)
            log.info(
                "receiver sends empty or indented lines, which are skipped", host=target.name, address=target.address
            )

    async def _hello_again(self, protocol: SmtpClientProtocol, ehlo: str, tls: TlsPolicy) -> Extensions:
        """Return what is offered under TLS. Only now a receiver shows that it rejected our side of the handshake."""
        try:
            return await self._hello(protocol, ehlo)
        except DeliveryError as error:
            if tls is TlsPolicy.OPPORTUNISTIC and protocol.over is not None:
                raise OpportunisticTlsError(error.reply, _no_handshake(error.reply.text)) from error
            raise

    async def _encrypt(
        self, protocol: SmtpClientProtocol, target: Target, key: SessionKey, extensions: Extensions
    ) -> bool:
        """STARTTLS (RFC 3207); return False to go on as it is. Raises TlsError."""
        policy, name = key.tls.policy, target.name
        opportunistic = policy is TlsPolicy.OPPORTUNISTIC
        if policy in (TlsPolicy.NONE, TlsPolicy.IMPLICIT):
            return False
        if opportunistic and (not extensions.starttls or self._quirks.has(target.address, Quirk.BROKEN_TLS)):
            return False
        failure = OpportunisticTlsError if opportunistic else TlsError
        if not extensions.starttls:
            raise _no_starttls(failure, f"TLS is required, but was not offered by {name}")
        answer = (await protocol.ask(b"STARTTLS\r\n", (self._timeouts.starttls,)))[0]
        if isinstance(answer, Lost):
            raise failure(answer.reply, _no_handshake(answer.reply.text))
        if answer.code != 220:
            if opportunistic and protocol.usable:
                return False
            raise _no_starttls(failure, f"{name} rejected STARTTLS: {answer.code} {answer.text}")
        context = self._contexts.of(policy, key.certificate)
        sni = key.tls.names[0] if key.tls.names else name
        fault = await protocol.encrypt(context, sni, self._timeouts.starttls)
        if fault is None and policy is TlsPolicy.DANE:
            fault = dane.verify(protocol.certificates(), key.tls.tlsa, key.tls.names, datetime.now(UTC))
        if fault:
            raise _tls_failed(target, fault, failure)
        return True

    async def _log_in(self, protocol: SmtpClientProtocol, login: SmartHostLogin, extensions: Extensions) -> None:
        """AUTH by the first common mechanism (RFC 4954). A rejection is our mistake: mail waits for the fix."""
        if protocol.tls_version is None:
            raise DeliveryError(Stage.HELLO, Reply(454, "4.7.0", "smart host login needs TLS"))
        username, password = login.username.encode(), login.password.encode()
        if "plain" in extensions.auth:
            lines = [b"AUTH PLAIN " + b64encode(b"\0" + username + b"\0" + password)]
        elif "login" in extensions.auth:
            lines = [b"AUTH LOGIN", b64encode(username), b64encode(password)]
        else:
            text = "smart host login failed: it offers neither AUTH PLAIN nor AUTH LOGIN"
            raise DeliveryError(Stage.HELLO, Reply(454, "4.7.0", text))
        answer = await self._dialogue(protocol, lines)
        if isinstance(answer, Lost):
            raise DeliveryError(Stage.HELLO, answer.reply)
        if not answer.is_positive:
            text = f"smart host login of {login.username} was rejected: {answer.code} {answer.text}"
            raise DeliveryError(Stage.HELLO, Reply(454, "4.7.0", text))

    async def _dialogue(self, protocol: SmtpClientProtocol, lines: Sequence[bytes]) -> ReceiverReply | Lost:
        """Send each line only if the one before was answered with 334; return the last reply."""
        answer: ReceiverReply | Lost = ReceiverReply(334, "")
        for line in lines:
            if isinstance(answer, Lost) or answer.code != 334:
                break
            (answer,) = await protocol.ask(line + b"\r\n", (self._timeouts.hello,), f"AUTH {MASK}")
        return answer


def _positive(stage: Stage, answer: ReceiverReply | Lost) -> ReceiverReply:
    if isinstance(answer, Lost) or not answer.is_positive:
        raise DeliveryError(stage, answer.reply)
    return answer


def _socket(target: Target, source: EgressSource) -> socket.socket:
    first = source.proxy.host if source.proxy else target.address
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in first else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        if resource := shortage(error):
            raise Shortage(resource) from error
        raise DeliveryError(Stage.CONNECT, _unreachable(target, _why(error))) from error
    sock.setblocking(False)
    if source.address is not None and not source.proxy:
        try:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source.address, 0))
        except OSError as error:
            sock.close()
            raise SourceFailed(source, _why(error)) from error
    return sock


def _unreachable(target: Target, why: str) -> Reply:
    return Reply(451, "4.4.1", f"connect to {target.name} [{target.address}]:{target.port}: {why}")


def _tls_failed(target: Target, fault: TlsFault, kind: type[TlsError] = TlsError) -> TlsError:
    return kind(Reply(451, "4.7.5", f"TLS with {target.name} failed: {fault.text}"), fault)


def _no_starttls(kind: type[TlsError], text: str) -> TlsError:
    return kind(Reply(451, "4.7.4", text), TlsFault(TlsResult.STARTTLS_NOT_SUPPORTED, text))


def _no_handshake(text: str) -> TlsFault:
    return TlsFault(TlsResult.VALIDATION_FAILURE, text, in_handshake=True)


def _why(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
