"""A real Chromium, driven by Playwright: it visits pages as people do, and says what is wrong with them.

It keeps no profile and talks to nothing but this machine.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from bench import programs

AXE = (Path(__file__).parent / "axe" / "axe-4.14.1.min.js").read_text()
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
ZOOMED = {"width": 320, "height": 256}  # 1280 x 1024 at 400 %


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    program = programs.find("chromium")
    assert program is not None
    async with async_playwright() as playwright:
        environment: dict[str, str | float | bool] = {**os.environ, **programs.environment()}
        browser = await playwright.chromium.launch(executable_path=str(program), args=FLAGS, env=environment)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Visitor:
    """A person with a browser. ``troubles``: what the console said."""

    context: BrowserContext
    page: Page
    url: str
    troubles: list[str] = field(default_factory=list)

    async def go(self, path: str) -> Page:
        answer = await self.page.goto(self.url + path)
        assert answer is not None
        assert answer.status == 200, (path, answer.status)
        return self.page

    async def press(self, name: str) -> None:
        """Press the button with this name, and wait for the next page."""
        async with self.page.expect_navigation():
            await self.page.get_by_role("button", name=name, exact=True).first.click()

    async def says(self) -> str:
        return await self.page.locator("main").inner_text()

    async def violations(self) -> list[str]:
        """What axe-core has against the page, by WCAG 2.2 AA."""
        session = await self.context.new_cdp_session(self.page)
        await session.send("Runtime.evaluate", {"expression": AXE})  # as a debugger: the page's own policy forbids it
        run = "(tags) => axe.run(document, {runOnly: tags})"
        found: dict[str, Any] = await self.page.evaluate(run, WCAG)
        await session.detach()
        assert len(found["passes"]) > 5, "axe looked at nothing"
        return [f"{each['id']}: {[node['target'] for node in each['nodes']][:3]}" for each in found["violations"]]

    async def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        size: int = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return size


@asynccontextmanager
async def visitor(browser: Browser, url: str, **options: Any) -> AsyncIterator[Visitor]:
    """A new browser window, with nothing in it."""
    context = await browser.new_context(**{"viewport": DESK, **options})
    page = await context.new_page()
    found = Visitor(context, page, url)
    page.on("console", lambda said: found.troubles.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.troubles.append(str(error)))
    try:
        yield found
    finally:
        await context.close()
