"""Health, readiness and metrics as those see them who ask over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from bench.service import free_port
from mta.observe.metric_files import prepare
from mta.observe.metrics import Metrics
from mta.store.postgres.errors import StoreUnavailable
from mta.web.asgi import Asgi
from mta.web.monitoring import monitoring_app
from mta.web.readiness import ServiceReadiness
from mta.web.server import HttpServer, PlainPort

NOW = 1_000_000.0
CHECKS = ["database", "clock", "worker-0", "claiming", "descriptors", "tasks"]


class Store:
    """A store that takes writes, or raises ``error``. ``writes``: how many there were; ``ahead``: its clock."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.writes = 0
        self.ahead = timedelta()

    async def check_write(self) -> datetime:
        self.writes += 1
        if self.error:
            raise self.error
        return datetime.now(UTC) + self.ahead


@asynccontextmanager
async def serving(app: Asgi) -> AsyncIterator[str]:
    port, server = free_port(), HttpServer(app, "web")
    await server.open(PlainPort("127.0.0.1", port))
    yield f"http://127.0.0.1:{port}"
    await server.close()


def state(run_dir: Path, at: float, *children: dict[str, Any]) -> Path:
    path = run_dir / "state.json"
    path.write_text(json.dumps({"at": at, "pid": 1, "children": children}))
    return path


async def test_healthy_ready_and_counted(tmp_path: Path) -> None:
    import time

    prepare(tmp_path)
    Metrics.open(tmp_path).sessions.inc(3)
    state(tmp_path, time.time(), {"name": "worker-0", "pid": 2, "seen_at": time.time()})
    async with serving(monitoring_app(ServiceReadiness(Store(), tmp_path), tmp_path)) as url, ClientSession() as client:
        async with client.get(f"{url}/healthz") as answer:
            assert (answer.status, (await answer.json())["ok"]) == (200, True)
        async with client.get(f"{url}/readyz") as answer:
            body = await answer.json()
            assert answer.status == 200
            assert [check["name"] for check in body["checks"]] == CHECKS
        async with client.get(f"{url}/metrics") as answer:
            assert answer.content_type == "text/plain"
            assert "imprimatur_sessions_total 3.0\n" in await answer.text()
        async with client.get(f"{url}/other") as answer:
            assert answer.status == 404
        async with client.head(f"{url}/healthz?from=balancer") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            assert int(answer.headers["Content-Length"]) > 0
        async with client.post(f"{url}/healthz", data=b"x") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_not_ready_says_why_and_nothing_more(tmp_path: Path) -> None:
    prepare(tmp_path)
    async with (
        serving(
            monitoring_app(
                ServiceReadiness(Store(StoreUnavailable("no password for imprimatur@db.example.com")), tmp_path),
                tmp_path,
            )
        ) as url,
        ClientSession() as client,
    ):
        async with client.get(f"{url}/readyz") as answer:
            text = await answer.text()
            assert answer.status == 503
            assert [(check["name"], check["ok"]) for check in json.loads(text)["checks"]] == [
                ("database", False),
                ("clock", True),
                ("supervisor", False),
            ]
            assert "example.com" not in text, "errors of the database may hold names and more"
        async with client.get(f"{url}/healthz") as answer:
            assert answer.status == 200
        async with client.get(f"{url}/metrics") as answer:
            assert answer.status == 200
