"""What operators and accounts do with mailings, accounts, domains, credentials, webhooks and consents."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import format_id
from mta.store.accounts.reviews import Setting
from policy.accounts.account import AccountStatus, StatusChange
from tests.unit.mta.store.make import accepted
from tests.unit.mta.web.pages.rig import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIST = "Donaudampfschifffahrtsgesellschaftskapitänsmützenverzeichnis"


async def test_an_account_is_reviewed_asked_for_changes_and_approved(site: Site) -> None:
    account = await site.store.accounts.add("neu", domains=["neu.example"], verified=True)
    await site.store.reviews.add_source(account.id, LIST, "sign-up form at neu.example", by="ann")
    await site.store.reviews.set(account.id, {Setting.CONTACT: "kontakt@neu.example"}, by="ann")
    page = await site.ann.get("/accounts/neu")
    assert "terms" in page.words
    form = page.form("/accounts/neu/status", form_name="status-review")
    refused = await site.ann.post("/accounts/neu/status", form)
    assert (refused.status, "not ready for review" in refused.words) == (422, True)
    await site.context.store.account_status.move(account.id, StatusChange.REVIEW, by="ann")
    at = "/accounts/neu"
    page = await site.ann.get(at)
    asked = {**page.form(f"{at}/status", form_name="status-request-changes"), "reason": "Register the imprint."}
    assert "pending now" in (await site.ann.post(f"{at}/status", asked)).words
    await site.context.store.account_status.move(account.id, StatusChange.REVIEW, by="ann")
    assert "is approved" in (await site.ann.submit(at, f"{at}/lists/approve")).words
    page = await site.ann.get(at)
    approved = {**page.form(f"{at}/status", form_name="status-approve"), "reason": "Papers seen."}
    assert "active now" in (await site.ann.post(f"{at}/status", approved)).words
    assert (await site.store.accounts.find("neu")).account.status is AccountStatus.ACTIVE
    page = await site.ann.get(at)
    ended = {**page.form(f"{at}/status", form_name="status-terminate"), "reason": "x", "confirm": "other"}
    assert (await site.ann.post(f"{at}/status", ended)).status == 422


async def test_a_dispatch_is_confirmed_by_a_tick_beside_what_it_says(site: Site) -> None:
    store = site.store
    shop = next(each.account for each in await store.accounts.list() if each.account.name == "shop")
    await store.reviews.add_source(shop.id, "readers", "form", by="ann")
    await store.reviews.approve_source(shop.id, "readers", by="ann")
    await store.reviews.accept_terms(shop.id, site.settings.policy.terms.version, person="Lea", by="ann")
    made = await site.shop.submit("/mailings", "/mailings", name="week-1", topic="offers", list="readers")
    assert "created" in made.words
    number = made.url.rpartition("/")[2]
    hold = Hold(HoldSource.MAILING, "unconfirmed", "not confirmed")
    message = accepted("rita@inbox.example", account_id=shop.id, hold=hold, mailing=number, topic="offers")
    await store.messages.enqueue(message, leased=False)
    at = f"/mailings/{number}"
    page = await site.shop.get(at)
    assert "as rita@inbox.example gets it" in page.words
    form = page.form(f"{at}/confirm")
    assert (await site.shop.post(f"{at}/confirm", form)).status == 422
    chosen = {**form, "tick": "yes", "queued": format_id(message.message.id)}
    done = await site.shop.post(f"{at}/confirm", chosen)
    mailing = (await store.mailings.show(number)).mailing  # type: ignore[union-attr]
    assert (mailing.confirmation is not None) == ("Confirmed" in done.words), done.words[:800]
    assert (await site.browsers["club"].get(at)).status == 404
    stopped = await site.shop.submit(at, f"{at}/stop", reason="a wrong price")
    assert "Stopped" in stopped.words


async def test_a_domain_shows_its_records_and_a_secret_is_shown_once(site: Site) -> None:
    page = await site.shop.get("/domains/shop.example")
    assert "TXT" in page.words
    assert (await site.browsers["club"].get("/domains/shop.example")).status == 404
    made = await site.shop.submit("/credentials", "/credentials", username="shop-pages")
    assert "is not shown again" in made.words
    again = await site.shop.get("/credentials")
    assert "shop-pages" in again.words
    assert "is not shown again" not in again.words
    other = await site.browsers["club"].get("/credentials")
    assert "shop-pages" not in other.words
    fields = {"csrf": other.form("/logout")["csrf"], "username": "shop-pages", "reason": "mine"}
    assert "no credential" in (await site.browsers["club"].post("/credentials/revoke", fields)).words
    revoked = await site.shop.post("/credentials/revoke", {**fields, "csrf": again.form("/logout")["csrf"]})
    assert "is revoked" in revoked.words


async def test_consents_are_imported_with_their_bad_lines(site: Site) -> None:
    at = datetime.now(UTC).replace(microsecond=0).isoformat()
    rows = [f"rita@inbox.example,offers,single_opt_in,{at}", f"not-an-address,offers,single_opt_in,{at}", ",,,"]
    file = "\n".join(["address,topics,basis,given_at", *rows]).encode()
    page = await site.shop.submit("/consents", "/consents/import", file=file)
    assert "The import has begun" in page.words, page.words[:600]
    async with asyncio.timeout(20):
        while "running" in (page := await site.shop.get(page.url)).words:  # noqa: ASYNC110 - the page tells
            await asyncio.sleep(0.05)
    assert "line" in page.words.lower()
    assert "not-an-address" in page.words or "3" in page.words
    assert (await site.browsers["club"].get(page.url)).status == 404
    shown = await site.shop.get("/consents/rita@inbox.example")
    assert "single opt in" in shown.words
    assert "Nothing is recorded" in (await site.browsers["club"].get("/consents/rita@inbox.example")).words


async def test_the_terms_are_accepted_by_a_person_of_the_account(site: Site) -> None:
    assert (await site.ann.get("/account")).url == "/accounts"
    club = site.browsers["club"]
    assert "Terms to accept" in (await club.get("/account")).words
    assert (await club.submit("/account", "/account/terms", person="Cleo")).status == 422
    done = await club.submit("/account", "/account/terms", person="Cleo", tick="yes")
    assert "is accepted" in done.words
    account = (await site.store.accounts.find("club")).account
    assert account.terms is not None
    assert account.terms.by == "Cleo"


async def test_a_message_is_judged_without_being_sent(site: Site) -> None:
    before = await site.store.queue.count_states()
    head = "From: desk@shop.example\nTo: rita@inbox.example\nSubject: Your order\n"
    text = f"{head}Date: Mon, 30 Nov 2026 09:00:00 +0000\n\nHello\n"
    page = await site.shop.submit("/test/message", "/test/message", text=text)
    assert "It would be" in page.words
    assert "sender_identity" in page.words
    assert await site.store.queue.count_states() == before
    wrong = await site.shop.submit("/test/message", "/test/message", text="")
    assert wrong.status == 422


async def test_an_account_is_added_with_its_first_credential(site: Site) -> None:
    wrong = await site.ann.submit("/accounts", "/accounts", name="bakery", domains="bakery.example, b@d")
    assert wrong.status == 422
    assert "bakery.example, b@d" in wrong.text  # what was typed is kept
    made = await site.ann.submit("/accounts", "/accounts", name="bakery", domains="bakery.example, brot.example")
    assert "not shown again" in made.words
    found = await site.store.accounts.find("bakery")
    assert [each.domain for each in found.domains] == ["bakery.example", "brot.example"]
    assert found.account.status is AccountStatus.PENDING
    assert found.credentials[0].username in made.words
    row = (await site.store.audit.list(action="account.add"))[0]
    assert (row.actor, row.account) == ("ann", "bakery")
    lacks = (await site.ann.get("/accounts/bakery")).text
    assert '<a href="/domains">' in lacks
    assert (
        await site.shop.post("/accounts", {"csrf": (await site.shop.get("/me")).form("/logout")["csrf"]})
    ).status == 403


async def test_only_settings_that_differ_are_set(site: Site) -> None:
    at = "/accounts/club"
    form = {"name_of_form": "settings", "profile": "transactional", "contact": ""}
    done = await site.ann.submit(at, f"{at}/settings", **form, quota_day="0")
    assert "Settings changed" in done.words
    account = (await site.context.account("club")).account
    assert (account.quotas.day, account.quotas.month, account.contact) == (0, None, "")
    (row, *_) = await site.store.audit.list(action="account.set", limit=1)
    assert (row.before, row.after) == ({"quota_day": None}, {"quota_day": 0})
    assert (await site.ann.submit(at, f"{at}/settings", **form)).status == 200
    assert (await site.context.account("club")).account.quotas.day == 0, "the form shows it"
    await site.ann.submit(at, f"{at}/settings", **form, quota_day="")
    assert (await site.context.account("club")).account.quotas.day is None
    assert len(await site.store.audit.list(action="account.set", limit=10)) == 2


async def test_papers_are_registered_in_a_language_changed_and_removed(site: Site) -> None:
    at = "/accounts/club/papers"
    club = site.browsers["club"]
    given = {
        "name_of_form": "papers", "language": "nl", "names": "Club B.V.\nThe Club", "street": "Kade 1",
        "city": "Amsterdam",
        "postcode": "1011 AA", "country": "NL", "phone": "+31 20 1234567", "email": "desk@club.example",
    }  # fmt: skip
    lacking = await club.submit(at, at, **{**given, "city": ""})
    assert (lacking.status, "city is missing" in lacking.words) == (422, True)
    done = await club.submit(at, at, **given)
    assert done.url == "/account"
    assert "Kade 1" in done.words
    assert (await site.shop.get(at)).status == 404
    changed = await site.ann.get(f"{at}?language=nl")
    assert "The Club" in changed.text
    assert "Kade 2" in (await site.ann.submit(f"{at}?language=nl", at, **{**given, "street": "Kade 2"})).words
    removed = await site.ann.submit(f"{at}?language=nl", f"{at}/remove", reason="wrong papers")
    assert "are removed" in removed.words
    assert (await site.store.accounts.find("club")).account.identities == ()


async def test_a_finding_does_not_name_another_account_to_an_account(site: Site) -> None:
    club, shop = [(await site.context.account(each)).account.id for each in ("club", "shop")]
    text = "about 90% of 5000 addresses are in a list of another account, too"
    async with site.store._database.session() as connection:
        await connection.execute(
            "insert into list_finding (account_id, file, sign, other_id, hold, text)"
            " values ($1, '', 'overlap', $2, false, $3)",
            club, shop, text,
        )  # fmt: skip
    told = (await site.browsers["club"].get("/consents")).words
    assert (text in told, "shop" in told) == (True, False)
    assert f"{text} ( shop )" in (await site.ann.get("/consents")).words
