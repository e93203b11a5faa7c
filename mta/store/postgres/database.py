"""Connections to PostgreSQL: a deadline for each call, automatic recovery.

A call borrows a connection by ``session()``. When its deadline passes the connection is cut: the call fails at once,
whatever the server is doing, and the server drops the work when it notices. Any failure between us and the server
becomes StoreUnavailable; errors in our own SQL and rejected data keep their type.

The driver does not promise what it raises on a connection that ends while it is in use (AttributeError of its own
fields, RuntimeError of the event loop, EOFError have been seen), so such errors are not listed: whatever comes out of
the driver on a closed connection is the connection's trouble (``_lost``). An error of our own code keeps its type even
then.

Invariants: no caller waits longer than its deadline; a connection that failed is never reused; no traceback is logged
because the server is away.

Limitations: uses prepared statements and session settings, so a pooler in between must pool by session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf
from time import monotonic
from typing import TypeVar

import asyncpg

from config import schema
from mta.observe.background import BackgroundTasks
from mta.observe.labels import BackgroundTask
from mta.observe.log import Sparingly, get_logger
from mta.store.postgres import migrate
from mta.store.postgres.array_types import make_known
from mta.store.postgres.connection_pool import ConnectionPool
from mta.store.postgres.errors import OutcomeUnknown, SchemaError, StoreFull, StoreUnavailable

log = get_logger()

Connection = asyncpg.Connection
T = TypeVar("T")

_RELISTEN = (0.1, 2.0)  # seconds between tries to listen again: first, longest
_FULL_WORDS = ("No space left on device", "Disk quota exceeded")
FULL_LASTS = 5.0  # seconds after which a full database is tried again
_PING = 10.0  # seconds after which a silent listening connection is asked whether it lives
_SESSION = {
    "application_name": "imprimatur",
    # Tables that are empty now and full in a minute mislead the planner: our statements are written for one plan each.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "timezone": "UTC",
    "client_connection_check_interval": "2s",  # a call that we cut off frees its locks soon
    "idle_in_transaction_session_timeout": "30s",
    # A machine of ours that is gone, or cut off, holds locks no longer than this. Without meaning on a local socket.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25s",
}

# What we have cut off may still hold its locks: the server notices between two messages of ours only by keepalives.
_END_LOST = """
select pg_terminate_backend(pid) from pg_stat_activity
where pid = any($1::int[]) and application_name = 'imprimatur' and usename = current_user
    and pid <> pg_backend_pid()"""

GONE = (  # the server, or the way to it, is in trouble: not the statement
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, after a failover
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InternalClientError,
    asyncpg.TargetServerAttributeNotMatched,
    OSError,
    EOFError,
    TimeoutError,
    SchemaError,
)


class FullDisk:
    """When the database last said that its disk is full; one log line a minute about it."""

    def __init__(self) -> None:
        self._said_at = -inf
        self._lines = Sparingly()

    def __bool__(self) -> bool:
        """Whether it has just said so: then clients need not send what it would not take."""
        return monotonic() - self._said_at < FULL_LASTS

    def note(self, words: str) -> None:
        self._said_at = monotonic()
        if self._lines.due():
            log.error("the database's disk is full", reason=words)


class Database:
    """A small pool. ``Database.connect`` makes it. ``tasks``: those of the process, for all parts of the store."""

    def __init__(
        self,
        dsn: str,
        settings: schema.DatabaseSettings,
        tasks: BackgroundTasks | None = None,
    ) -> None:
        self.tasks = tasks or BackgroundTasks()
        self._dsn = dsn
        self._timeout = settings.timeout
        self._pool = ConnectionPool(settings.pool_size, self._open)
        self._in_use: set[Connection] = set()
        self._lost: set[int] = set()  # processes of the server whose connection was lost in use
        self._channels: dict[str, list[Callable[[str | None], None]]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._channels_changed = asyncio.Event()
        self._listens = asyncio.Event()
        self._closed = False
        self.full = FullDisk()

    @classmethod
    async def connect(
        cls, dsn: str, settings: schema.DatabaseSettings, tasks: BackgroundTasks | None = None
    ) -> Database:
        """A pool whose first connection works. Raises StoreUnavailable."""
        database = cls(dsn, settings, tasks)
        async with database.session():
            return database

    async def close(self) -> None:
        """Cut all connections; calls under way fail."""
        self._closed = True
        if self._listening:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        for busy in self._in_use:
            busy.terminate()
        while connection := self._pool.pop():
            await _end(connection)

    @property
    def timeout(self) -> float:
        """Seconds that a call may take, unless it says otherwise."""
        return self._timeout

    @asynccontextmanager
    async def session(self, seconds: float | None = None) -> AsyncIterator[Connection]:
        """A connection for at most ``seconds`` (database.timeout if not given), waiting for it included.

        Raises StoreUnavailable; its subclass OutcomeUnknown once the caller may have sent a statement, StoreFull.
        """
        loop = asyncio.get_running_loop()
        seconds = self._timeout if seconds is None else seconds
        deadline = loop.time() + seconds
        connection = await self._borrow(deadline)
        alarm, backend = loop.call_at(deadline, connection.terminate), connection.get_server_pid()
        self._in_use.add(connection)
        sound = False
        try:
            yield connection
            sound = True
        except Exception as error:
            if is_full(error):
                sound = True
                self.full.note(_words(error))
                raise StoreFull(_words(error)) from None
            if isinstance(error, GONE) or (connection.is_closed() and _from_driver(error)):
                raise OutcomeUnknown(_words(error, loop.time() >= deadline, seconds), backend) from None
            # The server's refusal, or a value that cannot be sent, leaves the connection as it was.
            sound = isinstance(error, (asyncpg.PostgresError, ValueError))
            raise
        finally:
            alarm.cancel()
            self._in_use.discard(connection)
            if sound and not self._closed and not connection.is_closed() and not connection.is_in_transaction():
                self._pool.give_back(connection)
            else:
                self._pool.drop(connection)
                self._lost.add(backend)

    async def retried(self, work: Callable[[Connection], Awaitable[T]], *, seconds: float | None = None) -> T:
        """The result of ``work`` in one transaction, tried again when it collides with another one.

        Raises as ``session``.
        """
        async with self.session(seconds) as connection:
            while True:
                try:
                    async with connection.transaction():
                        return await work(connection)
                except asyncpg.TransactionRollbackError:  # serialization failure or deadlock: the other one has won
                    continue

    async def _borrow(self, deadline: float) -> Connection:
        if not self._lost and (connection := await self._pool.take_idle()):  # the usual case, without a timer
            return connection
        return await self._wait_for_one(deadline)

    async def _wait_for_one(self, deadline: float) -> Connection:
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._pool.take()
                if self._lost:
                    await self._end_lost(connection)
                return connection
        except TimeoutError:
            raise StoreUnavailable("no connection to the database in time") from None
        except Exception as error:
            if isinstance(error, GONE) or _from_driver(error):
                raise StoreUnavailable(_words(error)) from None
            raise

    async def _end_lost(self, connection: Connection) -> None:
        """End what the server may still be doing for connections that we have lost: it holds locks."""
        lost = list(self._lost)
        try:
            await connection.execute(_END_LOST, lost)
        except BaseException:
            self._pool.drop(connection)
            raise
        self._lost.difference_update(lost)

    async def _open(self) -> Connection:
        connection = await asyncpg.connect(
            self._dsn, server_settings=_SESSION, statement_cache_size=200, max_cached_statement_lifetime=0
        )
        make_known(connection)
        try:
            await migrate.check(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    # notifications

    async def listen(self, channel: str, callback: Callable[[str | None], None]) -> None:
        """Call ``callback(payload)`` for each notification; ``callback(None)`` when some may have been missed.

        Returns once the server is listening, or after database.timeout; it goes on trying by itself.
        """
        self._channels.setdefault(channel, []).append(callback)
        self._listens.clear()
        self._channels_changed.set()
        if self._listening is None:
            self._listening = self.tasks.start(BackgroundTask.NOTIFICATIONS, self._keep_listening)
        try:
            async with asyncio.timeout(self._timeout):
                await self._listens.wait()
        except TimeoutError:
            pass

    async def _keep_listening(self) -> None:
        wait = _RELISTEN[0]
        while True:
            try:
                await self._listen_once()
                wait = _RELISTEN[0]
            except Exception as error:
                if not (isinstance(error, GONE) or _from_driver(error)):
                    raise
                wait = min(2 * wait, _RELISTEN[1])
            finally:
                self._listens.clear()
                self._missed()
            await asyncio.sleep(wait)

    async def _listen_once(self) -> None:
        """Listen until the connection ends."""
        async with asyncio.timeout(self._timeout):
            connection = await asyncpg.connect(self._dsn, server_settings={"application_name": "imprimatur listening"})
        try:
            connection.add_termination_listener(lambda _: self._channels_changed.set())
            heard: set[str] = set()
            while not connection.is_closed():
                self._channels_changed.clear()
                async with asyncio.timeout(self._timeout):
                    for channel in self._channels.keys() - heard:
                        await connection.add_listener(channel, self._notified)
                    if heard != self._channels.keys():
                        heard = set(self._channels)
                        self._missed()
                    await connection.execute("select 1")
                self._listens.set()
                try:
                    async with asyncio.timeout(_PING):
                        await self._channels_changed.wait()
                except TimeoutError:
                    pass
        finally:
            connection.terminate()

    def _notified(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        for callback in self._channels[channel]:
            callback(str(payload))

    def _missed(self) -> None:
        for callbacks in self._channels.values():
            for callback in callbacks:
                callback(None)


async def _end(connection: Connection) -> None:
    try:
        await connection.close(timeout=1)
    except Exception as error:
        connection.terminate()
        if not (isinstance(error, GONE) or _from_driver(error)):
            raise


def row_count(status: str) -> int:
    """Return the number of rows in the status of a command: 5 of ``UPDATE 5``."""
    return int(status.rpartition(" ")[2])


def is_full(error: BaseException) -> bool:
    """Whether the server says that its disk is full, or its quota used up (for which there is no code)."""
    return isinstance(error, asyncpg.DiskFullError) or (
        isinstance(error, asyncpg.PostgresError) and any(words in str(error) for words in _FULL_WORDS)
    )


def _from_driver(error: BaseException) -> bool:
    """Whether an error was raised by the driver, or by what it called: not by code of ours that was called by none."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] == "asyncpg":
            return True
        trace = trace.tb_next
    return False


def _words(error: BaseException, late: bool = False, seconds: float = 0.0) -> str:
    """What went wrong, in one line, without the DSN."""
    if late:
        return f"the database did not answer within {seconds:g} s"
    return str(error).split("\n", 1)[0] or type(error).__name__
