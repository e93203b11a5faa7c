"""Pages of a local server, honest, broken and hostile, as they are looked at for a mailing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import cast

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import unused_port

from mta import http_client
from mta.mail.message import Message, Stream
from mta.observe.labels import PageFetch
from mta.observe.metrics import Metrics
from mta.submission import page_check
from mta.submission.page_check import PageCheck, SkippedPageCheck
from policy.accounts.checked_pages import CheckedPage
from policy.base import Facts, PageVerdict, Rule
from policy.chain import Chain
from policy.html.web_page import WebPage
from policy.permission.unsubscribe_page import UnsubscribePages
from policy.profile import Profiles
from tests.unit.policy.make import ACCOUNT, message

BUTTON = "<h1>Unsubscribe</h1><form method=post><button>Unsubscribe</button></form>"
PAGES = {
    "ok": BUTTON,
    "login": "<h1>Anmelden</h1><form method=post><input name=u><input type=password name=p><button>Los</button></form>",
    "password": "<form method=post><input type=password name=p><button>Unsubscribe</button></form>",
    "survey": "<h1>Afmelden</h1><form method=post>Waarom?<input type=radio name=w>Veel<button>Verstuur</button></form>",
    "scripts": "<div id=app></div><script src=/app.js></script>",
    "step": "<h1>Se désabonner</h1><form method=post><input name=email><button>Continuer</button></form>",
    "choices": "<form><input type=checkbox name=a checked>Offers<button>Save</button></form>"
    "<form method=post action=/all><button>Unsubscribe from all</button></form>",
}


@dataclass(frozen=True, eq=False)
class Asking:
    """A rule that has these pages looked at, and judges them as pages for unsubscribing."""

    urls: Iterable[str]
    name: str = "unsubscribe"

    def pages(self, message: Message, facts: Facts) -> Iterable[str]:
        return self.urls

    def on_page(self, page: WebPage, facts: Facts) -> PageVerdict:
        return UnsubscribePages.shipped().judge(page).verdict


@dataclass
class Server:
    port: int
    methods: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    cookies: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server(unused_port())

    async def answer(request: web.Request) -> web.StreamResponse:
        found.methods.append(request.method)
        found.agents.add(request.headers["User-Agent"])
        found.cookies += request.cookies
        match request.path[1:]:
            case "404" | "500" as status:
                return web.Response(status=int(status), text=BUTTON, content_type="text/html")
            case "slow":
                await asyncio.Event().wait()
            case "dripping":
                drops = web.StreamResponse()
                await drops.prepare(request)
                while True:
                    await drops.write(b"x")
                    await asyncio.sleep(0.01)
            case "huge":
                return web.Response(text=BUTTON + "x" * page_check.MAX_PAGE, content_type="text/html")
            case "charset":
                page = "<h1>Désabonnement</h1><form method=post><button>Désinscription</button></form>"
                return web.Response(body=page.encode("latin-1"), headers={"Content-Type": "text/html; charset=utf-8"})
            case "json":
                return web.json_response({"unsubscribed": True})
            case "packed":
                return web.Response(text=BUTTON, headers={"Content-Encoding": "gzip"})
            case "cookie":
                moved = web.Response(status=302, headers={"Location": "/ok#top"})
                moved.set_cookie("session", "1")
                return moved
            case "circle":
                return web.Response(status=302, headers={"Location": "/circle/2"})
            case "circle/2":
                return web.Response(status=307, headers={"Location": "/circle"})
            case "far":
                return web.Response(status=302, headers={"Location": f"/far?{len(request.query_string) * 'x'}x"})
            case "away":
                return web.Response(status=302, headers={"Location": request.query["to"]})
            case name:
                return web.Response(text=PAGES[name], content_type="text/html")
        raise AssertionError

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", found.port).start()
    yield found
    await runner.cleanup()


@dataclass(frozen=True)
class Rules:
    """Profiles that are all the same: these pages are looked at."""

    urls: Iterable[str]
    observed: frozenset[str] = frozenset()

    def chain(self, profile: str, stream: Stream) -> Chain:
        return Chain([cast(Rule, Asking(self.urls))], observed=self.observed)


def profiles(*urls: str, observed: Iterable[str] = ()) -> Profiles:
    return cast(Profiles, Rules(urls, frozenset(observed)))


async def look(*urls: str, allow_private: bool = True, timeout: float = 20) -> tuple[CheckedPage, ...]:
    async with PageCheck(profiles(*urls), Metrics(), allow_private=allow_private, timeout=timeout) as check:
        return (await check.check(ACCOUNT, message())).pages


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("ok", ""),
        ("choices", ""),
        ("charset", ""),
        ("cookie", ""),
        ("login", "asks for a password"),
        ("password", "asks for a password"),
        ("survey", "asks a question that must be answered (w)"),
        ("scripts", "shows nothing to press without JavaScript"),
        ("step", 'needs a second step (the button "Continuer")'),
        ("404", "answers 404, not 200"),
        ("500", "answers 500, not 200"),
        ("json", "is no page that a reader could use, but application/json"),
        ("huge", "the answer has more than 1048576 bytes"),
        ("packed", "the answer is compressed (gzip), although that was not asked for"),
        ("circle", "redirects in a circle to {}/circle"),
        ("far", "redirects more than 10 times"),
        (
            "away?to=http://169.254.169.254/latest/",
            "'http://169.254.169.254/latest/': the URL must start with https://",
        ),
        ("away?to=https://ann:secret@shop.example/", "a URL cannot have a user name or password"),
        ("away?to=file:///etc/passwd", "'file:///etc/passwd' has no host: a URL looks like https://example.com/events"),
    ],
)
async def test_what_is_found(server: Server, path: str, fault: str) -> None:
    (link,) = await look(server.url(path))
    assert link.fault == fault.format(f"http://127.0.0.1:{server.port}")
    assert bool(link.seen) == (not fault)
    assert set(server.methods) == {"GET"}, "a person's one click is never tried"
    assert server.agents == {"Imprimatur-LinkCheck/1"}
    assert not server.cookies


@pytest.mark.parametrize("path", ["slow", "dripping"])
async def test_a_page_that_does_not_end_is_given_up(server: Server, path: str) -> None:
    (link,) = await look(server.url(path), timeout=0.3)
    assert (link.fault, link.status) == ("no answer within 0.3 s", None)


async def test_the_evidence_is_kept(server: Server) -> None:
    (link,) = await look(server.url("cookie"))
    assert link.url == server.url("cookie")
    assert link.final_url == server.url("ok")
    assert (link.rule, link.status, len(link.digest)) == ("unsubscribe", 200, 64)
    assert link.seen == 'it unsubscribes at once: the button "Unsubscribe"'


async def test_a_page_is_asked_for_once_and_links_are_not_without_end(server: Server) -> None:
    urls = [server.url("ok"), server.url("ok"), *(server.url(f"ok#{n}") for n in range(100))]
    links = await look(*urls)
    assert len(links) == page_check.MAX_PAGES
    assert len(server.methods) == page_check.MAX_PAGES


async def test_what_was_found_is_counted(server: Server) -> None:
    metrics = Metrics()
    urls = [server.url(path) for path in ("ok", "login", "404", "circle")]
    async with PageCheck(profiles(*urls), metrics, allow_private=True) as check:
        await check.check(ACCOUNT, message())
    counted = {result: metrics.page_fetches[result].value for result in PageFetch}
    assert counted == {PageFetch.ACCEPTED: 1, PageFetch.REFUSED: 2, PageFetch.UNANSWERED: 1}


async def test_an_operator_may_accept_links_unseen() -> None:
    url = "https://shop.example/u/1"
    links = await SkippedPageCheck(profiles(url, url), "ann", "intranet").check(ACCOUNT, message())
    assert [link.url for link in links.pages] == [url]
    assert links.faults == ()
    assert str(links.find("unsubscribe", "https://shop.example/u/2")) == "not looked at, by ann: intranet"


async def test_a_fault_of_an_observed_rule_is_only_kept(server: Server) -> None:
    url = server.url("404")
    async with PageCheck(profiles(url, observed=["unsubscribe"]), Metrics(), allow_private=True) as check:
        links = await check.check(ACCOUNT, message())
    assert [str(link) for link in links.pages] == ["answers 404, not 200"]
    assert links.faults == ()


class Resolver(AbstractResolver):
    """Names with an address of their own."""

    def __init__(self, **addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._addresses[host.partition(".")[0]]
        version = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=version, proto=0, flags=0)]

    async def close(self) -> None:
        pass


PRIVATE = [
    "127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fc00::1", "0.0.0.0", "10.1.2.3", "192.168.0.1",
    "2002:7f00:1::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "::ffff:0:10.0.0.1", "fe80::1", "::",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("where", ["named", "literal"])
async def test_no_page_of_a_private_network_is_asked_for(
    address: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    literal = f"[{address}]" if ":" in address else address
    url = "https://rebound.example/" if where == "named" else f"https://{literal}/"
    async with PageCheck(profiles(url), Metrics()) as check:
        monkeypatch.setattr(check._http._session.connector, "_resolver", Resolver(rebound=address))
        (link,) = (await check.check(ACCOUNT, message())).pages
    assert "is not a public internet address" in link.fault


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.1", "127.1", "017700000001", "127.0.0.1.", "localhost"]
)
async def test_however_an_address_is_spelled(host: str) -> None:
    (link,) = await look(f"https://{host}/", allow_private=False)
    assert link.status is None
    assert link.fault


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("https://127.0.0.2/", "127.0.0.2 is not a public internet address"),
        ("https://[::ffff:169.254.169.254]/", "is not a public internet address"),
        ("https://rebound.example/", "10.0.0.1 is not a public internet address"),
        ("http://shop.example/", "must start with https"),
    ],
)
async def test_a_redirect_into_a_private_network_is_not_followed(
    server: Server, target: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stands for a public one; all other addresses are judged as ever."""
    checked, is_public = http_client.check_url, http_client.is_public
    first = server.url(f"away?to={target}")
    monkeypatch.setattr(http_client, "check_url", lambda url, **_: None if url == first else checked(url))
    monkeypatch.setattr(http_client, "is_public", lambda address: str(address) == "127.0.0.1" or is_public(address))
    async with PageCheck(profiles(first), Metrics()) as check:
        monkeypatch.setattr(check._http._session.connector, "_resolver", Resolver(rebound="10.0.0.1"))
        (link,) = (await check.check(ACCOUNT, message())).pages
    assert why in link.fault
    assert server.methods == ["GET"]
