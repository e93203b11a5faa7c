"""The supervisor and its children, as an operator sees them: ends, starts, signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench import processes
from bench.service import Service
from tests.flow.harness import World, message, open_directory

pytestmark = pytest.mark.nightly


async def until(condition: Callable[[], object], what: Callable[[], str], seconds: float = 60) -> None:
    """Wait for other processes. Raises AssertionError with what they said."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what()) from None


async def replaced(world: World) -> None:
    """Kill the worker and wait for its successor."""
    [worker] = world.service.workers()
    os.kill(worker, signal.SIGKILL)
    await until(lambda: world.service.workers() not in ([], [worker]), world.service.output)


async def test_a_worker_that_is_killed_is_replaced(world: World) -> None:
    await world.start()
    await world.accept("ann@example.com")
    await world.received(1)
    await replaced(world)
    await world.accept("ben@example.com", content=message("Again"))
    await world.received(2)


async def test_a_fork_server_that_is_killed_interrupts_nothing(world: World) -> None:
    """Workers go on; the next one that has to be replaced is forked by another."""

    def fork_servers() -> list[int]:
        assert world.service.process
        tree = processes.tree([world.service.process.pid])
        return [pid for pid in tree if processes.name(pid) == "mta fork server"]

    await world.start()
    before, [first] = world.service.state(), fork_servers()
    os.kill(first, signal.SIGKILL)
    await until(lambda: "fork server died" in world.service.output(), world.service.output)
    await world.accept("ann@example.com")
    await world.received(1)
    assert world.service.state() == before
    os.kill(before["worker-0"], signal.SIGKILL)
    await until(lambda: world.service.state()["worker-0"] not in (None, before["worker-0"]), world.service.output)
    await until(world.service.is_ready, world.service.output)
    await world.accept("ben@example.com", content=message("Again"))
    await world.received(2)
    assert world.service.state()["web"] == before["web"]
    assert fork_servers() not in ([], [first])


async def test_nothing_outlives_a_supervisor_that_is_killed(world: World) -> None:
    await world.start()
    assert world.service.process
    known = processes.tree([world.service.process.pid])
    assert len(known) == 4
    world.service.process.kill()
    await until(lambda: not any(map(processes.is_alive, known)), world.service.output)


async def test_a_successor_keeps_what_was_reloaded(world: World) -> None:
    """Of the limits, and of the listeners whose sockets it inherits."""
    await world.start()
    listener = {"address": "127.0.0.1", "port": world.service.port, "tls": "none", "auth_without_tls": "loopback"}
    world.service.configure(submission={"limits": {"message_size": "3MB"}, "listeners": [listener]})
    await asyncio.to_thread(world.service.cli, "reload")
    for _ in range(2):
        async with world.client() as smtp:
            await smtp.ehlo()
            assert smtp.esmtp_extensions["size"] == "3000000"
            assert "auth" in smtp.esmtp_extensions
        await replaced(world)


async def test_a_rotated_event_log_is_reopened(world: World) -> None:
    await world.start()
    log = world.service.events
    await world.accept("ann@example.com")
    await until(lambda: log.exists() and b'"accepted"' in log.read_bytes(), world.service.output)
    old = log.rename(log.with_suffix(".1"))
    assert world.service.process
    os.kill(world.service.process.pid, signal.SIGUSR1)
    await until(log.exists, world.service.output)
    before = old.read_bytes()
    await world.accept("ben@example.com", content=message("After"))
    await until(lambda: b"ben@example.com" in log.read_bytes(), world.service.output)
    assert b"ben@example.com" not in before


async def test_a_reload_may_name_another_event_log(world: World) -> None:
    await world.start()
    other = world.service.events.with_name("other.jsonl")
    world.service.configure(observe={"events": str(other)})
    await asyncio.to_thread(world.service.cli, "reload")
    await until(other.exists, world.service.output)
    await world.accept("ann@example.com")
    await until(lambda: b"ann@example.com" in other.read_bytes(), world.service.output)


async def test_signals_to_the_whole_group_hurt_nobody(world: World) -> None:
    """As a terminal or a careless script sends them: the children leave them to the supervisor."""
    await world.start()
    before = world.service.workers()
    assert world.service.process
    for number in (signal.SIGUSR1, signal.SIGHUP):
        os.killpg(world.service.process.pid, number)
    await world.accept("ann@example.com")
    await world.received(1)
    assert world.service.workers() == before
    os.killpg(world.service.process.pid, signal.SIGINT)
    await until(lambda: world.service.process and world.service.process.poll() is not None, world.service.output)
    assert world.service.process.returncode == 0


@contextmanager
def private_service() -> Iterator[Service]:
    """A service with a database of its own, not started."""
    with open_directory() as directory:
        service = Service(directory, {"server": {"workers": 1, "shutdown_grace": "5s"}})
        service.configure()
        try:
            yield service
        finally:
            service.stop()


async def test_a_second_service_on_the_same_data_is_refused() -> None:
    with private_service() as service:
        await asyncio.to_thread(service.start)
        second = Service(service.directory, service.settings, service.port, service.web_port)
        await asyncio.to_thread(second.start, ready=False)
        assert second.process
        assert await asyncio.to_thread(second.process.wait, 60) != 0
        assert f"process {service.process.pid} already serves" in service.output()  # type: ignore[union-attr]
        assert service.is_ready()


def pid_file_written(service: Service) -> bool:
    path = service.data / "run" / "supervisor.pid"
    return path.exists() and bool(path.read_text())


def database_begun(service: Service) -> bool:
    return (service.data / "postgres.start.lock").exists()


def child_started(service: Service) -> bool:
    return '"event":"child started"' in service.output()


@pytest.mark.parametrize("moment", [pid_file_written, database_begun, child_started])
async def test_a_stop_during_the_start_leaves_nothing_running(moment: Callable[[Service], bool]) -> None:
    with private_service() as service:
        await asyncio.to_thread(service.start, ready=False)
        process = service.process
        assert process
        await until(lambda: moment(service), service.output)
        known = processes.tree([process.pid])
        os.kill(process.pid, signal.SIGTERM)
        await until(lambda: process.poll() is not None, service.output)
        assert process.returncode == 0, service.output()
        assert service.postmaster() is None
        await until(lambda: not any(map(processes.is_alive, known)), service.output)
        assert "child killed" not in service.output()
        assert "Traceback" not in service.output()


async def test_the_pid_file_of_a_killed_service_keeps_nobody_out() -> None:
    with private_service() as service:
        (service.data / "run").mkdir(parents=True)
        (service.data / "run" / "supervisor.pid").write_text("1\n")
        await asyncio.to_thread(service.start)
        assert service.process
        assert (service.data / "run" / "supervisor.pid").read_text() == f"{service.process.pid}\n"
