"""The public pages before scanners and forgers: only a POST changes anything, and only a link that was sent works."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mta.mail.address import Address
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.permission.tokens import Claim
from tests.unit.mta.web.tables import contents, different
from tests.unit.mta.web.test_sign_up import ANN, CONFIRM, TOKENS, Site, link_in, open_site

HARMLESS = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH")
EVERYTHING = (
    "List-Unsubscribe=One-Click&confirm=unsubscribe&confirm=sign_up&save=none&address=ann@example.net&topic=offers"
)


@pytest.fixture
async def site(store: Store) -> AsyncIterator[Site]:
    async with open_site(store) as opened:
        yield opened


async def real_paths(site: Site, secrets: Secrets) -> dict[str, str]:
    """A working address of each route."""
    form = await site.form()
    await site.fill_in(form)
    ((_, letter),) = await site.mail()
    token = TOKENS.make(Claim("u", 1, secrets.address_key(Address.parse(ANN)), "m-1", "offers"))
    paths = {
        "/u/{token:link}": f"/u/{token}",
        "/s/{form}": f"/s/{form.id}",
        "/c/{token}": link_in(letter),
        "/abuse": "/abuse",
    }
    assert paths.keys() == {route.path for route in site.public.app.routes}, "a new route needs an address here"
    return paths


async def test_only_a_post_changes_anything(site: Site, secrets: Secrets) -> None:
    paths = await real_paths(site, secrets)
    before = await contents(site.store)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in paths.values():
        for method in HARMLESS:
            for address in (f"{path}?{EVERYTHING}", f"{path}?choose&{EVERYTHING}"):
                async with site.http.request(method, address, data=EVERYTHING, headers=form) as answer:
                    assert answer.status < 500, (method, path)
                    assert "Set-Cookie" not in answer.headers
    assert different(before, await contents(site.store)) == []
    for path in (paths["/c/{token}"], paths["/u/{token:link}"]):  # they would have worked
        before = await contents(site.store)
        body = CONFIRM if path.startswith("/c/") else {"List-Unsubscribe": "One-Click"}
        assert (await site.http.post(path, data=body)).status == 200
        assert different(before, await contents(site.store))


async def test_no_link_is_accepted_that_was_not_sent(site: Site, secrets: Secrets) -> None:
    paths = await real_paths(site, secrets)
    before = await contents(site.store)
    for name in ("/c/{token}", "/u/{token:link}"):
        start, token = paths[name][:3], paths[name][3:]
        forged = [token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in range(len(token))]
        body = CONFIRM if name.startswith("/c/") else {"List-Unsubscribe": "One-Click"}
        for text in (*forged, token[:-1], token[1:], token.swapcase(), token[::-1]):
            async with site.http.post(start + text, data=body) as answer:
                assert answer.status in (400, 404, 410), (name, text)
    async with site.http.post("/u/" + paths["/c/{token}"][3:], data={"List-Unsubscribe": "One-Click"}) as answer:
        assert answer.status == 404, "a link for one thing does another"
    assert different(before, await contents(site.store)) == []
