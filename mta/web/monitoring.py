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

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mta.observe.exposition import CONTENT_TYPE, exposition
from mta.web.readiness import Check, ServiceReadiness

NO_STORE = {"Cache-Control": "no-store"}


def monitoring_app(readiness: ServiceReadiness, run_dir: Path) -> Starlette:
    """Return the application of the monitoring port."""

    async def metrics(_: Request) -> Response:
        """Return the metrics of all processes of this machine, for Prometheus."""
        return Response(exposition(run_dir), headers={"Content-Type": CONTENT_TYPE, **NO_STORE})

    async def healthz(_: Request) -> Response:
        return _answer([Check("web", True, "answers")])

    async def readyz(_: Request) -> Response:
        return _answer(await readiness.checks())

    routes = [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
    app.router.redirect_slashes = False
    return app


def _answer(checks: Iterable[Check]) -> Response:
    shown = [asdict(check) for check in checks]
    ok = all(check["ok"] for check in shown)
    return JSONResponse({"ok": ok, "checks": shown}, status_code=200 if ok else 503, headers=NO_STORE)


def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Response(status_code=error.status_code, headers=error.headers)
