"""The pages for recipients within their process: opened where they have a port, and changed by a reload."""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import ClientSession

from bench.service import free_port
from config.schema import Settings
from mta.observe.metrics import Metrics
from mta.service.composition import open_tokens
from mta.service.web_process import PublicSide
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.permission.tokens import Claim
from tests.unit.mta.store.make import count

URL = "https://news.example.com"


def settings(port: int | None, **tokens: Any) -> Settings:
    return Settings.model_validate({"web": {"public": {"port": port, "url": URL}}, "tokens": tokens})


async def test_links_work_before_and_after_a_change_of_keys(store: Store, secrets: Secrets) -> None:
    await store.accounts.add("shop", domains=["acme.example"], status=AccountStatus.ACTIVE, verified=True)
    port = free_port()
    before, after = settings(port), settings(port, key=2)
    old, new = [
        open_tokens(each, secrets).make(Claim("u", 1, bytes([n]) * 16, "", ""))
        for n, each in enumerate((before, after))
    ]
    public = PublicSide(before, store, secrets, Metrics())
    await public.open(before)
    try:
        public.configure(after)
        async with ClientSession() as http:
            for done, token in enumerate((old, new), 1):
                url = f"http://127.0.0.1:{port}/u/{token}"
                async with http.post(url, data={"List-Unsubscribe": "One-Click"}) as answer:
                    assert answer.status == 200
                assert await count(store, "suppression") == done
    finally:
        await public.close()


async def test_an_operator_who_gave_links_but_no_port_is_told(store: Store, secrets: Secrets) -> None:
    public = PublicSide(settings(None), store, secrets, Metrics())
    with structlog.testing.capture_logs() as logged:
        await public.open(settings(None))
        await public.open(Settings())
    assert [line["log_level"] for line in logged] == ["warning"]
    assert "web.public.port" in logged[0]["event"]
    await public.close()
