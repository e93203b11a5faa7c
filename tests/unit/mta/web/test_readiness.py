"""Each check of /readyz: what makes it fail, and what it says."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mta.observe.disk import DiskWatch
from mta.store.postgres.errors import StoreFull, StoreUnavailable
from mta.web import readiness
from mta.web.readiness import CLAIMED_WITHIN, FRESH, Check, ServiceReadiness, check_processes
from tests.unit.mta.observe.test_disk import a_disk
from tests.unit.mta.web.test_monitoring import NOW, Store, state


def checks(path: Path) -> list[tuple[str, bool]]:
    return [(check.name, check.ok) for check in check_processes(path, NOW)]


def worker(**more: Any) -> dict[str, Any]:
    return {"name": "worker-0", "pid": 2, "seen_at": NOW} | more


def failing(path: Path) -> list[Check]:
    return [check for check in check_processes(path, NOW) if not check.ok]


def test_every_worker_must_have_reported_of_late(tmp_path: Path) -> None:
    path = state(
        tmp_path,
        NOW,
        {"name": "worker-0", "pid": 2, "seen_at": NOW - FRESH},
        {"name": "worker-1", "pid": 3, "seen_at": NOW - FRESH - 1},
        {"name": "worker-2", "pid": None, "seen_at": 0},
        {"name": "web", "pid": 4, "seen_at": 0},
    )
    assert checks(path)[:3] == [("worker-0", True), ("worker-1", False), ("worker-2", False)]


def test_every_worker_must_claim(tmp_path: Path) -> None:
    assert failing(state(tmp_path, NOW, worker(claim_age=CLAIMED_WITHIN))) == []
    (check,) = failing(state(tmp_path, NOW, worker(claim_age=CLAIMED_WITHIN + 5)))
    assert check == Check("claiming", False, "worker-0 has not claimed due mail for 65 s")


def test_every_worker_must_have_descriptors_left(tmp_path: Path) -> None:
    assert failing(state(tmp_path, NOW, worker(descriptors=900, descriptors_most=1024))) == []
    (check,) = failing(state(tmp_path, NOW, worker(descriptors=1010, descriptors_most=1024)))
    assert check == Check("descriptors", False, "worker-0 has 1010 of 1024 file descriptors open")


@pytest.mark.parametrize(("matters", "seconds", "ok"), [(True, 30.0, False), (True, 3.0, True), (False, 300.0, True)])
def test_tasks_that_matter_must_not_fail_for_long(tmp_path: Path, matters: bool, seconds: float, ok: bool) -> None:
    task = {"name": "claim", "seconds": seconds, "matters": matters, "reason": "secret.example.com is away"}
    found = failing(state(tmp_path, NOW, worker(failing_tasks=[task])))
    assert [check.name for check in found] == ([] if ok else ["tasks"])
    assert "secret" not in str(found)


def test_a_supervisor_that_writes_no_more_is_not_ready(tmp_path: Path) -> None:
    assert checks(state(tmp_path, NOW - FRESH - 1, worker())) == [("supervisor", False)]


def test_a_state_that_cannot_be_read_is_not_ready(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for content in ("", "[]", '{"at": 1}', '{"at": "x", "children": []}', json.dumps({"at": NOW, "children": [1]})):
        path.write_text(content)
        assert checks(path) == [("supervisor", False)]


# --- the database


async def test_the_database_is_written_to_now_and_then_however_often_one_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    subject = ServiceReadiness(store, tmp_path)
    await asyncio.gather(*(subject.checks() for _ in range(50)))
    assert store.writes == 1
    monkeypatch.setattr(readiness, "WRITE_LASTS", 0.0)
    await subject.checks()
    assert store.writes == 2


@pytest.mark.parametrize(("error", "reply"), [(StoreUnavailable("gone"), "451"), (StoreFull("full"), "452")])
async def test_a_database_that_takes_no_writes(tmp_path: Path, error: Exception, reply: str) -> None:
    store = Store(error)
    subject = ServiceReadiness(store, tmp_path)
    database = (await subject.checks())[0]
    assert not database.ok
    assert reply in database.detail
    store.error = None
    assert (await subject.checks())[0] == Check("database", True, "takes writes")


@pytest.mark.parametrize(("ahead", "ok"), [(0, True), (20, True), (-20, True), (60, False), (-172_800, False)])
async def test_clocks_must_agree(tmp_path: Path, ahead: int, ok: bool) -> None:
    store = Store()
    store.ahead = timedelta(seconds=ahead)
    clock = (await ServiceReadiness(store, tmp_path).checks())[1]
    assert (clock.name, clock.ok) == ("clock", ok)
    assert ok or f"{abs(ahead)} s {'behind' if ahead > 0 else 'ahead of'}" in clock.detail


# --- the disk


async def test_a_disk_without_its_reserve(tmp_path: Path) -> None:
    free = 1_000_000_000

    def statvfs(_: Path) -> os.statvfs_result:
        return a_disk(size=10_000_000_000, free=free)

    now = 0.0
    subject = ServiceReadiness(Store(), tmp_path, DiskWatch([tmp_path], statvfs=statvfs, clock=lambda: now))
    assert (await subject.checks())[2].ok
    free, now = 1_000_000, 10.0
    check = (await subject.checks())[2]
    assert (check.name, check.ok) == ("disk", False)
    assert check.detail.startswith(f"{tmp_path}: 0 MB free, of a reserve of 476 MB")
    free, now = 1_000_000_000, 20.0
    assert (await subject.checks())[2].ok
