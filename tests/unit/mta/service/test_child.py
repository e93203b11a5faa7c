"""A child of the supervisor: its lives, its messages and its end. The children here are real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from config.schema import Listener, ListenerTls, ObserveSettings, Settings, SubmissionSettings
from mta.admin.service.reload import ReloadReply
from mta.service import child as children
from mta.service import fork_server as forking
from mta.service.child import RESTART_AT_MOST, AnswerReload, Child, restart_delay
from mta.service.control_channel import Reopen, Start
from mta.service.fork_server import ForkServer
from tests.unit.mta.store.make import until

OBEDIENT = "tests.unit.mta.service.obedient"


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    made = ForkServer([OBEDIENT])
    yield made
    await made.close()


def settings(level: str = "info") -> Settings:
    return Settings(observe=ObserveSettings(log_level=level))  # type: ignore[arg-type]


def start() -> Start:
    return Start(0, settings(), "postgresql:///nowhere", b"secret", Path("unused"))


@asynccontextmanager
async def living(server: ForkServer, **more: Any) -> AsyncIterator[Child]:
    """A child that is kept; at the end it is told to stop, and must."""
    child = Child(server, "test", OBEDIENT, start(), **more)
    keeping = asyncio.create_task(child.run())
    try:
        yield child
    finally:
        child.stop()
        async with asyncio.timeout(20):
            await keeping
        assert child.pid is None


def said(child: Child, **report: object) -> Callable[[], bool]:
    return lambda: child.report == report


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "RESTART_AFTER", 0.01)


async def test_it_is_started_and_told(server: ForkServer) -> None:
    async with living(server) as child:
        await until(said(child, message="Start", level="info"))
        assert child.seen_at > 0
        child.reload(settings("debug"))
        await until(said(child, message="Reload", level="debug"))
        child.send(Reopen())
        await until(said(child, message="Reopen", level=None))
        assert child.restarts == 0


async def test_a_successor_begins_with_the_reloaded_settings(server: ForkServer) -> None:
    ended: list[int] = []
    async with living(server, ended=ended.append) as child:
        await until(said(child, message="Start", level="info"))
        first = child.pid
        child.reload(settings("error"))  # ends it
        await until(said(child, message="Start", level="error"))
        assert child.pid != first
        assert (child.restarts, ended) == (1, [first])


async def test_messages_between_two_lives_are_dropped(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "RESTART_AFTER", 3600.0)
    async with living(server) as child:
        await until(said(child, message="Start", level="info"))
        child.kill()
        await until(lambda: child.pid is None)
        child.reload(settings("debug"))
        child.send(Reopen())
        assert child.start.settings.observe.log_level == "debug"


async def test_one_that_cannot_be_started_is_tried_again(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking.sys, "executable", "/nonexistent/python")
    async with living(server) as child:
        await until(lambda: child.restarts >= 3)
        monkeypatch.undo()
        monkeypatch.setattr(children, "RESTART_AFTER", 0.01)
        await until(said(child, message="Start", level="info"))


async def test_killed_it_is_replaced(server: ForkServer) -> None:
    lives: list[int | None] = []
    async with living(server, ready=lambda: lives.append(child.pid)) as child:
        await until(lambda: len(lives) == 1)
        assert lives[0]
        os.kill(lives[0], signal.SIGKILL)
        await until(lambda: len(lives) == 2)
        assert lives[1]
        os.kill(lives[1], signal.SIGKILL)
        await until(lambda: len(lives) == 3)
        assert child.restarts == 2
        assert len({*lives, None}) == 4


async def beat_until(child: Child, condition: Callable[[], object]) -> int:
    """Call its beats, as the supervisor does; return how many it was killed at."""
    kills = 0
    async with asyncio.timeout(30):
        while not condition():
            kills += child.kill_if_silent()
            await asyncio.sleep(0.001)
    return kills


async def test_one_that_hangs_is_replaced(server: ForkServer) -> None:
    async with living(server, patience=5.0) as child:
        await until(said(child, message="Start", level="info"))
        first = child.pid
        assert first
        os.kill(first, signal.SIGSTOP)
        assert [child.kill_if_silent() for _ in range(4)] == [False] * 4
        assert child.kill_if_silent()
        assert await beat_until(child, lambda: child.restarts == 1 and child.pid not in (None, first)) == 0
        await until(said(child, message="Start", level="info"))


async def test_one_that_reports_is_left_alone(server: ForkServer) -> None:
    async with living(server, patience=5.0) as child:
        await until(said(child, message="Start", level="info"))
        for level in ("debug", "info") * 3:
            assert [child.kill_if_silent() for _ in range(4)] == [False] * 4
            child.reload(settings(level))
            await until(said(child, message="Reload", level=level))
        assert child.restarts == 0


async def test_one_that_is_being_started_has_more_time(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "STARTED_WITHIN", 50.0)
    child = Child(server, "test", OBEDIENT, start(), patience=5.0)
    assert not child.kill_if_silent()
    async with living(server, patience=5.0) as child:
        await until(lambda: child.pid)
        assert not any(child.kill_if_silent() for _ in range(4))
        await until(said(child, message="Start", level="info"))


async def test_a_reload_that_it_asks_for_is_answered_when_it_is_done(server: ForkServer) -> None:
    """It reports meanwhile. Its successor does not get the answer."""
    asked: list[tuple[bool, AnswerReload]] = []
    async with living(server, reload_asked=lambda *each: asked.append(each)) as child:
        await until(said(child, message="Start", level="info"))
        child.reload(settings("warning"))  # asks
        await until(lambda: len(asked) == 1)
        child.reload(settings("debug"))
        await until(said(child, message="Reload", level="debug"))
        (dry_run, answer) = asked[0]
        assert dry_run
        answer(ReloadReply(["no"]))
        await until(said(child, message="ReloadAnswer", level=None))
        child.kill()
        await until(lambda: child.restarts == 1 and child.report["message"] == "Start")
        answer(ReloadReply(["too late"]))
        child.send(Reopen())
        await until(said(child, message="Reopen", level=None))


async def test_it_outlives_the_fork_server(server: ForkServer) -> None:
    """It goes on and can be told, is replaced by way of another server, and stops in order."""
    async with living(server) as child:
        await until(said(child, message="Start", level="info"))
        first, forker = child.pid, server.pid
        os.kill(forker, signal.SIGKILL)
        await until(lambda: server.pid is None)
        child.reload(settings("debug"))
        await until(said(child, message="Reload", level="debug"))
        assert (child.pid, child.restarts) == (first, 0)
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.restarts == 1 and child.report["message"] == "Start")
        assert server.pid not in (None, forker)
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: server.pid is None)


async def test_a_fork_server_that_hangs_is_replaced(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with living(server) as child:
        await until(said(child, message="Start", level="info"))
        first, forker = child.pid, server.pid
        assert first
        assert forker
        os.kill(forker, signal.SIGSTOP)
        with monkeypatch.context() as impatient:
            impatient.setattr(forking, "ANSWER_TIMEOUT", 0.2)
            impatient.setattr(children, "ENDED_WITHIN", 0.2)
            os.kill(first, signal.SIGKILL)
            await until(lambda: server.pid not in (None, forker))
        await until(lambda: child.pid not in (None, first) and child.report["message"] == "Start")


async def test_told_to_stop_while_it_is_being_started(server: ForkServer) -> None:
    child = Child(server, "test", OBEDIENT, start())
    keeping = asyncio.create_task(child.run())
    await until(lambda: child._process is not None)
    child.stop()
    async with asyncio.timeout(20):
        await keeping
    assert child.restarts == 0


async def test_told_to_stop_before_it_was_started(server: ForkServer) -> None:
    child = Child(server, "test", OBEDIENT, start())
    child.stop()
    async with asyncio.timeout(20):
        await child.run()
    assert child.seen_at == 0


def test_waits_double_up_to_a_limit_for_ever() -> None:
    assert [restart_delay(failures) for failures in (1, 2, 3)] == [0.01, 0.02, 0.04]
    assert restart_delay(100_000) <= RESTART_AT_MOST


def test_a_reload_changes_how_sockets_are_used_but_not_which() -> None:
    before, other = Listener(port=587), Listener(port=465)
    one = Start(0, settings(), "", b"", Path("unused"), ((before, 5), (other, 6)))
    after = Listener(port=587, tls=ListenerTls.NONE)
    changed = one.reloaded(Settings(submission=SubmissionSettings(listeners=[Listener(port=25), after])))
    assert changed.listeners == ((after, 5), (other, 6))
    assert changed.settings.submission.listeners[1] is after
