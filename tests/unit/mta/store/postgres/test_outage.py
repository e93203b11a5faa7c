"""The database away, slow, restarted, cut off: nobody waits too long, nothing is lost, all heals by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from config.schema import DatabaseSettings as DatabaseSettings
from mta.mail.address import Address
from mta.store.postgres.embedded import EmbeddedPostgres
from mta.store.postgres.errors import SchemaError, StoreUnavailable
from mta.store.postgres.migrate import migrate
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.unit.mta.queue.rig import outcome_recorder
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")
QUICK = DatabaseSettings(timeout="1s")


@pytest.fixture
async def quick(database_url: str, secrets: Secrets) -> AsyncIterator[Store]:
    """A store that gives up after a second."""
    store = await Store.open(database_url, QUICK, secrets)
    await store.lease.register()
    yield store
    await store.close()


@pytest.fixture
async def shaky(own_postgres: EmbeddedPostgres, secrets: Secrets) -> AsyncIterator[Store]:
    """A store on a server of its own."""
    dsn = await asyncio.to_thread(own_postgres.start)
    await migrate(dsn)
    store = await Store.open(dsn, QUICK, secrets)
    await store.lease.register()
    yield store
    await store.close()


async def admin(store: Store) -> asyncpg.Connection:
    return await asyncpg.connect(store._database._dsn)


async def cut_all(store: Store) -> None:
    """End every connection of the store, from the server's side."""
    connection = await admin(store)
    await connection.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where application_name like 'imprimatur%' and datname = current_database()"
    )
    await connection.close()


CALLS: list[Callable[[Store], Awaitable[object]]] = [
    lambda store: store.messages.enqueue(make.accepted(), leased=True),
    lambda store: store.suppressions.find(1, [ANN]),
    lambda store: store.messages.content(make.message().id),
    lambda store: store.messages.claim(deliveries=1, octets=1),
    lambda store: store.ping(),
]


async def test_calls_survive_connections_that_were_cut_while_idle(quick: Store) -> None:
    for _ in range(3):
        await cut_all(quick)
        await quick.ping()
        await make.write(quick, make.result(await make.put(quick)))
    assert await make.count(quick, "event") == 3


async def test_a_server_that_hangs_is_unavailable_in_time(shaky: Store, own_postgres: EmbeddedPostgres) -> None:
    await make.put(shaky)
    frozen = _server_processes(own_postgres)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        for call in CALLS:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await call(shaky)
            assert time.monotonic() - began < 3
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    await make.until(lambda: not shaky.messages._doubtful)
    assert await make.count(shaky, "queue") == 1
    assert await make.count(shaky, "message") == 1


async def test_a_locked_table_is_unavailable_in_time_and_leaves_nothing_behind(quick: Store) -> None:
    blocker = await admin(quick)
    await blocker.execute("begin; lock table queue, suppression in access exclusive mode")
    began = time.monotonic()
    answers = await asyncio.gather(
        *(quick.messages.enqueue(make.accepted(), leased=True) for _ in range(5)),
        quick.suppressions.find(1, [ANN]),
        return_exceptions=True,
    )
    assert time.monotonic() - began < 3
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    await blocker.execute("commit")
    await blocker.close()
    await make.until(lambda: not quick.messages._doubtful)
    assert [await make.count(quick, each) for each in ("queue", "content", "message")] == [0, 0, 0]
    await make.put(quick)


async def test_who_waits_behind_a_slow_flush_waits_no_longer_than_agreed(quick: Store) -> None:
    blocker = await admin(quick)
    await blocker.execute("begin; lock table queue in access exclusive mode")
    began = time.monotonic()

    async def late(delay: float) -> float:
        await asyncio.sleep(delay)
        came = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await quick.messages.enqueue(make.accepted(), leased=True)
        return time.monotonic() - came

    waits = await asyncio.gather(*(late(delay) for delay in (0, 0.1, 0.2, 0.3, 0.4)))
    assert max(waits) < 1.7  # not as long as the flush before and one's own
    assert time.monotonic() - began < 3
    await blocker.close()


