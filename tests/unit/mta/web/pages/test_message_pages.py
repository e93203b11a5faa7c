"""Messages as an account and as an operator see them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from mta.admin import messages, shaping
from mta.admin.context import Actor, AdminContext, Via
from mta.admin.permissions import Role
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import MessageId, format_id
from mta.mail.shaping_action import ActionScope, ShapingAction
from tests.unit.mta.store.make import accepted
from tests.unit.mta.web.pages.rig import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _as_shop(site: Site) -> AdminContext:
    account = (await site.context.account("shop")).account
    actor = Actor("shop", Role.ACCOUNT, Via.API, "", account.id, account.name, Role.ACCOUNT.scopes)
    return replace(site.context, actor=actor)


async def _queued(site: Site, *to: str, **more: str) -> MessageId:
    shop = (await site.context.account("shop")).account
    message = accepted(*to, account_id=shop.id, **more)
    await site.store.messages.enqueue(message, leased=False)
    return message.message.id


async def _pause(site: Site, domain: str, reason: str) -> ShapingAction:
    return await shaping.pause(site.context, ActionScope(domain=domain), span=timedelta(hours=1), reason=reason)


async def test_an_account_sees_the_actions_that_its_mail_waits_for_without_what_operators_say(site: Site) -> None:
    number = await _queued(site, "rita@slow.example")
    waited = await _pause(site, "slow.example", "club sends spam there")
    await _pause(site, "other.example", "not for this mail")
    async with site.store._database.session() as connection:
        await connection.execute("update queue set waits_for = $2 where message_id = $1", number, waited.id)
    assert (await messages.explain(site.context, number)).actions == {waited.id: waited}
    (shown,) = (await messages.explain(await _as_shop(site), number)).actions.values()
    assert shown == replace(waited, author="", reason="")
    told = (await site.shop.get(f"/messages/{format_id(number)}")).words
    assert f"Shaping action {waited.id} (suspend)" in told
    assert "sends spam" not in told


async def test_the_queue_is_searched_for_a_domain_in_any_spelling(site: Site) -> None:
    await _queued(site, "ida@bücher.example")
    for typed in ("Bücher.example", "xn--bcher-kva.example"):
        assert "ida@" in (await site.ann.get("/queue/list", params={"destination": typed})).words
    assert "ida@" in (await site.ann.get("/queue/list", params={"recipient": "Ida@BÜCHER.example"})).words
    assert "not a valid domain" in (await site.ann.get("/queue/list", params={"destination": "no domain"})).words


async def _reads(site: Site) -> list[str]:
    return [f"{row.actor} {row.subject}" for row in await site.store.audit.list(action="message.read", limit=10)]


async def test_whose_mail_an_operator_has_read_is_in_the_audit(site: Site) -> None:
    number = format_id(await _queued(site, "lea@inbox.example"))
    await site.shop.get(f"/messages/{number}")
    assert await _reads(site) == []
    assert "What it says" in (await site.ann.get(f"/messages/{number}")).words
    assert await _reads(site) == [f"ann {number}"]


async def test_the_message_that_is_to_be_confirmed_is_read_by_a_name_too(site: Site) -> None:
    shop = (await site.context.account("shop")).account
    mailing = await site.store.mailings.add(shop.id, "week-2", topic="offers", list="readers", by="shop")
    hold = Hold(HoldSource.MAILING, "unconfirmed", "not confirmed")
    message = accepted("ida@inbox.example", account_id=shop.id, hold=hold, mailing=mailing.id, topic="offers")
    await site.store.messages.enqueue(message, leased=False)
    for browser in (site.shop, site.ann):
        assert "as ida@inbox.example gets it" in (await browser.get(f"/mailings/{mailing.id}")).words
    assert (await _reads(site))[0] == f"ann {format_id(message.message.id)}"
