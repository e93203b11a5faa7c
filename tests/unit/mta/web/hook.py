"""A receiver of webhooks that does as it is told, and checks what it gets as docs/webhooks.md says."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import unused_port

from mta.admin.service.webhook_client import SIGNATURE


@dataclass
class Hook:
    """``answers``: statuses for the next requests, then 204. ``bodies``: what was taken, ``tried``: what was not."""

    answers: deque[int] = field(default_factory=deque)
    port: int = field(default_factory=unused_port)
    bodies: list[bytes] = field(default_factory=list)
    tried: list[bytes] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for body in self.bodies for event in orjson.loads(body)["events"]]

    async def start(self) -> None:
        app = web.Application(client_max_size=2**20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def until_events(self, count: int, seconds: float = 60) -> list[dict[str, Any]]:
        """Wait until so many events were taken; all of them."""
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: len(self.events) >= count)
        return self.events

    async def until_tried(self, count: int, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: len(self.tried) >= count)

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.answers.popleft() if self.answers else 204
        self.signatures.append(request.headers[SIGNATURE])
        self.headers, self.paths = dict(request.headers), [*self.paths, request.path]
        async with self._arrived:
            (self.bodies if 200 <= status < 300 else self.tried).append(body)
            self._arrived.notify_all()
        if self.gate:
            await self.gate.wait()
        return web.Response(status=status, headers={"Location": "/elsewhere"} if 300 <= status < 400 else None)
