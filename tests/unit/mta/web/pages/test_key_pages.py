"""DKIM keys by page, from creation to retirement."""

from __future__ import annotations

import pytest

from mta.admin.senders import keys
from mta.dkim.keys import Algorithm
from mta.dkim.records import record_text
from mta.store.accounts.dkim_keys import KeyState
from mta.testing.nameserver import Node
from tests.unit.mta.web.pages.rig import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_key_is_made_published_activated_and_retired(site: Site) -> None:
    domain, at = "shop.example", "/domains/keys/shop.example/s1"
    made = await site.ann.submit("/domains/keys", "/domains/keys", domain=domain, algorithm="ed25519", selector="s1")
    assert made.url == at
    assert "s1._domainkey.shop.example" in made.words
    early = await site.ann.submit(at, f"{at}/activate")
    assert (early.status, "there is no TXT record; publish it" in early.words) == (422, True)
    assert "would not verify" in (await site.ann.get(f"{at}?look=1")).words
    key = (await keys.find(site.context, domain, "s1")).key
    site.zone[f"s1._domainkey.{domain}"] = Node(txt=(record_text(key),))
    assert "its signatures verify" in (await site.ann.get(f"{at}?look=1")).words
    assert "s1 signs for shop.example" in (await site.ann.submit(at, f"{at}/activate")).words
    last = await site.ann.submit(at, f"{at}/retire")
    assert (last.status, "last active key" in last.words) == (422, True)
    retired = await site.ann.submit(at, f"{at}/retire", force="yes")
    assert "signs no more" in retired.words
    assert (await keys.find(site.context, domain, "s1")).state is KeyState.RETIRED
    actions = [row.action for row in await site.store.audit.list(limit=20) if row.outcome == "done"]
    assert actions[:3] == ["key.retire", "key.activate", "key.create"]


async def test_two_keys_are_made_at_once(site: Site) -> None:
    fields = {"domain": "club.example", "algorithm": "both", "selector": "two"}
    made = await site.ann.submit("/domains/keys", "/domains/keys", **fields)
    assert "They sign nothing yet" in made.words
    assert "two-rsa" in made.words
    assert "two-ed25519" in made.words
    again = await site.ann.submit("/domains/keys", "/domains/keys", **fields)
    assert (again.status, "choose another selector" in again.words) == (422, True)
    wrong = await site.ann.submit("/domains/keys", "/domains/keys", domain="a b", algorithm="rsa")
    assert wrong.status == 422


async def test_an_account_sees_its_own_keys_and_changes_none(site: Site) -> None:
    await keys.create(site.context, "shop.example", [Algorithm.ED25519], "own")
    at = "/domains/keys/shop.example/own"
    page = await site.shop.get(at)
    assert "own._domainkey.shop.example" in page.words
    assert f"{at}/activate" not in page.text
    assert (await site.browsers["club"].get(at)).status == 404
    fields = {"csrf": page.form("/logout")["csrf"], "force": "yes"}
    assert (await site.shop.post(f"{at}/activate", fields)).status == 403
    assert (
        await site.shop.post("/domains/keys", {**fields, "domain": "shop.example", "algorithm": "rsa"})
    ).status == 403
