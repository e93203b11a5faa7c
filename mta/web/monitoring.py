"""The monitoring port: ``/metrics``, ``/healthz``, ``/readyz``.

Healthy: this process answers. Ready: mail can be accepted now, because the database answers and every worker reported
recently. If not, the reason is given as JSON with status 503.

Invariants: Nothing about a message, an account or a setting is shown: anyone who reaches the port may read it.
Limitations: No TLS and no login: bind it to loopback or an internal network.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from config.schema import WebSettings
from mta.observe.exposition import CONTENT_TYPE, exposition
from mta.store.store import Store, StoreUnavailable

FRESH = 10.0  # seconds after which a report counts as missing
SHUTDOWN = 2.0  # seconds that running requests may take
NO_STORE = {"Cache-Control": "no-store"}

RUN_DIR: web.AppKey[Path] = web.AppKey("run_dir", Path)
STORE: web.AppKey[Store] = web.AppKey("store", Store)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; ``detail`` is for people."""

    name: str
    ok: bool
    detail: str


def make_app(store: Store, run_dir: Path) -> web.Application:
    """Return the application of the monitoring port."""
    app = web.Application(client_max_size=64 * 1024)
    app[STORE], app[RUN_DIR] = store, run_dir
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    return app


async def serve(app: web.Application, settings: WebSettings) -> web.AppRunner:
    """Start serving. Raises OSError if the port is in use."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN)
    await runner.setup()
    await web.TCPSite(runner, settings.address, settings.port).start()
    return runner


async def metrics(request: web.Request) -> web.Response:
    """Return the metrics of all processes of this machine, for Prometheus."""
    return web.Response(body=exposition(request.app[RUN_DIR]), headers={"Content-Type": CONTENT_TYPE, **NO_STORE})


async def healthz(_: web.Request) -> web.Response:
    return _answer([Check("web", True, "answers")])


async def readyz(request: web.Request) -> web.Response:
    database = await _check_database(request.app[STORE])
    return _answer([database, *check_workers(request.app[RUN_DIR] / "state.json", time.time())])


async def _check_database(store: Store) -> Check:
    try:
        await store.ping()
    except StoreUnavailable:
        return Check("database", False, "does not answer; clients get 451 until it does")
    return Check("database", True, "answers")


def check_workers(state_file: Path, now: float) -> list[Check]:
    """Check each worker by the state that the supervisor last wrote. ``now``: seconds since 1970."""
    try:
        state = json.loads(state_file.read_bytes())
        written, children = float(state["at"]), list(state["children"])
        if now - written > FRESH:
            return [Check("supervisor", False, f"has not written its state for {now - written:.0f} s")]
        return [_check_worker(child, now) for child in children if str(child["name"]).startswith("worker-")]
    except (OSError, ValueError, KeyError, TypeError):
        return [Check("supervisor", False, "has not written its state yet")]


def _check_worker(child: dict[str, Any], now: float) -> Check:
    seen_at = float(child["seen_at"])
    if seen_at == 0.0:
        return Check(str(child["name"]), False, "is starting")
    age = now - seen_at
    return Check(str(child["name"]), age <= FRESH, f"reported {max(0.0, age):.0f} s ago")


def _answer(checks: Iterable[Check]) -> web.Response:
    shown = [asdict(check) for check in checks]
    ok = all(check["ok"] for check in shown)
    return web.json_response({"ok": ok, "checks": shown}, status=200 if ok else 503, headers=NO_STORE)
