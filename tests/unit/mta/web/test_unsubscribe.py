"""The page and the one click, as mail programs, people and forgers use them, against a real store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiohttp import ClientError, ClientResponse, ClientSession, FormData

from bench.service import free_port
from config.schema import Settings
from mta.mail.address import Address
from mta.observe.labels import UnsubscribeMethod
from mta.observe.metrics import Metrics
from mta.store.permission.unsubscribes import Unsubscribes
from mta.store.postgres.errors import StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.web import public
from mta.web.public import MAX_BODY, PublicPages, PublicStore
from mta.web.server import HttpServer, PlainPort
from mta.web.sign_up import FormClock
from policy.accounts.account import AccountStatus, Identity
from policy.permission.tokens import Claim, Tokens
from tests.unit.mta.store.make import count

TOKENS = Tokens(bytes(32))
CLICK = {"List-Unsubscribe": "One-Click"}
BUTTON = {"confirm": "unsubscribe"}
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
TABLES = ("suppression", "consent_entry", "event", "account")


def settings_with(**public: Any) -> Settings:
    return Settings.model_validate({"server": {"hostname": "mta.example.net"}, "web": {"public": public}})


class Site:
    """A browser before our pages. It follows no redirects: there are none."""

    metrics: Metrics
    store: Store
    public: PublicPages
    server: HttpServer

    def __init__(self, url: str) -> None:
        self.http = ClientSession(url)
        self.get, self.post, self.head, self.put = self.http.get, self.http.post, self.http.head, self.http.put
        self.options, self.request = self.http.options, self.http.request

    async def click(self, token: str, **more: Any) -> ClientResponse:
        return await self.post(f"/u/{token}", data=CLICK, allow_redirects=False, **more)

    async def untouched(self) -> bool:
        return [await count(self.store, table) for table in TABLES] == [0, 0, 0, 1]

    async def close(self) -> None:
        await self.http.close()
        await self.server.close()


async def open_site(store: PublicStore, **public_settings: Any) -> Site:
    metrics, port = Metrics(), free_port()
    public = PublicPages(store, TOKENS, FormClock(bytes(32)), settings_with(**public_settings), metrics)
    site = Site(f"http://127.0.0.1:{port}")
    site.metrics, site.public, site.server = metrics, public, HttpServer(public.app, "web.public")
    await site.server.open(PlainPort("127.0.0.1", port))
    return site


@pytest.fixture
async def site(store: Store) -> AsyncIterator[Site]:
    await store.accounts.add("shop", domains=["acme.example"], status=AccountStatus.ACTIVE, verified=True)
    site = await open_site(store)
    site.store = store
    yield site
    await site.close()


@pytest.fixture
def token(secrets: Secrets) -> str:
    return TOKENS.make(Claim("u", 1, secrets.address_key(Address.parse("ann@example.net")), "m-1", "offers"))


def foreign(token: str) -> list[str]:
    """Forged, truncated, altered, made with another secret, made for something else, not even a token."""
    claim = TOKENS.read(token)
    assert claim
    other = Claim("c", claim.account_id, claim.address_key, claim.mailing, claim.topic)
    return [
        "A" * len(token),
        token[:-4],
        token[:20],
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        Tokens(bytes(31) + b"\1").make(claim),
        TOKENS.make(other),
        "%00%ff%0d%0aSet-Cookie:x",
        "<script>",
        "x" * 5000,
    ]


def gone(token: str) -> str:
    """A token of ours for an account that is gone."""
    claim = TOKENS.read(token)
    assert claim
    return TOKENS.make(Claim("u", 99, claim.address_key, "", "offers"))


def unknown(token: str) -> str:
    """A token of ours for a person of whom nothing is recorded."""
    claim = TOKENS.read(token)
    assert claim
    return TOKENS.make(Claim("u", claim.account_id, bytes(16), claim.mailing, claim.topic))


class TestGet:
    async def test_shows_one_button_and_changes_nothing(self, site: Site, token: str) -> None:
        answer = await site.get(f"/u/{token}")
        text = await answer.text()
        assert answer.status == 200
        assert text.count("<button") == 1
        assert token not in text
        assert await site.untouched()

    async def test_is_the_same_whether_or_not_the_recipient_is_known(self, site: Site, token: str) -> None:
        ours = await seen(await site.get(f"/u/{token}"))
        assert await seen(await site.get(f"/u/{unknown(token)}")) == ours

    async def test_names_the_sender_and_the_topic(self, site: Site, token: str) -> None:
        assert facts_in(await (await site.get(f"/u/{token}")).text()) == {"Sender": "shop", "Topic": "offers"}
        await site.store.reviews.set_identity(1, Identity("de", ("Möbel & Söhne GmbH",)), by="ann")
        answer = await site.get(f"/u/{token}", headers={"Accept-Language": "nl"})
        assert facts_in(await answer.text()) == {"Afzender": "Möbel &amp; Söhne GmbH", "Onderwerp": "offers"}
        assert facts_in(await (await site.click(token)).text())["Sender"] == "Möbel &amp; Söhne GmbH"

    async def test_of_an_account_that_is_gone_names_none(self, site: Site, token: str) -> None:
        answer = await site.get(f"/u/{gone(token)}")
        assert (answer.status, facts_in(await answer.text())) == (200, {"Topic": "offers"})

    async def test_of_a_damaged_link_says_so(self, site: Site, token: str) -> None:
        for other in foreign(token):
            answer = await site.get(f"/u/{other}")
            text = await answer.text()
            assert (answer.status, "<button" in text) == (404, False)
            assert "This link is damaged" in text

    async def test_speaks_the_readers_language(self, site: Site, token: str) -> None:
        titles = {"nl-BE, en;q=0.5": "Uitschrijven", "de": "Abmelden", "fr": "Se désabonner", "es": "Darse de baja"}
        for accepted, title in titles.items():
            answer = await site.get(f"/u/{token}", headers={"Accept-Language": accepted})
            assert f"<h1>{title}</h1>" in await answer.text()
            assert answer.headers["Vary"] == "Accept-Language"

    async def test_head_and_options_are_harmless(self, site: Site, token: str) -> None:
        head = await site.head(f"/u/{token}")
        assert (head.status, await head.read()) == (200, b"")
        options = await site.options(f"/u/{token}", headers={"Origin": "https://evil.example"})
        assert (options.status, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")
        assert not [name for name in options.headers if name.startswith("Access-Control-")]
        for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
            answer = await site.request(method, f"/u/{token}", data=CLICK)
            assert answer.status == 405
        assert await site.untouched()


class TestPost:
    async def test_one_click_is_effective_at_once_and_known_apart_from_the_page(self, site: Site, token: str) -> None:
        answer = await site.click(token, headers={"User-Agent": "Mail/1"})
        assert answer.status == 200
        assert "<button" not in await answer.text()
        assert await count(site.store, "suppression where rule = 'unsubscribe_one_click' and topic = 'offers'") == 1
        assert await count(site.store, "suppression where evidence like '%Mail/1%'") == 1
        assert site.metrics.unsubscribes[UnsubscribeMethod.ONE_CLICK].value == 1

    async def test_by_multipart_too(self, site: Site, token: str) -> None:
        form = FormData(default_to_multipart=True)
        form.add_field("List-Unsubscribe", "One-Click")
        answer = await site.post(f"/u/{token}", data=form)
        assert answer.status == 200
        assert await count(site.store, "suppression where rule = 'unsubscribe_one_click'") == 1

    async def test_the_button(self, site: Site, token: str) -> None:
        answer = await site.post(f"/u/{token}", data=BUTTON, allow_redirects=False)
        assert answer.status == 200
        assert await count(site.store, "suppression where rule = 'unsubscribe_page'") == 1
        assert site.metrics.unsubscribes[UnsubscribeMethod.PAGE].value == 1

    async def test_again_and_again(self, site: Site, token: str) -> None:
        first = await seen(await site.click(token))
        for _ in range(3):
            assert await seen(await site.click(token)) == first
        assert await count(site.store, "suppression") == 1
        assert await count(site.store, "consent_entry") == 1

    async def test_many_at_once(self, site: Site, token: str) -> None:
        answers = await asyncio.gather(*(site.click(token) for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert await count(site.store, "suppression") == 1
        assert await count(site.store, "consent_entry") == 1

    async def test_an_unknown_recipient_looks_the_same(self, site: Site, token: str) -> None:
        assert await seen(await site.click(unknown(token))) == await seen(await site.click(token))

    async def test_a_link_of_an_account_that_is_gone_changes_nothing(self, site: Site, token: str) -> None:
        assert (await site.click(gone(token))).status == 200
        assert await site.untouched()
        assert site.metrics.unsubscribes[UnsubscribeMethod.UNKNOWN].value == 1

    async def test_a_damaged_link_is_never_called_done(self, site: Site, token: str) -> None:
        others = foreign(token)
        for other in others:
            answer = await site.click(other)
            assert answer.status == 404
            assert "You are unsubscribed" not in await answer.text()
        assert await site.untouched()
        assert site.metrics.unsubscribes[UnsubscribeMethod.UNKNOWN].value == len(others)

    @pytest.mark.parametrize("behind", ["%3E", ".", ")", "%22", "/", ",%20thanks", "=", "%0D%0A", "%C2%A0", "*", "%5D"])
    async def test_what_stands_behind_a_link_is_cut_off(self, site: Site, token: str, behind: str) -> None:
        assert (await site.get(f"/u/{token}{behind}")).status == 200
        assert (await site.click(token + behind)).status == 200
        assert await count(site.store, "suppression") == 1

    @pytest.mark.parametrize("inside", ["%20", "%0A%20", "=%0D%0A", "%E2%80%8B"])
    async def test_a_line_break_inside_a_link_is_taken_out(self, site: Site, token: str, inside: str) -> None:
        assert (await site.click(token[:50] + inside + token[50:])).status == 200
        assert await count(site.store, "suppression") == 1

    @pytest.mark.parametrize(
        "body",
        [
            b"List-Unsubscribe=One-Click&client=app",
            b"client=app&List-Unsubscribe=One-Click",
            b"list-unsubscribe=one-click",
            b"List-Unsubscribe=One-Click&List-Unsubscribe=One-Click",
            b"List-Unsubscribe=One-Click\r\n",
        ],
    )
    async def test_the_pair_counts_whatever_stands_beside_it(self, site: Site, token: str, body: bytes) -> None:
        assert (await site.post(f"/u/{token}", data=body, headers=URLENCODED)).status == 200
        assert await count(site.store, "suppression where rule = 'unsubscribe_one_click'") == 1

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (b"", URLENCODED),
            (b"List-Unsubscribe=Two-Clicks", URLENCODED),
            (b"Unsubscribe=One-Click", URLENCODED),
            (b"List-Unsubscribe", URLENCODED),
            (b'{"List-Unsubscribe": "One-Click"}', {"Content-Type": "application/json"}),
            (b"confirm=", URLENCODED),
            (b"a=" + b"x" * (MAX_BODY + 1), URLENCODED),
            (b"\xff\x00", {"Content-Type": "multipart/form-data; boundary=x"}),
        ],
    )
    async def test_other_bodies_change_nothing(
        self, site: Site, token: str, body: bytes, headers: dict[str, str]
    ) -> None:
        answer = await site.post(f"/u/{token}", data=body, headers=headers)
        assert answer.status == 400
        other = await site.post(f"/u/{unknown(token)}", data=body, headers=headers)
        assert await seen(other) == await seen(answer)
        assert await site.untouched()

    async def test_the_query_is_no_body(self, site: Site, token: str) -> None:
        assert (await site.post(f"/u/{token}?List-Unsubscribe=One-Click")).status == 400
        assert (await site.get(f"/u/{token}?List-Unsubscribe=One-Click")).status == 200
        assert await site.untouched()

    async def test_a_new_key_reads_the_old_links(self, site: Site, token: str) -> None:
        site.public.configure(settings_with(), Tokens(bytes(31) + b"\1", bytes(32)))
        await site.click(token)
        assert await count(site.store, "suppression") == 1


class TestEveryAnswer:
    async def test_carries_its_fields_and_no_cookie(self, site: Site, token: str) -> None:
        answers = [
            await site.get(f"/u/{token}"),
            await site.click(token),
            await site.post(f"/u/{token}", data={"x": "y"}),
            await site.options(f"/u/{token}"),
            await site.put(f"/u/{token}"),
            await site.get("/"),
            await site.get("/metrics"),
            await site.get("/u/"),
        ]
        assert [answer.status for answer in answers] == [200, 200, 400, 204, 405, 404, 404, 404]
        for answer in answers:
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert answer.headers.getall("Server") == ["imprimatur"]
            assert "Set-Cookie" not in answer.headers
            assert "Location" not in answer.headers


class Broken(Unsubscribes):
    """A store that is out of order."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def take(self, *_: object) -> None:  # type: ignore[override]
        raise self.error


