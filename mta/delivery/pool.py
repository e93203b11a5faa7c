"""Sessions with receivers: opened up to the point where a transaction may begin, and kept for the next message.

``Dialer`` opens them (connection, EHLO, TLS, AUTH), ``Pool`` keeps the idle ones, ``Quirks`` remembers what a receiver
does not master.

Invariants: no password is shown without TLS, and nothing goes on in plain text where TLS is required. The pool never
hands out a session that is known to be dead, or on which the receiver has sent something unasked.
Limitations: opportunistic TLS that fails ends the session; going on in plain text takes a new one, which the courier
decides. A connection that died silently is found out by its next user. Each worker learns quirks for itself.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum, auto
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from config.schema import PathLimits, Timeouts
from mta.delivery.client import Lost, ReceiverReply, SmtpClientProtocol, ehlo_keywords
from mta.delivery.egress import proxy
from mta.delivery.egress.local_address import is_to_blame
from mta.delivery.egress.paths import EgressPath
from mta.delivery.egress.sources import EgressSource, SourceFailed
from mta.delivery.route import Route, SmartHostLogin, Target, loops_back
from mta.delivery.shortage import Shortage, shortage, shortage_at_connect
from mta.delivery.tls import dane
from mta.delivery.tls.contexts import TlsContexts, handshake_fault
from mta.delivery.tls.demand import ClientCertificate, TlsDemand, TlsPolicy
from mta.mail.delivery import Stage
from mta.mail.reply import Reply
from mta.mail.tls_session import TlsFault, TlsResult
from mta.mail.values import dataclass
from mta.observe.labels import Resource, Success
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.observe.trace import TraceSink

log = get_logger()

QUIRK_LASTS = 3600.0  # seconds; then the receiver gets another chance
MAX_QUIRKS = 10_000  # addresses remembered
QUIT_TIMEOUT = 5.0  # seconds for the reply to QUIT
MAX_IDLE = 2000  # idle sessions kept by one worker

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen at connect(), so it need not be free for every peer
_NOT_UNDERSTOOD = (500, 501, 502, 504)  # EHLO was; HELO may be
_LIMIT = re.compile(r"(?i)(RCPTMAX|MAILMAX)=([1-9][0-9]{0,5})\Z")  # RFC 9422 4
_numbers = count(1)


class DeliveryError(Exception):
    """A host cannot be used now. Nothing was sent to the recipients that have no result yet."""

    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(f"{stage.value}: {reply}")
        self.stage = stage
        self.reply = reply


class TlsError(DeliveryError):
    """TLS did not come up to what was demanded."""

    def __init__(self, reply: Reply, fault: TlsFault) -> None:
        super().__init__(Stage.TLS, reply)
        self.fault = fault


class OpportunisticTlsError(TlsError):
    """Opportunistic TLS failed: a new session in plain text may do."""


class PipeliningError(DeliveryError):
    """The receiver lost count of our commands: a new session that sends them one by one may do."""


class StaleSessionError(DeliveryError):
    """An idle connection had died, or was about to: a new one may do."""


@dataclass(frozen=True, slots=True)
class Extensions:
    """What EHLO offered. ``size``: octets of the largest message, None if not given. ``deliver_by``: the shortest time
    that it takes (RFC 2852 3), 0 if it takes any, None if not offered."""

    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    starttls: bool = False
    dsn: bool = False
    requiretls: bool = False
    mt_priority: bool = False
    deliver_by: int | None = None
    sizes: bool = False
    size: int | None = None
    auth: frozenset[str] = frozenset()
    recipients: int | None = None  # of one transaction
    transactions: int | None = None  # of one connection

    @classmethod
    def parse(cls, text: str) -> Extensions:
        """Read the reply to EHLO."""
        return cls.of(*ehlo_keywords(text))

    @classmethod
    def of(cls, offered: Mapping[str, str], mechanisms: Iterable[str]) -> Extensions:
        """``offered``: parameters by lower-case keyword. ``mechanisms``: of AUTH."""
        size = offered.get("size", "").strip()
        limits = {m[1].upper(): int(m[2]) for word in offered.get("limits", "").split() if (m := _LIMIT.match(word))}
        return cls(
            pipelining="pipelining" in offered,
            eight_bit="8bitmime" in offered,
            smtputf8="smtputf8" in offered,
            starttls="starttls" in offered,
            dsn="dsn" in offered,
            requiretls="requiretls" in offered,
            mt_priority="mt-priority" in offered,
            deliver_by=_shortest(offered["deliverby"]) if "deliverby" in offered else None,
            sizes="size" in offered,
            size=int(size) if size.isascii() and size.isdigit() and len(size) < 20 and int(size) > 0 else None,
            auth=frozenset(mechanisms),
            recipients=limits.get("RCPTMAX"),
            transactions=limits.get("MAILMAX"),
        )


def _shortest(text: str) -> int:
    """Return the min-by-time of DELIVERBY; what is no number says nothing."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


class SessionKey(NamedTuple):
    """Sessions with the same key can replace each other. ``site``: a connection counts for one path."""

    source: EgressSource
    site: str
    address: str
    port: int
    tls: TlsDemand
    username: str | None
    certificate: ClientCertificate | None = None  # that we show

    @classmethod
    def of(cls, path: EgressPath, route: Route, target: Target, demand: TlsDemand) -> SessionKey:
        """Return the key of sessions on a path with one host of the route."""
        certificate = route.certificate or path.source.certificate
        username = route.login.username if route.login else None
        return cls(path.source, path.site, target.address, target.port, demand, username, certificate)


