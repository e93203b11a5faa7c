"""Listening sockets, the PROXY header in front of some of them, and the orderly shutdown of sessions.

``bind`` makes a socket (in the supervisor, which may use low ports), ``Listeners`` serves on them (in each worker).

A listener with ``proxy_from`` requires a PROXY header from the peers in that list, and believes it. Any other peer is
the client itself: a PROXY header from it is an unknown command.

Invariants: accepting goes on when file descriptors run out. Nothing is read past a PROXY header (what follows may be
TLS). A commit is not interrupted.

Limitations: processes that share a socket take connections as they come to it: an idle one sooner than a busy one, but
not in turn.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from config.schema import Limits, Listener, ListenerTls
from mta.mail.message import IPAddress
from mta.mail.reply import Reply
from mta.observe.background import BackgroundTasks
from mta.observe.disk import DiskWatch
from mta.observe.events import EventLog
from mta.observe.labels import BackgroundTask
from mta.observe.log import Sparingly, get_logger
from mta.observe.metrics import Metrics
from mta.observe.trace import Trace
from mta.smtp_server import proxy
from mta.smtp_server.auth.authenticator import Authenticator
from mta.smtp_server.connection import HANDSHAKE, Connection
from mta.smtp_server.handler import MessageHandler, ServerContext, client_address, enter
from mta.smtp_server.limits import MemoryBudget, Slot
from mta.smtp_server.proxy import MAX_HEADER, ProxyError
from mta.smtp_server.replies import encode
from mta.smtp_server.spool import Spool

log = get_logger()

BACKLOG = 4096
HEADER_TIMEOUT = 10.0  # seconds for a PROXY header
ACCEPT_PAUSE = 0.5  # seconds when there are no file descriptors
COMMIT_TIMEOUT = 30.0  # seconds for what the handler has begun, after everything else was cut

_HINTS = {
    errno.EADDRINUSE: "`ss -ltnp 'sport = :{port}'` shows which process does; stop it, or change the configuration",
    errno.EACCES: "ports below 1024 are for root (with server.user) or need CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine does not have that address; change the configuration",
}


class ListenError(OSError):
    """Why nothing can listen at an address; the text is for the operator."""


class ListenAddress(Protocol):
    """Where to listen: an IP address, and a TCP port."""

    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...


def bind(listener: ListenAddress) -> socket.socket:
    """Return a socket for ``listener``, not yet listening. Raises ListenError if another process listens there."""
    bound = socket.socket(_family(listener), socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted ones inherit it
        _bind(bound, listener)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _family(listener: ListenAddress) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in listener.address else socket.AF_INET


def _bind(unbound: socket.socket, listener: ListenAddress) -> None:
    if unbound.family == socket.AF_INET6:
        unbound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, listener.address != "::")
    try:
        unbound.bind((listener.address, listener.port))
    except OSError as error:
        raise _listen_error(listener, error) from error


def listen(listener: ListenAddress, bound: socket.socket) -> None:
    """Let clients connect; they wait until a worker accepts them. Raises ListenError if another process was faster."""
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        raise _listen_error(listener, error) from error


def _listen_error(listener: ListenAddress, error: OSError) -> ListenError:
    hint = _HINTS.get(error.errno or 0, "see the listeners in the configuration").format(port=listener.port)
    place = f"[{listener.address}]" if ":" in listener.address else listener.address
    return ListenError(f"cannot listen on {place}:{listener.port}: {error.strerror}; {hint}")


@dataclass(slots=True)
class _Endpoint:
    """``accepting``: a server of the loop, or a task of ours where something comes before the session."""

    listener: Listener
    socket: socket.socket
    accepting: asyncio.Server | asyncio.Task[None] | None = None


class Listeners:
    """The listeners of one process that share a ``handler``, and their sessions. ``authenticator``, ``spool``,
    ``postmaster_domain`` and ``disk``: as in ``ServerContext``.
    """

    def __init__(
        self,
        limits: Limits,
        sockets: Sequence[tuple[Listener, socket.socket]],
        *,
        hostname: str,
        tls: ssl.SSLContext,
        handler: MessageHandler,
        authenticator: Authenticator | None,
        trace: Trace,
        events: EventLog,
        metrics: Metrics,
        tasks: BackgroundTasks,
        spool: Spool | None = None,
        postmaster_domain: str | None = None,
        disk: DiskWatch | None = None,
    ) -> None:
        self._tasks = tasks
        self._context = ServerContext(
            hostname=hostname,
            limits=limits,
            tls=tls,
            handler=handler,
            authenticator=authenticator,
            message_budget=MemoryBudget(limits.message_memory),
            trace=trace,
            events=events,
            metrics=metrics,
            spool=spool,
            postmaster_domain=postmaster_domain,
            disk=disk,
        )
        self._endpoints = [_Endpoint(listener, bound) for listener, bound in sockets]
        self._introductions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Accept connections. Raises OSError."""
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd's; it would show messages and AUTH
        for endpoint in self._endpoints:
            await self._open(endpoint)

    async def reload(
        self,
        listeners: Sequence[Listener],
        limits: Limits,
        tls: ssl.SSLContext,
        postmaster_domain: str | None = None,
    ) -> None:
        """Take over new settings. Addresses, ports and their number stay; sessions go on. Raises OSError."""
        self._context.limits = limits
        if self._context.authenticator:
            self._context.authenticator.limits = limits
        self._context.message_budget.most = limits.message_memory
        if self._context.spool:
            self._context.spool.most = limits.message_disk
        self._context.tls, self._context.postmaster_domain = tls, postmaster_domain
        named = {(listener.address, listener.port): listener for listener in listeners}
        for endpoint in self._endpoints:
            before = endpoint.listener
            endpoint.listener = named.get((before.address, before.port), before)
            if _has_prelude(before) != _has_prelude(endpoint.listener):
                self._close(endpoint)
                await self._open(endpoint)

    async def stop(self, grace: float) -> None:
        """Stop accepting; idle sessions end now, transactions within ``grace`` seconds, commits when they are done."""
        self._context.closing = True
        for endpoint in self._endpoints:
            self._close(endpoint)
            endpoint.socket.close()
        for introduction in self._introductions:
            introduction.cancel()
        for session in list(self._context.sessions):
            session.finish()
        if not await self._all_ended(grace):
            for session in list(self._context.sessions):
                session.cut()
            await self._all_ended(COMMIT_TIMEOUT)
        if self._context.authenticator:
            self._context.authenticator.close()
        if self._context.spool:
            self._context.spool.close()

    async def _all_ended(self, seconds: float) -> bool:
        """Wait for the sessions to end; return False if some are left after ``seconds``."""
        tasks = [session.task for session in self._context.sessions]
        return not tasks or not (await asyncio.wait(tasks, timeout=seconds))[1]

    async def _open(self, endpoint: _Endpoint) -> None:
        loop = asyncio.get_running_loop()
        if _has_prelude(endpoint.listener):
            endpoint.socket.listen(BACKLOG)
            endpoint.accepting = self._tasks.start(BackgroundTask.ACCEPT, lambda: self._accept(endpoint))
        else:
            endpoint.accepting = await loop.create_server(
                lambda: Connection(self._context, endpoint.listener), sock=endpoint.socket.dup(), backlog=BACKLOG
            )

    def _close(self, endpoint: _Endpoint) -> None:
        match endpoint.accepting:
            case asyncio.Task() as task:
                task.cancel()
            case None:
                pass
            case server:
                server.close()
        endpoint.accepting = None

    async def _accept(self, endpoint: _Endpoint) -> None:
        """Accept connections that begin with a PROXY header or a TLS handshake."""
        loop, lines = asyncio.get_running_loop(), Sparingly()
        while True:
            try:
                connection, peer = await loop.sock_accept(endpoint.socket)
            except OSError as error:  # no file descriptors, or the client has gone
                if count := lines.due():
                    log.warning("accept failed", reason=str(error), times=count, listener=endpoint.listener.place)
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if len(self._introductions) >= self._context.limits.connections:
                connection.close()
                continue
            introduction = loop.create_task(self._introduce(endpoint.listener, connection, client_address(peer[0])))
            self._introductions.add(introduction)
            introduction.add_done_callback(self._introductions.discard)

    async def _introduce(self, listener: Listener, connection: socket.socket, peer: IPAddress) -> None:
        """Find out who the client is, count it, and begin its session, encrypted where the port is."""
        try:
            client = await _identify(listener, connection, peer)
            slot = enter(self._context, client)
            if isinstance(slot, Reply):
                if listener.tls is not ListenerTls.IMPLICIT:  # to tell it there would take a handshake
                    connection.send(encode(slot))
                raise _NotAdmitted(slot.text)
            await self._begin(Connection(self._context, listener, client, slot), listener, connection, slot)
        except (OSError, ProxyError, _NotAdmitted) as error:
            log.info("connection closed before its session", peer=str(peer), reason=str(error) or "timeout")
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    async def _begin(self, session: Connection, listener: Listener, connection: socket.socket, slot: Slot) -> None:
        implicit = listener.tls is ListenerTls.IMPLICIT
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: session,
                connection,
                ssl=self._context.tls if implicit else None,
                ssl_handshake_timeout=HANDSHAKE if implicit else None,
            )
        finally:
            if not session.has_begun:
                slot.leave()


class _NotAdmitted(Exception):
    """There are too many connections."""


def _has_prelude(listener: Listener) -> bool:
    return bool(listener.proxy_from) or listener.tls is ListenerTls.IMPLICIT


async def _identify(listener: Listener, connection: socket.socket, peer: IPAddress) -> IPAddress:
    """Return the client's address: what a listed balancer says, or the peer's own. Raises ProxyError, OSError."""
    if not any(peer in network for network in listener.proxy_from):
        return peer
    async with asyncio.timeout(HEADER_TIMEOUT):
        address = await _read_header(connection)
    return client_address(str(address)) if address else peer


async def _read_header(connection: socket.socket) -> IPAddress | None:
    """Return the address in the PROXY header; what follows it stays in the socket. Raises ProxyError, OSError."""
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
