"""What the supervisor does beside keeping its children."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import orjson
import pytest

from config.schema import ServerSettings, Settings, WebSettings
from mta.admin.service.reload import ReloadReply
from mta.observe import metric_files
from mta.observe.metrics import Metrics
from mta.service import config_reader
from mta.service.bound_sockets import BoundSockets
from mta.service.fork_server import ForkServer
from mta.service.supervisor import HUNG_ALONE_AFTER, AlreadyRunning, Supervisor, _locked, _write
from mta.store.postgres.embedded import EmbeddedError, EmbeddedPostgres
from mta.store.postgres.errors import StoreUnavailable
from tests.unit.mta.store.make import until


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    (tmp_path / "run").mkdir()
    forking = ForkServer([config_reader.MODULE])
    made = Supervisor(tmp_path / "mta.toml", Settings(server=ServerSettings(data_dir=tmp_path)), forking)
    made._metrics = Metrics()
    yield made
    await forking.close()


def test_one_supervisor_for_a_data_directory(tmp_path: Path) -> None:
    with _locked(tmp_path), pytest.raises(AlreadyRunning, match=r"process \d+ already serves"), _locked(tmp_path):
        pass
    with _locked(tmp_path):
        assert (tmp_path / "supervisor.pid").read_text().strip().isdigit()
    assert (tmp_path / "supervisor.pid").read_text() == ""


async def test_work_of_the_start_ends_when_told_to_stop(supervisor: Supervisor) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    starting = asyncio.create_task(supervisor._unless_stopped(endless()))
    await begun.wait()
    supervisor._stopping.set()
    async with asyncio.timeout(10):
        assert await starting is None
    assert cancelled.is_set()


async def test_work_of_the_start_has_its_result_or_its_error(supervisor: Supervisor) -> None:
    async def fine() -> int:
        return 5

    async def away() -> int:
        raise StoreUnavailable("away")

    assert await supervisor._unless_stopped(fine()) == 5
    with pytest.raises(StoreUnavailable):
        await supervisor._unless_stopped(away())


async def test_a_rejected_reload_says_why_and_changes_nothing(supervisor: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "mta.toml").write_text('[server]\nhostnam = "mta.example.com"\n')
    before = supervisor._settings
    metric_files.prepare(tmp_path / "run", [])
    await supervisor._reload()
    answer = orjson.loads((tmp_path / "run" / "reload.json").read_bytes())
    assert answer["ok"] is False
    assert "hostnam" in answer["lines"][0]
    assert supervisor._settings is before

    (tmp_path / "mta.toml").write_text('[server]\nhostname = "mta.example.com"\n')
    await supervisor._reload()
    assert orjson.loads((tmp_path / "run" / "reload.json").read_bytes())["ok"] is True
    assert supervisor._settings.server.hostname == "mta.example.com"


async def test_reloads_are_made_one_after_the_other(supervisor: Supervisor, tmp_path: Path) -> None:
    """Each answers whoever has asked for it, with what the one before has left."""
    metric_files.prepare(tmp_path / "run", [])
    (tmp_path / "mta.toml").write_text(f'[server]\nhostname = "mta.example.com"\ndata_dir = "{tmp_path}"\n')
    replies: list[ReloadReply] = []
    for dry_run in (True, False, False):
        supervisor._ask_reload(dry_run, replies.append)
    answering = asyncio.create_task(supervisor._answer_reloads())
    await until(lambda: len(replies) == 3)
    answering.cancel()
    preview, done, again = replies
    assert any("mta.example.com" in line for line in preview.changes)
    assert (done.changes, again.changes) == (preview.changes, [])
    assert (again.in_use, supervisor._settings) == (done.settings, again.settings)


class Postgres:
    """As much of ours as the supervisor asks of it."""

    alive, fails, started = True, False, 0

    def is_alive(self) -> bool:
        return self.alive

    def start(self) -> None:
        self.started += 1
        if self.fails:
            raise EmbeddedError("no room")
        self.alive = True


async def test_our_own_database_is_started_again_when_it_has_ended(supervisor: Supervisor) -> None:
    postgres = Postgres()
    supervisor._embedded = cast(EmbeddedPostgres, postgres)
    await supervisor._keep_postgres()
    assert postgres.started == 0
    postgres.alive, postgres.fails = False, True
    await supervisor._keep_postgres()
    postgres.fails = False
    await supervisor._keep_postgres()
    await supervisor._keep_postgres()
    assert (postgres.started, postgres.alive) == (2, True)


def test_whoever_has_work_of_its_own_is_soon_replaced_when_it_hangs(supervisor: Supervisor) -> None:
    supervisor._settings = supervisor._settings.model_copy(
        update={
            "server": ServerSettings(data_dir=supervisor._settings.server.data_dir, workers=2),
            "web": WebSettings(processes=2),
        }
    )
    children = supervisor._make_children("", b"", BoundSockets([], [], {}))
    lease = supervisor._settings.database.lease
    assert {child.name: child._patience for child in children} == {
        "worker-0": 2 * lease, "worker-1": 2 * lease, "web": HUNG_ALONE_AFTER, "web-1": 2 * lease,
    }  # fmt: skip


def test_a_full_disk_does_not_end_the_service(tmp_path: Path) -> None:
    _write(tmp_path / "missing" / "state.json", b"{}")
    assert not (tmp_path / "missing").exists()
