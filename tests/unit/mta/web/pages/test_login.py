"""Who gets in, how, and who does not."""

from __future__ import annotations

import re
import time

import pyotp
import pytest
import segno
from yarl import URL

from mta.admin import users
from mta.admin.errors import Refused
from mta.admin.permissions import Role
from mta.web.clients import RequestRates
from tests.unit.mta.web.pages.rig import Browser, Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "quiet otter maple seven"


def _session(browser: Browser) -> str:
    return next((each.value for each in browser.http.cookie_jar if each.key == "session"), "")


async def _set_password(browser: Browser) -> str:
    """Set the password and an authenticator app; return the secret of the app."""
    page = await browser.get("/me")
    secret = page.form("/me/password")["secret"]
    fields = {**page.form("/me/password"), "password": PASSWORD, "again": PASSWORD, "code": pyotp.TOTP(secret).now()}
    answer = await browser.post("/me/password", fields)
    assert "are set" in answer.words
    return secret


async def test_the_key_of_an_app_is_shown_as_a_code_to_scan(site: Site) -> None:
    page = await site.shop.get("/me")
    secret = page.form("/me/password")["secret"]
    address = pyotp.TOTP(secret).provisioning_uri(name="shop", issuer_name="Imprimatur")
    modules = re.search(r'<path class="qrline" stroke="#000" d="([^"]+)"', page.text)
    assert modules
    assert modules[1] in segno.make(address, error="m").svg_inline()
    fields = {**page.form("/me/password"), "password": PASSWORD, "again": PASSWORD, "code": "12345"}
    refused = await site.shop.post("/me/password", fields)
    assert (refused.status, modules[1] in refused.text) == (422, True)  # the app has scanned it already


def _later_code(secret: str) -> str:
    """The code of the next step: that of the present one was taken when it was set up."""
    return pyotp.TOTP(secret).at(time.time() + 30)


