"""A worker's settings: a reload applies all of them, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import structlog

from config.schema import Settings
from mta.observe.background import BackgroundTasks
from mta.observe.metrics import Metrics
from mta.service import control_channel, worker
from mta.service.control_channel import Reload, Start
from mta.service.worker import Worker
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store

BAD: dict[str, dict[str, Any]] = {
    "event log": {"observe": {"events": "none/events.log"}},
    "trap addresses": {"policy": {"trap_addresses": "none"}},
    "keys": {"signing": {"keys": [{"domain": "acme.example", "selector": "s", "file": "none"}]}},
    "password": {"routes": [{"domains": ["*"], "hosts": ["mx.example"], "username": "x", "password_file": "none"}]},
    "certificate": {"submission": {"tls": {"certificate": "none", "key": "none"}}},
    "bounce rules": {"bounces": {"rules": ["none"]}},
}


def settings(folder: Path, hostname: str, **sections: Any) -> Settings:
    return Settings.model_validate({"server": {"data_dir": str(folder), "hostname": hostname}, **sections})


@pytest.fixture
def running(store: Store, secrets: Secrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(worker, "raise_limit", lambda: 4096)  # what is of the whole process stays as it is
    monkeypatch.setattr(worker.logging, "configure", Mock())
    monkeypatch.chdir(tmp_path)
    metrics, start = Metrics(), Start(0, settings(tmp_path, "old.example"), "", secrets.root, tmp_path)
    made = Worker(start, [], store, secrets, metrics, BackgroundTasks(metrics))
    yield made
    made.events.close()


async def reload(running: Worker, after: Settings) -> list[Any]:
    """Hand new settings to a worker as its supervisor does; return what it logs."""
    reader = asyncio.StreamReader()
    control_channel.send(Mock(write=reader.feed_data), Reload(after))
    reader.feed_eof()
    with structlog.testing.capture_logs() as logged:
        await running._handle_messages(reader)
    return [line["event"] for line in logged if line["log_level"] == "error"]


def hostnames(running: Worker) -> set[str]:
    """The host name that each part works under."""
    return {
        running.settings.server.hostname,
        running.resolver._settings.server.hostname,
        running.submission.preparer._hostname,
        running.report_processor._builder.hostname,
    }


@pytest.mark.parametrize("sections", BAD.values(), ids=BAD.keys())
async def test_a_reload_of_which_a_part_fails_changes_nothing(
    running: Worker, tmp_path: Path, sections: dict[str, Any]
) -> None:
    errors = await reload(running, settings(tmp_path, "new.example", **sections))
    assert errors == ["reloaded settings not applied: the old ones stay in use"]
    assert hostnames(running) == {"old.example"}
    assert await reload(running, settings(tmp_path, "new.example")) == []
    assert hostnames(running) == {"new.example"}
