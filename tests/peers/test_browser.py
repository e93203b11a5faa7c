"""The unsubscribe page in a real browser: what it shows, what it fetches, and what its one button does."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench import programs
from bench.service import free_port
from config.schema import Settings
from mta.mail.address import Address
from mta.observe.metrics import Metrics
from mta.service.composition import open_tokens
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.web.public import PublicPages
from mta.web.server import HttpServer
from mta.web.sign_up import FormClock
from policy.accounts.account import AccountStatus
from policy.permission.tokens import Claim
from tests.peers.browser import open_tab
from tests.unit.mta.store.make import count

pytestmark = [pytest.mark.peer, pytest.mark.skipif(bool(programs.absent("chromium")), reason="Chromium is not here")]


async def test_a_person_presses_the_button(store: Store, secrets: Secrets, tmp_path: Path) -> None:
    await store.accounts.add("shop", domains=["acme.example"], status=AccountStatus.ACTIVE, verified=True)
    settings = Settings.model_validate({"web": {"public": {"port": free_port()}}})
    tokens, public = open_tokens(settings, secrets), settings.web.public
    token = tokens.make(Claim("u", 1, secrets.address_key(Address.parse("ann@example.net")), "m-1", "offers"))
    pages = PublicPages(store, tokens, FormClock(bytes(32)), settings, Metrics())
    server = HttpServer(pages.app, "web.public")
    await server.open(public)
    try:
        async with open_tab(tmp_path / "browser") as tab:
            await tab.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": "nl-NL, en;q=0.5"})
            url = f"http://127.0.0.1:{public.port}/u/{token}"
            await tab.open(url)
            assert await tab.ask("document.documentElement.lang") == "nl"
            assert await tab.ask("document.title") == "Uitschrijven"
            assert await tab.ask("document.querySelectorAll('button, input, script, img').length") == 1
            assert await tab.ask("getComputedStyle(document.querySelector('main')).maxWidth") == "552px", "styled"
            tree = await tab.call("Accessibility.getFullAXTree")
            named = {(node["role"]["value"], node.get("name", {}).get("value")) for node in tree["nodes"]}
            assert {("heading", "Uitschrijven"), ("button", "Uitschrijven")} <= named
            assert await count(store, "suppression") == 0

            await tab.click("button")
            assert await tab.ask("document.title") == "U bent uitgeschreven"
            assert await tab.ask("location.href") == url
            assert await count(store, "suppression where rule = 'unsubscribe_page' and topic = 'offers'") == 1

            assert (await tab.call("Network.getCookies"))["cookies"] == []
            asked = {urlsplit(sent["request"]["url"]).path for sent in tab.told("Network.requestWillBeSent")}
            assert asked <= {f"/u/{token}", "/favicon.ico"}
            complaints = [entry["entry"]["text"] for entry in tab.told("Log.entryAdded")]
            assert not [text for text in complaints if "favicon" not in text and "404" not in text]
    finally:
        await server.close()
