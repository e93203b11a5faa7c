"""What operators and accounts do all day, in a real browser; no page says anything on the console, and axe-core finds
nothing against WCAG 2.2 AA."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from playwright.async_api import Browser

from mta.web.pages.subjects import all_routes
from policy.accounts.account import AccountStatus
from policy.reputation.complaint import CaseState
from tests.browser.chromium import DESK, PHONE, ZOOMED, Visitor
from tests.browser.conftest import logged_in
from tests.unit.mta.web.pages.rig import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _is_sound(who: Visitor) -> None:
    assert await who.violations() == [], who.page.url
    assert await who.overflow() == 0, who.page.url
    assert who.troubles == [], who.page.url


async def test_a_passkey_is_added_and_logs_in(site: Site, shop: Visitor) -> None:
    session = await shop.context.new_cdp_session(shop.page)
    await session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page = await shop.go("/me")
    await page.get_by_label("Name of a new passkey").fill("office laptop")
    async with page.expect_navigation():
        await page.get_by_role("button", name="Add a passkey").click()
    assert "office laptop" in await shop.says()
    await shop.press("Log out")
    assert page.url.endswith("/login")
    await page.get_by_role("button", name="Log in with a passkey").click()
    await page.wait_for_url(f"{site.url}/")
    assert "Overview" in await shop.says()
    await shop.press("Log out")
    await _is_sound(shop)


async def test_a_hold_is_released_after_a_look_at_the_message(site: Site, ann: Visitor) -> None:
    page = await ann.go("/held?held_by=operator")
    await page.get_by_role("link", name="rita@inbox.example").first.click()
    assert "look at it first" in await ann.says()
    assert await page.title() != "1"  # what the subject says was not run
    await _is_sound(ann)
    await page.get_by_role("link", name="Release", exact=True).click()
    await page.get_by_label("Reason").fill("it is fine")
    await ann.press("Release 1 recipient")
    assert "1 recipient released" in await ann.says()


async def test_why_a_message_failed_is_found_by_its_recipient(site: Site, ann: Visitor) -> None:
    page = await ann.go("/search")
    await page.get_by_label("Recipient").fill("unknown@inbox.example")
    await ann.press("Search")
    await page.get_by_role("link", name="unknown@inbox.example").click()
    assert "550 5.1.1 no such user" in await ann.says()
    await _is_sound(ann)


async def test_an_action_is_cancelled(site: Site, ann: Visitor) -> None:
    page = await ann.go(f"/shaping/{site.known['number']}")
    await _is_sound(ann)
    await page.get_by_label("Reason").fill("they answer again")
    await ann.press(f"Cancel action {site.known['number']}")
    assert "cancelled" in await ann.says()


async def test_a_case_is_answered_decided_and_closed(site: Site, browser: Browser, ann: Visitor, shop: Visitor) -> None:
    at = f"/complaints/{site.known['case']}"
    page = await shop.go(at)
    await _is_sound(shop)
    await page.get_by_label("What happened").fill("She signed up in March.\nThe proof is in the ledger.")
    await shop.press("Answer")
    page = await ann.go(at)
    await page.get_by_label("What was agreed").fill("She was removed.")
    await ann.press("Accept the answer")
    await page.get_by_label("No, it was unfounded").check()
    await ann.press("Close")
    assert "Closed as unfounded" in await ann.says()
    assert (await site.store.cases.show(int(site.known["case"]))).case.state is CaseState.CLOSED
    await _is_sound(ann)


async def test_an_account_is_reviewed_and_approved(site: Site, ann: Visitor) -> None:
    page = await ann.go("/accounts/schifffahrt")
    await _is_sound(ann)
    await ann.press("Approve the origin of Fahrplanänderungsbenachrichtigungen")
    await page.get_by_label("Reason").first.fill("Papers seen.")
    await ann.press("Approve")
    assert "schifffahrt is active now" in await ann.says()
    assert (await site.store.accounts.find("schifffahrt")).account.status is AccountStatus.ACTIVE
    await _is_sound(ann)


async def test_times_are_in_the_readers_zone_and_utc_on_hover(site: Site, browser: Browser) -> None:
    async with logged_in(site, browser, "ann", timezone_id="Asia/Tokyo") as tokyo:
        page = await tokyo.go("/me")
        time = page.locator("main time").first
        at = datetime.fromisoformat(await time.get_attribute("datetime") or "")
        assert (await time.get_attribute("title") or "").startswith(f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
        hour = int((await time.inner_text())[11:13])
        assert hour == (at.astimezone(UTC).hour + 9) % 24


async def test_a_dispatch_is_looked_at_and_confirmed(site: Site, shop: Visitor) -> None:
    page = await shop.go(f"/mailings/{site.known['mailing']}")
    await _is_sound(shop)
    await page.get_by_label("I have read it").check()
    async with page.expect_navigation():
        await page.get_by_role("button", name="Confirm the dispatch").click()
    assert re.search(r"Confirmed|is not confirmed", await shop.says())


async def test_an_import_shows_its_bad_lines(site: Site, shop: Visitor) -> None:
    page = await shop.go("/consents")
    await _is_sound(shop)
    at = datetime.now(UTC).replace(microsecond=0).isoformat()
    rows = "address,topics,basis,given_at\n"
    rows += f"zoe@inbox.example,offers,single_opt_in,{at}\nnonsense,offers,single_opt_in,{at}\n"
    file = {"name": "readers.csv", "mimeType": "text/csv", "buffer": rows.encode()}
    await page.get_by_label("File").set_input_files(files=[file])  # type: ignore[list-item]
    await shop.press("Import")
    await page.locator(".badge", has_text=re.compile("done|failed")).wait_for()
    assert "nonsense" in await shop.says()
    await _is_sound(shop)


def _paths(site: Site, *, operator: bool) -> list[str]:
    found = []
    for route in all_routes():
        names = re.findall(r"{(\w+)(?::path)?}", route.path)
        if route.method == "GET" and (operator or not route.operator) and all(each in site.known for each in names):
            found.append(re.sub(r"{(\w+)(?::path)?}", lambda match: site.known[match[1]], route.path))
    wrong = ("/breakers/schifffahrt", "/users/schifffahrt", "/destinations/schifffahrt", "/queue/change")
    return [each for each in found if each not in wrong and not each.endswith("/dossier")]  # that is a file


@pytest.mark.nightly
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", [DESK, PHONE, ZOOMED], ids=["desk", "phone", "zoomed"])
@pytest.mark.parametrize("name", ["ann", "shop"])
async def test_every_page_is_sound(
    site: Site, browser: Browser, name: str, window: dict[str, int], scheme: str
) -> None:
    async with logged_in(site, browser, name, viewport=window, color_scheme=scheme) as who:
        for path in _paths(site, operator=name == "ann"):
            answer = await who.page.goto(site.url + path)
            assert answer is not None
            if name == "shop" and answer.status in (403, 404):
                who.troubles.clear()  # the console tells of it
                continue
            assert answer.status == 200, (path, answer.status)
            await _is_sound(who)