async def test_without_a_session_every_page_leads_to_the_login(site: Site) -> None:
    stranger = site.stranger()
    answer = await stranger.get("/me?x=1", follow=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/login?next=%2Fme%3Fx%3D1")
    assert (await stranger.post("/me/sessions/end", {}, follow=False)).headers["Location"] == "/login"
    page = await stranger.get("/login")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


async def test_a_link_logs_in_once_and_not_by_being_looked_at(site: Site) -> None:
    link = f"/login/link?token={await users.link(site.context, 'ann')}"
    first, second = site.stranger(), site.stranger()
    assert "as ann" in (await second.get(link)).words
    assert (await first.submit(link, "/login/link")).url == "/"
    assert "was used" in (await second.get(link)).words


async def test_every_login_begins_a_new_session(site: Site) -> None:
    browser = site.stranger()
    planted = "planted-by-someone-else"
    browser.http.cookie_jar.update_cookies({"session": planted}, URL(site.url))
    token = await users.link(site.context, "ann")
    await browser.submit(f"/login/link?token={token}", "/login/link")
    first = _session(browser)
    assert first not in ("", planted)
    assert await site.store.web_sessions.find(planted) is None
    token = await users.link(site.context, "ann")
    await browser.submit(f"/login/link?token={token}", "/login/link")
    assert _session(browser) != first


async def test_password_and_code_log_in_and_a_code_only_once(site: Site) -> None:
    await users.add(site.context, "paula", Role.OPERATOR)
    secret = await _set_password(await site.log_in("paula"))
    browser = site.stranger()
    page = await browser.submit("/login?next=/me", "/login", name="Paula", password=PASSWORD)
    assert page.url == "/login/code?next=/me"
    assert (await browser.get("/me", follow=False)).status == 303  # not yet
    code = _later_code(secret)
    again = {**page.form("/login/code"), "code": code}
    assert (await browser.post("/login/code", again)).url == "/me"
    other = site.stranger()
    page = await other.submit("/login", "/login", name="paula", password=PASSWORD)
    answer = await other.post("/login/code", {**page.form("/login/code"), "code": code})
    assert (answer.status, "not valid" in answer.words) == (403, True)


async def test_a_name_is_locked_after_some_mistakes_and_looks_like_any_other(site: Site) -> None:
    await users.add(site.context, "larry", Role.OPERATOR)
    await _set_password(await site.log_in("larry"))
    browser = site.stranger()
    for _ in range(5):
        wrong = await browser.submit("/login", "/login", name="larry", password="wrong wrong wrong")
    right = await browser.submit("/login", "/login", name="larry", password=PASSWORD)
    unknown = await browser.submit("/login", "/login", name="nobody-at-all", password=PASSWORD)
    assert wrong.status == right.status == unknown.status == 403
    assert right.words.replace("larry", "") == unknown.words.replace("nobody-at-all", "")
    rows = await site.store.audit.list(actor="larry", action="login")
    assert [each.outcome for each in rows].count("refused") == 5
    site.port.pages._login._rates = RequestRates(1, 1000)  # those were not few


async def test_a_form_needs_the_token_of_its_session_and_the_same_site(site: Site) -> None:
    page = await site.ann.get("/me")
    fields = page.form("/me/sessions/end")
    assert (await site.ann.post("/me/sessions/end", {**fields, "csrf": ""})).status == 403
    assert (await site.ann.post("/me/sessions/end", {**fields, "csrf": "x" * 32})).status == 403
    other = (await site.shop.get("/me")).form("/me/sessions/end")["csrf"]
    assert (await site.ann.post("/me/sessions/end", {**fields, "csrf": other})).status == 403
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert (await site.ann.post("/me/sessions/end", fields, headers=headers)).status == 403
    assert "everywhere else" in (await site.ann.post("/me/sessions/end", fields)).words


async def test_a_disabled_user_is_out_at_once(site: Site) -> None:
    await users.add(site.context, "dora", Role.OPERATOR)
    browser = await site.log_in("dora")
    await users.disable(site.context, "dora", reason="left")
    assert (await browser.get("/me", follow=False)).status == 303
    with pytest.raises(Refused, match="disabled"):
        await users.link(site.context, "dora")


async def test_log_out_ends_the_session_itself(site: Site) -> None:
    browser = await site.log_in("ann")
    token = _session(browser)
    assert await site.store.web_sessions.find(token)
    await browser.submit("/me", "/logout")
    assert await site.store.web_sessions.find(token) is None


async def test_a_plain_password_is_not_taken(site: Site) -> None:
    page = await site.ann.get("/me")
    plain = (("short", "short", "12 to 200"), ("aaaaaaaaaaaaaa", "", "guess"), (PASSWORD, "x", "differ"))
    for password, again, why in plain:
        fields = {**page.form("/me/password"), "password": password, "again": again, "code": "000000"}
        answer = await site.ann.post("/me/password", fields)
        assert (answer.status, why in answer.words) == (422, True)


async def test_login_never_leads_elsewhere(site: Site) -> None:
    for elsewhere in ("//evil.example/", "https://evil.example", "/\\evil.example", "/login"):
        token = await users.link(site.context, "ann")
        page = await site.stranger().get(f"/login/link?token={token}")
        assert page.status == 200
        browser = site.stranger()
        form = (await browser.get(f"/login/link?token={token}")).form("/login/link")
        answer = await browser.post("/login/link", {**form, "next": elsewhere}, follow=False)
        assert answer.headers["Location"] == "/"


async def test_static_files_are_kept_for_good_and_named_by_their_content(site: Site) -> None:
    page = await site.ann.get("/")
    address = next(each for each in page.text.split('"') if each.endswith("/app.css"))
    answer = await site.stranger().get(address)
    assert (answer.status, "immutable" in answer.headers["Cache-Control"]) == (200, True)
    assert answer.headers["Content-Type"].startswith("text/css")
    assert (await site.stranger().get("/static/0000000000000000/app.css")).status == 404
