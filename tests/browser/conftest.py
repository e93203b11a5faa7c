"""The pages with something in them, and a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from bench import programs
from config.schema import DatabaseSettings
from mta.admin import complaints, shaping, users, webhooks
from mta.admin.senders import keys
from mta.dkim.keys import Algorithm
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import format_id
from mta.mail.shaping_action import ActionScope
from mta.store.accounts.reviews import Setting
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.accounts.account import Identity, StatusChange
from policy.permission.sign_up_form import SignUpForm
from policy.permission.suppression import Reason
from policy.reputation.complaint import Complaint, Source
from tests.browser.chromium import Visitor, chromium, visitor
from tests.conftest import new_database
from tests.unit.mta.store.make import accepted, failed, put, result
from tests.unit.mta.web.pages.rig import WARMING, Site, open_site

LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft mbH"
LIST = "Fahrplanänderungsbenachrichtigungen"
HOSTILE = '<img src=x onerror="document.title=1"> \u202e Grüße & "Küsse"'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser there is nothing to test here."""
    if programs.absent("chromium"):
        for item in items:
            if "tests/browser/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="Chromium is not here (make peers)"))


@pytest.fixture(scope="module")
def module_database(postgres_server: str) -> Iterator[str]:
    yield from new_database(postgres_server)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    secrets = Secrets(bytes(range(32)))
    store = await Store.open(module_database, DatabaseSettings(), secrets)
    try:
        await store.lease.register()
        async with open_site(store, secrets, tmp_path_factory.mktemp("data"), **WARMING) as opened:
            opened.url = opened.url.replace("127.0.0.1", "localhost")  # passkeys need a host name
            await _fill(opened)
            yield opened
    finally:
        await store.close()


async def _fill(site: Site) -> None:
    """Fill the pages. ``site.known``: values for the parameters of their addresses."""
    store = site.store
    shop = next(each.account for each in await store.accounts.list() if each.account.name == "shop")
    held = accepted(
        "rita@inbox.example",
        account_id=shop.id,
        subject=HOSTILE,
        hold=Hold(HoldSource.OPERATOR, "", "look at it first"),
    )
    await store.messages.enqueue(held, leased=False)
    lost = await put(store, "unknown@inbox.example", account_id=shop.id, subject="Your order 17")
    await store.results.write([result(lost, [failed(lost.recipients[0])], provider="inbox")])
    applicant = await store.accounts.add("schifffahrt", domains=["schifffahrt.example"])
    papers = Identity(
        "de", (LONG,), "Uferstraße 12", "94032", "Passau", "DE", "+49 851 1", "kontakt@schifffahrt.example"
    )
    await store.reviews.set(applicant.id, {Setting.CONTACT: papers.email}, by="ann")
    await store.reviews.set_identity(applicant.id, papers, by="ann")
    await store.reviews.add_source(
        applicant.id, "Fahrplanänderungsbenachrichtigungen", "Anmeldeformular " * 12, by="ann"
    )
    await store.account_status.move(applicant.id, StatusChange.REVIEW, by="ann")
    await store.reviews.add_source(shop.id, "readers", "form in the shop", by="ann")
    await store.reviews.approve_source(shop.id, "readers", by="ann")
    mailing = await store.mailings.add(shop.id, "week-1", topic="offers", list="readers", by="ann")
    waiting = accepted("rita@inbox.example", account_id=shop.id, mailing=mailing.id, topic="offers",
                       hold=Hold(HoldSource.MAILING, "unconfirmed", "not confirmed"))  # fmt: skip
    await store.messages.enqueue(waiting, leased=False)
    case = await complaints.open_case(
        site.context,
        Complaint(shop.id, Source.RECIPIENT, f"I never signed up. {HOSTILE}", address="rita@inbox.example"),
    )
    await store.cases.clocks.ring(await complaints.open_desk(site.context))
    action = await shaping.pause(
        site.context, ActionScope(domain="inbox.example"), span=timedelta(hours=1), reason="too many refusals"
    )
    address = held.message.envelope.recipients[0].address
    await store.suppressions.add(shop.id, address, Reason.MANUAL, detail=f"by phone {LONG}", topic="other")
    await keys.create(site.context, "shop.example", [Algorithm.RSA], "s2026")
    webhook, _ = await webhooks.add(site.context, "shop", "https://hooks.example.net/" + "auftraege/" * 8)
    form = {
        "name": "newsletter", "sender": "desk@shop.example", "version": "1",
        "topics": [{"name": "offers", "labels": {"de": LIST}}],
        "statements": {"de": f"Ja, ich möchte den Newsletter von {LONG} zu Angeboten per E-Mail erhalten."},
    }  # fmt: skip
    await site.store.sign_ups.put_form(shop.id, SignUpForm.model_validate(form), by="ann")
    site.known = {
        "id": format_id(held.message.id), "lost": format_id(lost.message_id), "case": str(case), "mailing": mailing.id,
        "number": str(action.id), "name": "schifffahrt", "address": "rita@inbox.example", "domain": "shop.example",
        "source": "new", "provider": "gmail", "selector": "s2026", "webhook": str(webhook.id),
        "account": "shop", "form": "newsletter",
    }  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module")
async def ann(site: Site, browser: Browser) -> AsyncIterator[Visitor]:
    """The operator, who is logged in."""
    async with logged_in(site, browser, "ann") as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def shop(site: Site, browser: Browser) -> AsyncIterator[Visitor]:
    """A user of the account shop, who is logged in."""
    async with logged_in(site, browser, "shop") as found:
        yield found


@asynccontextmanager
async def logged_in(site: Site, browser: Browser, name: str, **options: Any) -> AsyncIterator[Visitor]:
    """A window of a user who has logged in by a link."""
    async with visitor(browser, site.url, **options) as found:
        await found.go(f"/login/link?token={await users.link(site.context, name)}")
        await found.press(f"Log in as {name}")
        yield found
