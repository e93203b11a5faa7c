"""The administration port on a real store, and browsers without JavaScript: sessions of users, forms as they are."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, CookieJar, FormData

from bench.service import free_port
from config.schema import Settings
from mta.admin import users
from mta.admin.context import AdminContext, operator_actor
from mta.admin.permissions import Role
from mta.observe.background import BackgroundTasks
from mta.observe.metrics import Metrics
from mta.service.control_channel import Start
from mta.service.http_submission import HttpSubmission
from mta.service.loaded import LoadedSubmission
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.testing.nameserver import DnsFault, NameServer, Node
from mta.web.admin import AdminPort
from mta.web.readiness import ServiceReadiness
from mta.web.server import HttpServer
from policy.accounts.account import AccountStatus

# A source that warms up, on this machine: mail to receivers of tests can leave from it.
WARMING: dict[str, Any] = {
    "egress": {"sources": [{"name": "new", "address": "127.0.0.1"}]},
    "shaping": {
        "curves": [{"name": "slow", "daily": [10, 20, 40]}],
        "warmup": [{"source": "new", "provider": "gmail", "curve": "slow"}],
    },
}


class _Forms(HTMLParser):
    """Collects the forms of a page: action, and the values of its fields."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if tag == "form":
            self.forms.append({"action": values.get("action", ""), "method": values.get("method", "get"), "fields": {}})
        elif tag == "input" and self.forms and "name" in values and values.get("type") not in ("checkbox", "radio"):
            self.forms[-1]["fields"][values["name"]] = values.get("value", "")


@dataclass(frozen=True)
class PageAnswer:
    status: int
    headers: Any
    text: str
    url: str

    @property
    def words(self) -> str:
        """The text of the page without its tags."""
        return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", self.text)))

    @property
    def forms(self) -> list[dict[str, Any]]:
        parser = _Forms()
        parser.feed(self.text)
        return parser.forms

    def form(self, action: str, **fields: str) -> dict[str, str]:
        """The fields of the first form with this action that has these values."""
        for each in self.forms:
            if each["action"].split("?")[0] == action and fields.items() <= each["fields"].items():
                return dict(each["fields"])
        raise AssertionError(f"no form {action} {fields} among {[each['action'] for each in self.forms]}")


@dataclass
class Browser:
    """A browser with its own cookies."""

    url: str
    http: ClientSession

    async def get(self, path: str, *, follow: bool = True, **more: Any) -> PageAnswer:
        return await self._ask("GET", path, follow, **more)

    async def post(self, path: str, fields: Any, *, follow: bool = True, **more: Any) -> PageAnswer:
        return await self._ask("POST", path, follow, data=fields, **more)

    async def submit(self, page: str, action: str, *, follow: bool = True, **fields: Any) -> PageAnswer:
        """Open a page, fill in its form with this action and post it."""
        shown = await self.get(page)
        assert shown.status == 200, (page, shown.status, shown.words[:500])
        known = {key: value for key, value in fields.items() if key in ("name_of_form",)}
        wanted = {"form_name": known["name_of_form"]} if known else {}
        filled = {**shown.form(action, **wanted), **{key: value for key, value in fields.items() if key not in known}}
        data = FormData()
        for key, value in filled.items():
            if isinstance(value, bytes):
                data.add_field(key, value, filename="file")
            else:
                data.add_field(key, value)
        return await self.post(action, data, follow=follow)

    async def _ask(self, method: str, path: str, follow: bool, **more: Any) -> PageAnswer:
        async with self.http.request(method, self.url + path, allow_redirects=follow, **more) as answer:
            text = (await answer.read()).decode("utf-8", "replace")
            return PageAnswer(answer.status, answer.headers, text, answer.url.path_qs)


@dataclass
class Site:
    """``browsers``: those of users who are logged in, by name: ann (operator), shop, club. ``zone``: all the DNS."""

    url: str
    store: Store
    settings: Settings
    context: AdminContext
    port: AdminPort
    browsers: dict[str, Browser] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    zone: dict[str, Node | DnsFault] = field(default_factory=dict)
    _open: list[ClientSession] = field(default_factory=list)

    @property
    def ann(self) -> Browser:
        return self.browsers["ann"]

    @property
    def shop(self) -> Browser:
        return self.browsers["shop"]

    def stranger(self) -> Browser:
        """A browser that nobody is logged in with."""
        http = ClientSession(cookie_jar=CookieJar(unsafe=True))
        self._open.append(http)
        return Browser(self.url, http)

    async def log_in(self, name: str) -> Browser:
        """A browser that logged in by a link."""
        token = await users.link(self.context, name)
        browser = self.stranger()
        answer = await browser.submit(f"/login/link?token={token}", "/login/link")
        assert answer.status == 200, answer.words
        return browser

    async def close(self) -> None:
        for each in self._open:
            await each.close()


@asynccontextmanager
async def open_site(store: Store, secrets: Secrets, folder: Path, **sections: Any) -> AsyncIterator[Site]:
    """Serve the port. Accounts: shop and club, active, each with a domain of its own and a user of its name."""
    port = free_port()
    admin = {"port": port, **sections.pop("admin", {})}
    public = {"url": "https://mta.example.net"}
    server = {"data_dir": str(folder), **sections.pop("server", {})}
    zone: dict[str, Node | DnsFault] = {}
    name_server = NameServer(zone)
    dns = {"servers": [f"127.0.0.1:{await name_server.start()}"], "timeout": "2s"}
    settings = Settings.model_validate(
        {"server": server, "web": {"admin": admin, "public": public}, "dns": dns, **sections}
    )
    loaded = LoadedSubmission.of(settings, secrets)
    submission = HttpSubmission(Start(0, settings, "", secrets.root, folder), settings, store, loaded, Metrics())
    await submission.start(BackgroundTasks())
    readiness = ServiceReadiness(store, folder)

    side = AdminPort(store, settings, lambda: loaded.profiles, readiness, submission.sender)
    served = HttpServer(side.app, "web.admin")
    await served.open(settings.web.admin)
    context = AdminContext(store, settings, lambda: loaded.profiles, operator_actor("root"))
    site = Site(f"http://127.0.0.1:{port}", store, settings, context, side, zone=zone)
    try:
        for name in ("shop", "club"):
            await store.accounts.add(name, domains=[f"{name}.example"], status=AccountStatus.ACTIVE, verified=True)
        await users.add(context, "ann", Role.OPERATOR)
        await users.add(context, "desk", Role.ABUSE_DESK)
        for name in ("shop", "club"):
            await users.add(context, name, Role.ACCOUNT, account=name)
        for name in ("ann", "desk", "shop", "club"):
            site.browsers[name] = await site.log_in(name)
        yield site
    finally:
        await site.close()
        await served.close()
        await submission.close()
        side.pages.close()
        await side.imports.close()
        await name_server.stop()