async def test_outcomes_are_held_until_the_database_is_back(shaky: Store, own_postgres: EmbeddedPostgres) -> None:
    deliveries = [await make.put(shaky, f"user{n}@example.net") for n in range(20)]
    await asyncio.to_thread(own_postgres.stop)
    recorder = outcome_recorder(shaky)
    committing = [asyncio.create_task(recorder.commit(make.result(each))) for each in deliveries]
    with pytest.raises(StoreUnavailable):
        await shaky.suppressions.find(1, [ANN])
    assert recorder.pending == 20
    assert not await recorder.drain(0.01)
    await asyncio.to_thread(own_postgres.start)
    async with asyncio.timeout(30):
        await asyncio.gather(*committing)
    assert recorder.pending == 0
    assert [await make.count(shaky, each) for each in ("queue", "content", "event")] == [0, 0, 20]


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(int(os.environ.get("CRASH_SEEDS", "2"))))
async def test_a_killed_server_loses_nothing_that_was_promised(
    shaky: Store, own_postgres: EmbeddedPostgres, seed: int
) -> None:
    """Messages flow; the server is killed at some moment. What was acknowledged is there, what was refused is not."""
    recorder = outcome_recorder(shaky)
    promised, refused, settled = set(), set(), set()

    async def client(waits: bool) -> None:
        """``waits``: for outcomes too. These are held back until the database is there again."""
        while not stop.is_set():
            accepted = make.accepted(size=9000)
            try:
                (delivery,) = make.leased(await shaky.messages.enqueue(accepted, leased=True))
            except StoreUnavailable:
                refused.add(accepted.message.id)
                await asyncio.sleep(0.01)
                continue
            promised.add(accepted.message.id)
            if waits and len(promised) % 3 == 0:
                await recorder.commit(make.result(delivery))
                settled.add(accepted.message.id)

    stop = asyncio.Event()
    clients = [asyncio.create_task(client(n % 2 == 0)) for n in range(8)]
    await asyncio.sleep(0.05 + 0.037 * seed)
    for pid in _server_processes(own_postgres)[:1]:
        os.kill(pid, signal.SIGKILL)
    await make.until(lambda: refused)
    await asyncio.to_thread(own_postgres.start)
    await make.until(lambda: recorder.pending == 0)
    stop.set()
    await asyncio.gather(*clients)
    await make.until(lambda: not shaky.messages._doubtful)
    async with shaky._database.session(60) as connection:
        known = {row[0] for row in await connection.fetch("select id from message")}
        queued = {row[0] for row in await connection.fetch("select message_id from queue")}
        contents = {row[0] for row in await connection.fetch("select message_id from content")}
        events = [row[0] for row in await connection.fetch("select message_id from event")]
    assert known == promised
    assert queued == promised - settled
    assert queued <= contents  # the ring keeps more for a while
    assert sorted(events) == sorted(settled)


async def test_a_second_program_that_upgraded_the_schema_is_noticed(quick: Store) -> None:
    await make.execute(quick, "insert into schema_migration values (9999, 'later', '', 9999)")
    await cut_all(quick)
    with pytest.raises(StoreUnavailable, match="newer than this program's"):
        await quick.ping()


async def test_a_database_without_our_schema_is_refused(postgres_server: str, secrets: Secrets) -> None:
    with pytest.raises((StoreUnavailable, SchemaError), match="older than this program's"):
        await Store.open(postgres_server, QUICK, secrets)


async def test_no_connection_is_left_behind(quick: Store) -> None:
    blocker = await admin(quick)
    for _ in range(3):
        await blocker.execute("begin; lock table suppression in access exclusive mode")
        calls = [asyncio.create_task(quick.suppressions.find(1, [ANN])) for _ in range(20)]
        await asyncio.sleep(0.1)
        for call in calls[::2]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await blocker.execute("commit")
    await asyncio.gather(*(quick.suppressions.find(1, [ANN]) for _ in range(20)))
    assert quick._database._pool._free._value == QUICK.pool_size
    async with asyncio.timeout(10):
        while (  # noqa: ASYNC110 - the server's own processes
            await blocker.fetchval(
                "select count(*) from pg_stat_activity where application_name = 'imprimatur'"
                " and datname = current_database()"
            )
            > QUICK.pool_size
        ):
            await asyncio.sleep(0.05)
    await blocker.close()


async def test_listening_goes_on_after_a_cut_and_says_that_something_may_have_been_missed(quick: Store) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    await quick.listen("suppressed", heard.put_nowait)
    while not heard.empty():
        heard.get_nowait()
    await cut_all(quick)
    async with asyncio.timeout(10):
        assert await heard.get() is None
        await quick.suppressions.add(1, ANN, detail="unsubscribed")
        key = quick.suppressions._secrets.address_key(ANN).hex()
        while await heard.get() != key:
            await quick.suppressions.add(1, ANN, detail="unsubscribed")


async def test_nothing_about_an_outage_shows_the_password(secrets: Secrets) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        await Store.open("postgresql://user:hunter2@127.0.0.1:1/none", QUICK, secrets)
    assert "hunter2" not in str(raised.value)


def _server_processes(server: EmbeddedPostgres) -> list[int]:
    """The server's process and its children, the parent first."""
    parent = int((server.directory / "postmaster.pid").read_text().split()[0])
    return [parent, *_children(parent)]


def _children(parent: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            yield int(stat.parent.name)


async def test_who_closes_cuts_the_calls_under_way(database_url: str, secrets: Secrets) -> None:
    store = await Store.open(database_url, DatabaseSettings(), secrets)
    call = asyncio.create_task(make.execute(store, "select pg_sleep(60)"))
    await make.until(lambda: store._database._in_use)
    await asyncio.sleep(0.1)
    await store.close()
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(20):
            await call
