"""What the supervisor does beside keeping its children."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from config.schema import ServerSettings, Settings
from mta.observe import exposition
from mta.observe.metrics import Metrics
from mta.service.fork_server import ForkServer
from mta.service.supervisor import AlreadyRunning, Supervisor, _locked, _write
from mta.store.postgres.errors import StoreUnavailable
from mta.store.store import Store
from tests.unit.mta.store.make import until


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    (tmp_path / "run").mkdir()
    made = Supervisor(tmp_path / "mta.toml", Settings(server=ServerSettings(data_dir=tmp_path)), ForkServer())
    made._metrics = Metrics()
    return made


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
    exposition.prepare(tmp_path / "run", [])
    supervisor._reload()
    answer = orjson.loads((tmp_path / "run" / "reload.json").read_bytes())
    assert answer["ok"] is False
    assert "hostnam" in answer["lines"][0]
    assert supervisor._settings is before

    (tmp_path / "mta.toml").write_text('[server]\nhostname = "mta.example.com"\n')
    supervisor._reload()
    assert orjson.loads((tmp_path / "run" / "reload.json").read_bytes())["ok"] is True
    assert supervisor._settings.server.hostname == "mta.example.com"


async def test_the_state_of_the_queue_is_measured(supervisor: Supervisor, store: Store) -> None:
    measuring = asyncio.create_task(supervisor._measure(store))
    await until(lambda: supervisor._metrics.database_up.value == 1)
    measuring.cancel()


def test_a_full_disk_does_not_end_the_service(tmp_path: Path) -> None:
    _write(tmp_path / "missing" / "state.json", b"{}")
    assert not (tmp_path / "missing").exists()