@dataclass(slots=True, eq=False)
class DeliverySession:
    """A session that is ready for transactions. ``source``: our address. ``tls``: version, None for plain text.
    ``octets``: of the messages it was used for. ``idle_until``: loop time, None while it is not in the pool;
    ``watched``: the pool looks at it some time."""

    key: SessionKey
    protocol: SmtpClientProtocol
    target: Target
    source: str
    tls: str | None
    extensions: Extensions
    transactions: int = 0
    octets: int = 0
    dirty: bool = False  # the receiver still has a transaction open
    max_recipients: int | None = None  # in one transaction, once the receiver has shown it
    idle_until: float | None = None
    watched: bool = False


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
        closed: Callable[[], None] = lambda: None,
    ) -> DeliverySession:
        """Open a session, before the loop time ``limit``. ``closed``: called when its connection is closed, or could
        not be made. Raises DeliveryError, Shortage, SourceFailed."""
        protocol = self._protocol(target, limit)
        self._begun.add(protocol)
        try:
            return await self._open(protocol, target, key, login, limits, limit, closed)
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
        limit: float,
        closed: Callable[[], None],
    ) -> DeliverySession:
        try:
            await self._connect(protocol, target, key, limit)
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

    async def _connect(self, protocol: SmtpClientProtocol, target: Target, key: SessionKey, limit: float) -> None:
        loop = asyncio.get_running_loop()
        implicit = key.tls.policy is TlsPolicy.IMPLICIT
        sock = _socket(target, key.source)
        try:
            async with asyncio.timeout(min(self._timeouts.connect, limit - loop.time())):
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
            (answer,) = await protocol.ask(line + b"\r\n", (self._timeouts.hello,), "AUTH ********")
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


class Pool:
    """Idle sessions, kept for the next message to the same host."""

    def __init__(self) -> None:
        self._sessions: dict[SessionKey, list[DeliverySession]] = {}  # those used last at the end
        self._count = 0
        self._watched: list[tuple[float, int, DeliverySession]] = []  # a heap, by when each is to be looked at
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._count

    def take(self, key: SessionKey) -> DeliverySession | None:
        """Return the session used last; the others may then grow old."""
        waiting = self._sessions.get(key)
        while waiting:
            session = waiting.pop()
            self._count -= 1
            session.idle_until = None
            if not waiting:
                del self._sessions[key]
            if session.protocol.usable:
                return session
            quit_session(session)
        return None

    def has(self, key: SessionKey) -> bool:
        return key in self._sessions

    def put(self, session: DeliverySession, idle: float) -> None:
        """Keep a session for ``idle`` seconds."""
        if idle <= 0 or self._count >= MAX_IDLE or not session.protocol.usable:
            quit_session(session)
            return
        session.idle_until = until = asyncio.get_running_loop().time() + idle
        self._sessions.setdefault(session.key, []).append(session)
        self._count += 1
        if not session.watched:
            self._watch(session, until)

    def close_idle(self, source: str, site: str, most: int | None = None) -> None:
        """Close the sessions of a path, ``most`` of them at most, those first that have been idle longest."""
        idle = [
            session
            for key, waiting in self._sessions.items()
            if key.site == site and key.source.name == source
            for session in waiting
        ]
        for session in sorted(idle, key=_end)[:most]:
            self._close(session)

    def drop_oldest(self) -> None:
        """Close a session whose end is near: its descriptor is needed."""
        if self._sessions:
            self._close(min((waiting[0] for waiting in self._sessions.values()), key=_end))

    def close_all(self) -> None:
        """Close every session now, without waiting for the reply to QUIT."""
        for session in self._pop_all():
            quit_session(session)
            session.protocol.abort()

    async def close(self) -> None:
        """End all sessions with QUIT."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        await asyncio.gather(*(session.protocol.wait_quit(QUIT_TIMEOUT) for session in self._pop_all()))

    def _pop_all(self) -> list[DeliverySession]:
        idle = [session for waiting in self._sessions.values() for session in waiting]
        for session in idle:
            session.idle_until = None
        self._sessions.clear()
        self._count = 0
        return idle

    def _close(self, session: DeliverySession) -> None:
        waiting = self._sessions[session.key]
        waiting.remove(session)
        self._count -= 1
        if not waiting:
            del self._sessions[session.key]
        session.idle_until = None
        quit_session(session)

    # --- time: each session is looked at when it may have been idle too long, however often it is used meanwhile

    def _watch(self, session: DeliverySession, until: float) -> None:
        session.watched = True
        heappush(self._watched, (until, next(_numbers), session))
        self._wake_at(until)

    def _wake_at(self, when: float) -> None:
        """See to it that ``_sweep`` runs at ``when``, or before."""
        if self._timer is not None and self._timer.when() <= when:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle too long; come back when the next one may have been."""
        self._timer, now = None, asyncio.get_running_loop().time()
        while self._watched and self._watched[0][0] <= now:
            _, _, session = heappop(self._watched)
            session.watched = False
            if session.idle_until is None:
                continue
            if session.idle_until <= now or not session.protocol.usable:
                self._close(session)
            else:
                self._watch(session, session.idle_until)
        if self._watched:
            self._wake_at(self._watched[0][0])


def _end(session: DeliverySession) -> float:
    return session.idle_until or 0.0


def quit_session(session: DeliverySession) -> None:
    """Send QUIT, without waiting for the reply here."""
    session.protocol.quit(QUIT_TIMEOUT)
