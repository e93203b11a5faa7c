"""Webhooks by page: added, tried, sent again to, paused, rotated, removed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from config.schema import DatabaseSettings
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.unit.mta.store.make import failed, put, result
from tests.unit.mta.web.hook import Hook
from tests.unit.mta.web.pages.rig import Site, open_site

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    secrets = Secrets(bytes(range(32)))
    store = await Store.open(module_database, DatabaseSettings(), secrets)
    sections = {"testing": {"private_webhooks": True}}
    try:
        await store.lease.register()
        async with open_site(store, secrets, tmp_path_factory.mktemp("data"), **sections) as opened:
            yield opened
    finally:
        await store.close()


@pytest_asyncio.fixture(loop_scope="module")
async def hook() -> AsyncIterator[Hook]:
    hook = Hook()
    await hook.start()
    yield hook
    await hook.stop()


async def test_a_webhook_is_added_sent_again_to_and_removed(site: Site, hook: Hook) -> None:
    assert (await site.shop.submit("/webhooks", "/webhooks", url="ftp://127.0.0.1/")).status == 422
    made = await site.shop.submit("/webhooks", "/webhooks", url=hook.url)
    assert "signing secret" in made.words
    (webhook,) = await site.store.webhooks.list()
    at = f"/webhooks/{webhook.id}"
    assert (await site.browsers["club"].get(at)).status == 404
    shop = (await site.store.accounts.find("shop")).account
    lost = await put(site.store, "gone@inbox.example", account_id=shop.id)
    await site.store.results.write([result(lost, [failed(lost.recipients[0])])])
    newest = await site.store.outbox.newest(shop.id)
    page = await site.shop.get(at)
    assert "gone@inbox.example" in page.words
    assert "waits" in page.words
    early = await site.shop.submit(at, f"{at}/replay", first=str(newest))
    assert (early.status, "has taken nothing from there on yet" in early.words) == (422, True)
    async with site.store.events._database.session() as connection:
        await connection.execute("update webhook set cursor = $1 where id = $2", newest, webhook.id)
    assert "taken" in (await site.shop.get(at)).words
    both = await site.shop.submit(at, f"{at}/replay", first=str(newest), since="2026-01-01 00:00")
    assert (both.status, "one of the two" in both.words) == (422, True)
    again = await site.shop.submit(at, f"{at}/replay", first=str(newest))
    assert "is sent again" in again.words
    assert (await site.store.webhooks.find(webhook.id)).cursor == newest - 1
    hook.answers.append(500)
    assert "did not take a test event" in (await site.shop.submit(at, f"{at}/test")).words
    assert "It took a test event" in (await site.shop.submit(at, f"{at}/test")).words
    assert [event["kind"] for event in hook.events] == ["test"]
    assert "Paused" in (await site.shop.submit(at, f"{at}/pause")).words
    rotated = await site.shop.submit(at, f"{at}/rotate")
    assert "new signing secret" in rotated.words
    assert "Removed" in (await site.shop.submit(at, f"{at}/remove", reason="moved")).words
    assert await site.store.webhooks.list() == []
