"""The periodic jobs run in the first web process, once in the service, whatever befalls it; the supervisor has none."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from bench.service import free_port
from mta.observe.metric_files import Totals
from mta.observe.metrics import Metrics
from mta.observe.shared_counters import read_file
from tests.faults.proxy import DatabaseProxy
from tests.flow.harness import World, message


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[DatabaseProxy]:
    """A way to the database over TCP, by which its clients can be told apart."""
    made = DatabaseProxy(database_url)
    await made.start()
    yield made
    await made.stop()


def measured_at(world: World, pid: int | None) -> float:
    """Return when a process has last measured the queue, which is one of the jobs; 0 if never."""
    for path in (world.service.data / "run" / "metrics").glob(f"{pid}-*.counters"):
        if (values := read_file(path)) is not None:
            return Totals.of(Metrics().counters.families, live=[values]).sum("queue_measured_timestamp_seconds")
    return 0.0


async def jobs_run(world: World, since: float, *besides: int) -> int:
    """Wait until the first web process, which is none of ``besides``, has measured the queue after ``since``."""

    async def measured() -> int:
        pid = world.service.state()["web"]
        return pid if pid and pid not in besides and measured_at(world, pid) > since else 0

    return await world.until(measured)


def connections(pid: int, port: int) -> int:
    """Return how many TCP connections of a process lead to a local port."""
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.add(os.readlink(descriptor))
        except FileNotFoundError:
            pass
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and f"socket:[{row[9]}]" in held for row in rows)


async def test_they_run_once_and_the_supervisor_keeps_no_connection(world: World, proxy: DatabaseProxy) -> None:
    await world.start(web={"processes": 2}, database={"url": proxy.dsn})
    await world.accept("ann@example.com")
    await world.received(1)
    first = await jobs_run(world, 0.0)
    second = world.service.state()["web-1"]
    assert second
    assert world.service.process
    port = int(proxy.dsn.rpartition(":")[2].partition("/")[0])
    assert connections(first, port) >= 2
    assert connections(second, port) >= 2
    assert connections(world.service.process.pid, port) == 0
    assert measured_at(world, second) == 0.0


async def test_they_go_on_when_their_process_is_killed_and_mail_of_a_dead_worker_is_released(world: World) -> None:
    await world.start()
    victim = await jobs_run(world, 0.0)
    (worker,) = world.service.workers()
    os.kill(victim, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    killed_at = time.time()
    await jobs_run(world, killed_at, victim)

    async def lease_of_the_dead_has_ended() -> bool:
        return world.service.workers() not in ([], [worker]) and not await world.db.fetchval(
            "select count(*) from worker where pid = $1", worker
        )

    await world.until(lease_of_the_dead_has_ended)
    await world.accept("ben@example.com", content=message("Again"))
    await world.received(1)


async def test_they_run_while_http_cannot_be_served(world: World, tmp_path: Path) -> None:
    """As when a certificate was renewed with a key that the service cannot read. A reload tries again at once."""
    issued = trustme.CA().issue_cert("mail.sender.example")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    given = {"port": free_port(), "certificate": str(certificate), "key": str(key)}
    await world.start(web={"public": given | {"url": "https://mail.sender.example"}})
    victim = await jobs_run(world, 0.0)
    away = key.rename(tmp_path / "away.pem")
    os.kill(victim, signal.SIGKILL)
    second = await jobs_run(world, time.time(), victim)
    assert "HTTP not served" in world.service.output()
    await world.accept("ann@example.com")
    await world.received(1)
    await jobs_run(world, time.time(), victim)
    away.rename(key)
    await asyncio.to_thread(world.service.cli, "reload")
    assert await jobs_run(world, time.time(), victim, second)
    await asyncio.to_thread(world.service.wait_ready)
