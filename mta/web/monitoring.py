"""The monitoring port: ``/metrics``, ``/healthz``, ``/readyz``.

Healthy: this process answers, and need not be replaced. Ready: mail can be taken now (``mta.web.readiness``). Each
check is shown as JSON, with status 503 if one fails.

Invariants: Nothing about a message, an account or a setting is shown: anyone who reaches the port may read it.
Limitations: No TLS and no login: bind it to loopback or an internal network.

It does without a framework: every service has this port, and many have no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import orjson

from mta.web.asgi import Asgi, Receive, Scope, Send, respond
from mta.web.readiness import Check, ServiceReadiness

NO_STORE = {"cache-control": "no-store"}


def monitoring_app(readiness: ServiceReadiness, run_dir: Path) -> Asgi:
    """Return the application of the monitoring port."""

    async def monitoring(scope: Scope, _: Receive, send: Send) -> None:
        if scope["path"] not in ("/metrics", "/healthz", "/readyz"):
            await respond(send, 404)
        elif scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, headers={"allow": "GET, HEAD"})
        elif scope["path"] == "/metrics":  # of all processes of this machine
            from mta.observe.exposition import CONTENT_TYPE, exposition  # noqa: PLC0415 - by one process alone

            await respond(send, 200, exposition(run_dir), CONTENT_TYPE, NO_STORE)
        else:
            ready = scope["path"] == "/readyz"
            await _answer(send, await readiness.checks() if ready else [Check("web", True, "answers")])

    return monitoring


async def _answer(send: Send, checks: Iterable[Check]) -> None:
    shown = [asdict(check) for check in checks]
    ok = all(check["ok"] for check in shown)
    body = orjson.dumps({"ok": ok, "checks": shown})
    await respond(send, 200 if ok else 503, body, "application/json", NO_STORE)
