"""Make the pictures of docs/img: ``python -m tests.browser.pictures OPERATORS_LINK SHOPS_LINK PUBLIC_URL``.

They are of a running demo. The links are those that ``make run`` prints; each works once. PUBLIC_URL: of its public
pages. Wait two minutes: then the breaker has tripped.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser

from tests.browser.chromium import DESK, PHONE, Visitor, chromium, visitor

IMAGES = Path(__file__).parents[2] / "docs" / "img"


async def _log_in(who: Visitor, link: str) -> None:
    parts = urlsplit(link)
    await who.go(f"{parts.path}?{parts.query}")
    await who.page.locator("button.primary").click()
    await who.page.wait_for_url(f"{who.url}/")


async def _take(who: Visitor, path: str, name: str) -> None:
    await who.go(path)
    await who.page.wait_for_timeout(500)  # the chart is drawn
    await who.page.screenshot(path=IMAGES / f"{name}.png")


async def _take_public(browser: Browser, url: str, form: str) -> None:
    """Take what recipients see, on a phone, in German."""
    phone: dict[str, Any] = {"viewport": PHONE, "locale": "de-DE"}
    async with visitor(browser, url, **phone) as reader:
        await _take(reader, form, "sign-up-phone")
    async with visitor(browser, url, color_scheme="dark", **phone) as reader:
        await _take(reader, "/abuse", "abuse-phone")


async def take(operator: str, shop: str, public: str) -> None:
    """Log in both, and take the pictures."""
    parts = urlsplit(operator)
    url = f"{parts.scheme}://{parts.netloc}"
    IMAGES.mkdir(exist_ok=True)
    async with chromium() as browser:
        async with visitor(browser, url, viewport=DESK) as ann:
            await _log_in(ann, operator)
            await _take(ann, "/", "overview")
            await ann.go("/search?recipient=unknown%40inbox.example")
            await ann.page.locator("tbody a").first.click()
            await ann.page.wait_for_load_state()
            await ann.page.screenshot(path=IMAGES / "message.png")
            await _take(ann, "/accounts/schifffahrt", "account-review")
            await ann.go("/test/destination")
            await ann.page.get_by_label("Address or domain").fill("unknown@inbox.example")
            await ann.press("Ask it now")
            await ann.page.screenshot(path=IMAGES / "destination-test.png")
            state = await ann.context.storage_state()
        async with visitor(browser, url, viewport=DESK, color_scheme="dark", storage_state=state) as ann:
            await _take(ann, "/complaints/1", "complaint-dark")
        async with visitor(browser, url, viewport=PHONE, storage_state=state) as ann:
            await _take(ann, "/queue/list", "queue-phone")
        async with visitor(browser, url, viewport=DESK) as lea:
            await _log_in(lea, shop)
            await lea.go("/mailings")
            await lea.page.get_by_role("link", name="spring-week-2").click()
            await lea.page.wait_for_load_state()
            await lea.page.screenshot(path=IMAGES / "mailing-confirm.png")
            await lea.go("/forms/demo/newsletter")
            form = await lea.page.get_by_role("link", name="Its own page").get_attribute("href")
        await _take_public(browser, public, urlsplit(form or "").path)


if __name__ == "__main__":
    asyncio.run(take(*sys.argv[1:4]))
