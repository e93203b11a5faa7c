"""The pages for machines that watch: ``/metrics``, ``/healthz``, ``/readyz``.

Healthy means that this process answers. Ready means that mail can be taken now: the database answers and every worker
has reported of late. Both say why not, as JSON, with status 503.

It must never show anything about a message, an account or a configuration value: whoever reaches the port may read.

*Limits.* No TLS and no login: bind it to loopback or an inner network.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from mta.observe.metrics import CONTENT_TYPE, exposition
from mta.store.store import Store, StoreUnavailable

FRESH = 10.0  # seconds after which a report counts as missing
NO_STORE = {"Cache-Control": "no-store"}

RUN_DIR: web.AppKey[Path] = web.AppKey("run_dir", Path)
STORE: web.AppKey[Store] = web.AppKey("store", Store)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be well. ``detail`` says what is wrong, or what was seen."""

    name: str
    ok: bool
    detail: str


def make_app(store: Store, run_dir: Path) -> web.Application:
    """The application; each later page adds its route here."""
    app = web.Application(client_max_size=64 * 1024)
    app[STORE], app[RUN_DIR] = store, run_dir
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    return app


async def metrics(request: web.Request) -> web.Response:
    """Everything counted by all processes of this machine, for Prometheus."""
    return web.Response(body=exposition(request.app[RUN_DIR]), headers={"Content-Type": CONTENT_TYPE, **NO_STORE})


async def healthz(_: web.Request) -> web.Response:
    return _answer([Check("web", True, "this process answers")])


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
    """What the supervisor last wrote about each worker; ``now`` in seconds since 1970."""
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
