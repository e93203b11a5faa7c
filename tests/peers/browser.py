"""A headless Chromium that is driven as a person would use it: by looking at the page and by pressing the mouse.

It speaks the DevTools protocol over a WebSocket. Clicks are trusted input events, so the browser does with them what it
does with a person's, its content security policy included.

It must never keep a profile, nor talk to anybody but the page that it was sent to.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from bench import programs
from bench.postfix import stop

PATIENCE = 30.0  # seconds
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
)  # fmt: skip
_CENTRE = """(() => { const box = document.querySelector({selector}).getBoundingClientRect();
return [box.x + box.width / 2, box.y + box.height / 2]; })()"""


@dataclass
class Tab:
    """One page. ``events``: what the browser said by itself, in order."""

    socket: ClientWebSocketResponse
    events: list[dict[str, Any]] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a command of the protocol answers. Raises AssertionError if it fails."""
        number = next(self._numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            said = await self._next()
            if said.get("id") == number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result

    async def open(self, url: str) -> None:
        """Go there, and wait until the page is loaded."""
        for domain in ("Page", "Network", "Log", "Runtime"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)
        await self._until("Page.loadEventFired")

    async def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element, and wait until the next page is loaded."""
        x, y = await self.ask(_CENTRE.replace("{selector}", json.dumps(selector)))
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        await self._until("Page.loadEventFired")

    async def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def told(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event["method"] == method]

    async def _until(self, method: str) -> None:
        seen = len(self.told(method))
        while len(self.told(method)) == seen:
            await self._next()

    async def _next(self) -> dict[str, Any]:
        message = await self.socket.receive(PATIENCE)
        assert message.type is WSMsgType.TEXT, message
        said: dict[str, Any] = json.loads(message.data)
        if "method" in said:
            self.events.append(said)
        return said


@asynccontextmanager
async def open_tab(directory: Path) -> AsyncIterator[Tab]:
    """A browser with an empty page, gone afterwards with all it knew."""
    process = _start(directory)
    try:
        port = await _port(directory, process)
        async with ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json") as answer:
                (page,) = [each for each in await answer.json() if each["type"] == "page"]
            async with http.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Tab(socket)
    finally:
        await asyncio.to_thread(stop, process)


def _start(directory: Path) -> subprocess.Popen[bytes]:
    program = programs.find("chromium")
    assert program, "Chromium is not installed"
    directory.mkdir()
    with (directory / "output").open("wb") as output:
        return subprocess.Popen(
            [str(program), *_FLAGS, f"--user-data-dir={directory}", "about:blank"],
            env=programs.environment() | {"HOME": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


async def _port(directory: Path, process: subprocess.Popen[bytes]) -> int:
    """Where it listens, once it has written that down."""
    written = directory / "DevToolsActivePort"
    async with asyncio.timeout(PATIENCE):
        while process.poll() is None:
            if written.exists() and "\n" in (text := written.read_text()):
                return int(text.split("\n", 1)[0])
            await asyncio.sleep(0.05)
    raise AssertionError((directory / "output").read_text(errors="replace")[-4000:])