def broken(error: Exception) -> Any:
    return SimpleNamespace(
        unsubscribes=Broken(error), accounts=SimpleNamespace(by_id=lambda _: None), sign_ups=None, report_queue=None
    )


async def test_a_database_that_is_away_says_come_again(token: str) -> None:
    site = await open_site(broken(StoreUnavailable("no answer")))
    answer = await site.click(token)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "61")
    await site.close()


async def test_a_fault_of_ours_is_logged_without_what_was_asked_for(token: str) -> None:
    site = await open_site(broken(ValueError(f"bad {token}")))
    with structlog.testing.capture_logs() as logged:
        answer = await site.click(token)
    assert answer.status == 503
    assert logged[0]["kind"] == "ValueError"
    assert token not in repr(logged)
    await site.close()


async def test_a_body_that_never_ends_is_cut(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "BODY", 0.2)
    site = await open_site(broken(ValueError("never asked")))

    async def slowly() -> AsyncIterator[bytes]:
        while True:
            yield b"a"
            await asyncio.sleep(0.01)

    try:
        async with site.post(f"/u/{token}", data=slowly()) as answer:
            assert (answer.status, answer.headers["Connection"]) == (408, "close")
    except ClientError:
        pass  # cut while it was still sending
    await site.close()


async def test_each_client_may_ask_so_often(store: Store, token: str) -> None:
    proxies = ["127.0.0.0/8"]
    site = await open_site(store, rate=0.01, burst=2, proxy_from=proxies)
    one, other = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    statuses = [(await site.get(f"/u/{token}", headers=one)).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    refused = await site.click(token, headers=one)
    assert (refused.status, int(refused.headers["Retry-After"]) > 1) == (429, True)
    assert await count(store, "suppression") == 0
    assert (await site.get(f"/u/{token}", headers=other)).status == 200
    await site.close()


def facts_in(page: str) -> dict[str, str]:
    """What a page says of the link, as it is written there."""
    return dict(re.findall(r"<dt>(.*?)</dt><dd><bdi>(.*?)</bdi></dd>", page))


async def seen(answer: ClientResponse) -> tuple[int, bytes, dict[str, str]]:
    """All that a client sees of an answer, but for the time of day."""
    headers = {name: value for name, value in answer.headers.items() if name != "Date"}
    return answer.status, await answer.read(), headers
