"""The doors: listening sockets, the PROXY header in front of some of them, and the orderly end of it all.

``bind`` makes a socket (in the supervisor, which may use low ports), ``Listeners`` serves on them (in each worker).

A listener with ``proxy_from`` requires a PROXY header from the peers in that list, and believes it. Everybody else is
taken for who they are: a PROXY header from them is an unknown command.

It must never stop for want of file descriptors, never read past a PROXY header (what follows may be TLS), and never
cut a commit short.

*Limits.* Where several processes listen on one address the kernel deals out connections by hash, not by load.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from config.schema import Limits, Listener, ListenerTls
from mta.mail.message import IPAddress
from mta.observe.events import EventLog
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.observe.trace import Trace
from mta.smtp_server import proxy
from mta.smtp_server.auth.authenticator import Authenticator
from mta.smtp_server.client import MessageHandler, client_address
from mta.smtp_server.connection import HANDSHAKE, Connection
from mta.smtp_server.context import ServerContext
from mta.smtp_server.limits import MemoryBudget
from mta.smtp_server.proxy import MAX_HEADER, ProxyError
from mta.smtp_server.replies import encode

log = get_logger()

BACKLOG = 4096
HEADER_TIMEOUT = 10.0  # seconds for a PROXY header
ACCEPT_PAUSE = 0.5  # seconds when there are no file descriptors
COMMIT_TIMEOUT = 30.0  # seconds for what the next stage has begun, after everything else was cut

_HINTS = {
    errno.EADDRINUSE: "`ss -ltnp 'sport = :{port}'` shows who does; end it, or change the listeners",
    errno.EACCES: "ports below 1024 are for root (with server.user) or need CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine does not have that address; change the listeners",
}


class ListenError(OSError):
    """Why nothing can listen at an address; the text is for the operator."""


def require_free(listener: Listener) -> None:
    """Raise ListenError if somebody listens at the address already, be it another service of the same user.

    ``bind`` alone would share the port with that one, and chance would decide where a connection goes.
    """
    with socket.socket(_family(listener), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, listener)


def bind(listener: Listener) -> socket.socket:
    """A socket for ``listener``, not yet listening; several processes may bind the same address. Raises OSError."""
    bound = socket.socket(_family(listener), socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted ones inherit it
        _bind(bound, listener)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _family(listener: Listener) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in listener.address else socket.AF_INET


def _bind(unbound: socket.socket, listener: Listener) -> None:
    if unbound.family == socket.AF_INET6:
        unbound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, listener.address != "::")
    try:
        unbound.bind((listener.address, listener.port))
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "see the listeners in the configuration")
        raise ListenError(
            f"cannot listen on {listener.place}: {error.strerror}; {hint.format(port=listener.port)}"
        ) from error


@dataclass(slots=True)
class _Door:
    """``open`` is what accepts: a server of the loop, or a task of ours where something comes before the session."""

    listener: Listener
    socket: socket.socket
    open: asyncio.Server | asyncio.Task[None] | None = None


class Listeners:
    """Doors of one process that lead to the same ``reception``, and the sessions behind them.

    Without ``authenticator`` there is no AUTH, and nobody needs it. ``home``: as in ``ServerContext``.
    """

    def __init__(
        self,
        limits: Limits,
        sockets: Sequence[tuple[Listener, socket.socket]],
        *,
        hostname: str,
        tls: ssl.SSLContext,
        reception: MessageHandler,
        authenticator: Authenticator | None,
        trace: Trace,
        events: EventLog,
        metrics: Metrics,
        home: str | None = None,
    ) -> None:
        self._service = ServerContext(
            hostname=hostname,
            limits=limits,
            tls=tls,
            reception=reception,
            authenticator=authenticator,
            room=MemoryBudget(limits.message_memory),
            trace=trace,
            events=events,
            metrics=metrics,
            home=home,
        )
        self._doors = [_Door(listener, bound) for listener, bound in sockets]
        self._arrivals: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Accept connections. Raises OSError."""
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd's; it would show messages and AUTH
        for door in self._doors:
            await self._open(door)

    async def reload(
        self, listeners: Sequence[Listener], limits: Limits, tls: ssl.SSLContext, home: str | None = None
    ) -> None:
        """Take over new settings. Addresses, ports and their number stay; sessions go on. Raises OSError."""
        self._service.limits = limits
        if self._service.authenticator:
            self._service.authenticator.limits = limits
        self._service.room.most = limits.message_memory
        self._service.tls, self._service.home = tls, home
        named = {(listener.address, listener.port): listener for listener in listeners}
        for door in self._doors:
            before = door.listener
            door.listener = named.get((before.address, before.port), before)
            if _has_prelude(before) != _has_prelude(door.listener):
                self._close(door)
                await self._open(door)

    async def stop(self, grace: float) -> None:
        """Accept no more; idle sessions end now, transactions within ``grace`` seconds, commits when they are done."""
        self._service.closing = True
        for door in self._doors:
            self._close(door)
            door.socket.close()
        for arrival in self._arrivals:
            arrival.cancel()
        for session in list(self._service.sessions):
            session.finish()
        if not await self._all_ended(grace):
            for session in list(self._service.sessions):
                session.cut()
            await self._all_ended(COMMIT_TIMEOUT)
        if self._service.authenticator:
            self._service.authenticator.close()

    async def _all_ended(self, seconds: float) -> bool:
        """Wait for the sessions to end; False if some are left after ``seconds``."""
        tasks = [session.task for session in self._service.sessions]
        return not tasks or not (await asyncio.wait(tasks, timeout=seconds))[1]

    async def _open(self, door: _Door) -> None:
        loop = asyncio.get_running_loop()
        if _has_prelude(door.listener):
            door.socket.listen(BACKLOG)
            door.open = loop.create_task(self._accept(door))
        else:
            door.open = await loop.create_server(
                lambda: Connection(self._service, door.listener), sock=door.socket.dup(), backlog=BACKLOG
            )

    def _close(self, door: _Door) -> None:
        match door.open:
            case asyncio.Task() as task:
                task.cancel()
            case None:
                pass
            case server:
                server.close()
        door.open = None

    async def _accept(self, door: _Door) -> None:
        """Take connections that begin with a PROXY header or a TLS handshake."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(door.socket)
            except OSError as error:  # no file descriptors, or the client has gone
                log.warning("a connection could not be accepted", reason=str(error))
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if len(self._arrivals) >= self._service.limits.connections:
                connection.close()
                continue
            arrival = loop.create_task(self._introduce(door.listener, connection, client_address(peer[0])))
            self._arrivals.add(arrival)
            arrival.add_done_callback(self._arrivals.discard)

    async def _introduce(self, listener: Listener, connection: socket.socket, peer: IPAddress) -> None:
        """Find out who the client is, count it, and begin its session, encrypted where the port is."""
        try:
            client = await _identify(listener, connection, peer)
            if refusal := self._service.connections.enter(client, self._service.limits):
                if listener.tls is not ListenerTls.IMPLICIT:  # to tell it there would take a handshake
                    connection.send(encode(refusal))
                raise _Unwelcome(refusal.text)
            await self._begin(Connection(self._service, listener, client), listener, connection, client)
        except (OSError, ProxyError, _Unwelcome) as error:
            log.info("a connection ended before its session", peer=str(peer), reason=str(error) or "timeout")
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    async def _begin(
        self, session: Connection, listener: Listener, connection: socket.socket, client: IPAddress
    ) -> None:
        implicit = listener.tls is ListenerTls.IMPLICIT
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: session,
                connection,
                ssl=self._service.tls if implicit else None,
                ssl_handshake_timeout=HANDSHAKE if implicit else None,
            )
        finally:
            if not session.has_begun:
                self._service.connections.leave(client)


class _Unwelcome(Exception):
    """There are too many connections."""


def _has_prelude(listener: Listener) -> bool:
    return bool(listener.proxy_from) or listener.tls is ListenerTls.IMPLICIT


async def _identify(listener: Listener, connection: socket.socket, peer: IPAddress) -> IPAddress:
    """The client's address: what a listed balancer says, or the peer's own. Raises ProxyError, OSError."""
    if not any(peer in network for network in listener.proxy_from):
        return peer
    async with asyncio.timeout(HEADER_TIMEOUT):
        said = await _read_header(connection)
    return client_address(str(said)) if said else peer


async def _read_header(connection: socket.socket) -> IPAddress | None:
    """The address in the PROXY header; what follows it stays in the socket. Raises ProxyError, OSError."""
    header = b""
    while True:
        await _readable(connection)
        ahead = connection.recv(MAX_HEADER, socket.MSG_PEEK)
        if not ahead:
            raise ProxyError("the connection was closed")
        length = proxy.measure(header + ahead)
        header += connection.recv(len(ahead) if length is None else length - len(header))
        if length == len(header):
            return proxy.read(header)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection.fileno(), _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection.fileno())


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
