"""The monitoring port: ``/metrics``, ``/healthz``, ``/readyz``.

Healthy: this process answers, and need not be replaced. Ready: mail can be taken now (``mta.web.readiness``). Each
check is shown as JSON, with status 503 if one fails.

Invariants: Nothing about a message, an account or a setting is shown: anyone who reaches the port may read it.
Limitations: No TLS and no login: bind it to loopback or an internal network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from aiohttp import web

from config.schema import WebSettings
from mta.observe.exposition import CONTENT_TYPE, exposition
from mta.web.readiness import Check, ServiceReadiness

SHUTDOWN = 2.0  # seconds that running requests may take
NO_STORE = {"Cache-Control": "no-store"}

RUN_DIR: web.AppKey[Path] = web.AppKey("run_dir", Path)
READINESS: web.AppKey[ServiceReadiness] = web.AppKey("readiness", ServiceReadiness)


def make_app(readiness: ServiceReadiness, run_dir: Path) -> web.Application:
    """Return the application of the monitoring port."""
    app = web.Application(client_max_size=64 * 1024)
    app[READINESS], app[RUN_DIR] = readiness, run_dir
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
    return _answer(await request.app[READINESS].checks())


def _answer(checks: Iterable[Check]) -> web.Response:
    shown = [asdict(check) for check in checks]
    ok = all(check["ok"] for check in shown)
    return web.json_response({"ok": ok, "checks": shown}, status=200 if ok else 503, headers=NO_STORE)
