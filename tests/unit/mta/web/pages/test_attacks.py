"""What an attacker of somebody who is logged in must not get: a change by a link, a form of another site, a session."""

from __future__ import annotations

import json
import re
import time
from urllib.parse import quote

import pyotp
import pytest
from yarl import URL

from mta.admin import users
from mta.admin.permissions import Role
from mta.web.pages.site import MAX_FIELDS
from mta.web.pages.subjects import all_routes
from tests.unit.mta.web.pages.rig import Browser, Site
from tests.unit.mta.web.tables import contents, different

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
PASSWORD = "quiet otter maple seven"
FIELDS = {
    "action": "bounce", "reason": "x", "account": "shop", "address": "ann@example.net", "topic": "", "name": "x",
    "url": "https://h.example/", "confirm": "yes", "role": "operator",
}  # fmt: skip


def addresses(method: str) -> list[str]:
    """Every address of a method, about the account shop."""
    return [re.sub(r"{(\w+)(?::path)?}", "shop", route.path) for route in all_routes() if route.method == method] + (
        {"GET": ["/login", "/login/link", "/login/code"], "POST": ["/theme", "/logout"]}[method]
    )


def cookie(browser: Browser, name: str = "session") -> str:
    return next((each.value for each in browser.http.cookie_jar if each.key == name), "")


async def test_looking_changes_nothing(site: Site) -> None:
    before = await contents(site.store)
    query = "&".join(f"{name}={quote(value)}" for name, value in FIELDS.items())
    for path in addresses("GET") + addresses("POST"):
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"):
            answer = await site.ann._ask(method, f"{path}?{query}", False)
            assert answer.status < 500, (method, path)
    assert different(before, await contents(site.store)) == []


async def test_no_form_is_taken_from_another_session_or_site(site: Site) -> None:
    others = (await site.shop.get("/me")).form("/logout")["csrf"]
    own = (await site.ann.get("/me")).form("/logout")["csrf"]
    before = await contents(site.store)
    tried = 0
    for path in addresses("POST"):
        for token in ("", others, own[:-1], own + "0", own.swapcase()):
            answer = await site.ann.post(path, {**FIELDS, "csrf": token}, follow=False)
            assert answer.status == 403, (path, answer.status)
            tried += 1
        answer = await site.ann.post(path, json.dumps(FIELDS), headers={"Content-Type": "application/json"})
        assert answer.status == 403, path
        for headers in (
            {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
            {"Origin": "null"},
        ):  # fmt: skip
            answer = await site.ann.post(path, {**FIELDS, "csrf": own}, headers=headers)
            assert answer.status == 403, (path, headers)
    assert tried > 100
    assert different(before, await contents(site.store)) == []


async def test_each_step_of_a_login_begins_another_session(site: Site) -> None:
    """What was planted before, or seen between the steps, is no session afterwards."""
    await users.add(site.context, "fixed", Role.OPERATOR)
    first = await site.log_in("fixed")
    page = await first.get("/me")
    secret = page.form("/me/password")["secret"]
    fields = {**page.form("/me/password"), "password": PASSWORD, "again": PASSWORD, "code": pyotp.TOTP(secret).now()}
    assert "are set" in (await first.post("/me/password", fields)).words

    browser = site.stranger()
    browser.http.cookie_jar.update_cookies({"session": "planted"}, URL(site.url))
    page = await browser.submit("/login", "/login", name="fixed", password=PASSWORD)
    between = cookie(browser)
    assert between not in ("", "planted")
    code = pyotp.TOTP(secret).at(time.time() + 30)
    assert (await browser.post("/login/code", {**page.form("/login/code"), "code": code})).status == 200
    after = cookie(browser)
    assert after not in ("", "planted", between)
    for old in ("planted", between):
        thief = site.stranger()
        thief.http.cookie_jar.update_cookies({"session": old}, URL(site.url))
        assert (await thief.get("/me", follow=False)).status == 303, old
    assert (await browser.get("/me", follow=False)).status == 200


async def test_no_session_is_accepted_that_was_not_opened(site: Site) -> None:
    browser = await site.log_in("ann")
    token = cookie(browser)
    forged = [token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in range(len(token))]
    for text in (*forged, token[:-1], token + "A", token.swapcase(), "", "null", "0"):
        thief = site.stranger()
        thief.http.cookie_jar.update_cookies({"session": text}, URL(site.url))
        assert (await thief.get("/me", follow=False)).status == 303, text
    assert (await browser.get("/me", follow=False)).status == 200


async def test_a_secret_is_shown_once_and_on_no_other_page(site: Site) -> None:
    made = await site.shop.submit("/credentials", "/credentials")
    hook = await site.shop.submit("/webhooks", "/webhooks", url="https://h.example/once")
    secrets = [
        text for page in (made, hook) for text in re.findall(r"<(?:code|output)[^>]*>([\w+/=-]{20,})</", page.text)
    ]
    assert len(secrets) == 2, (made.words[:500], hook.words[:500])
    for browser in (site.ann, site.shop):
        for path in addresses("GET"):
            for more in ("", "?format=csv"):
                text = (await browser.get(path + more)).text
                assert not [each for each in secrets if each in text], path


@pytest.mark.parametrize("path", ["/consents/import", "/test/message", "/test/bounce", "/suppressions"])
async def test_no_upload_is_a_bomb(site: Site, path: str) -> None:
    """Many fields, many files, a part without an end, and more than is allowed: refused, and nothing is kept."""
    own = (await site.ann.get("/me")).form("/logout")["csrf"]
    before = await contents(site.store)
    head = b'--b\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n' + own.encode() + b"\r\n"
    field = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n'
    file = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\ny\r\n'
    long_name = b'--b\r\nContent-Disposition: form-data; name="' + b"n" * (MIB // 2) + b'"\r\n\r\ny\r\n'
    bodies = {
        "fields": head + field * (MAX_FIELDS + 1) + b"--b--\r\n",
        "files": head + file * 50 + b"--b--\r\n",
        "a name": head + long_name + b"--b--\r\n",
        "no end": head + b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"y" * MIB,
        "a boundary that is none": b"x" * MIB,
    }
    for name, body in bodies.items():
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = await site.ann.post(path, body, headers=headers, follow=False)
        assert 400 <= answer.status < 500, (name, answer.status)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await site.ann.post(path, b"csrf=" + own.encode() + b"&a=b" * 100_000, headers=form, follow=False)
    assert 400 <= answer.status < 500, answer.status
    assert different(before, await contents(site.store)) == []
