"""The administration port on a real store, and clients with tokens of each role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from bench.service import free_port
from config.schema import Settings
from mta.admin import tokens
from mta.admin.context import AdminContext, operator_actor
from mta.admin.permissions import Role
from mta.admin.sending import MessageSender
from mta.observe.background import BackgroundTasks
from mta.observe.metrics import Metrics
from mta.service.control_channel import Start
from mta.service.http_submission import HttpSubmission
from mta.service.loaded import LoadedSubmission
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.web.admin import AdminPort
from mta.web.readiness import ServiceReadiness
from mta.web.server import HttpServer
from policy.accounts.account import AccountStatus


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    text: str
    json: Any


@dataclass
class Api:
    """``tokens``: texts of tokens by name: operator, abuse_shop, club."""

    url: str
    http: ClientSession
    store: Store
    settings: Settings
    port: AdminPort
    sender: MessageSender
    context: AdminContext
    tokens: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, *, by: str | None = "operator", **more: Any) -> Answer:
        """Send a request with the token called ``by``, None: with none."""
        headers = dict(more.pop("headers", {}))
        if by is not None:
            headers.setdefault("Authorization", f"Bearer {self.tokens[by]}")
        async with self.http.request(method, path, headers=headers, allow_redirects=False, **more) as answer:
            text = (await answer.read()).decode()
            is_json = answer.headers.get("Content-Type", "").endswith(("/json", "+json"))
            json = await answer.json(content_type=None) if is_json and text else None
            return Answer(answer.status, answer.headers, text, json)

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, body: Any, **more: Any) -> Answer:
        return await self.ask("POST", path, json=body, **more)

    async def token(self, name: str, role: Role, account: str | None = None, **more: Any) -> str:
        _, self.tokens[name] = await tokens.add(self.context, name, role, account=account, **more)
        return self.tokens[name]


@asynccontextmanager
async def open_api(store: Store, secrets: Secrets, folder: Path, **sections: Any) -> AsyncIterator[Api]:
    """Serve the port. Accounts: shop and club, active, each with a domain of its own."""
    port = free_port()
    admin = {"port": port, **sections.pop("admin", {})}
    no_dns = {"servers": ["127.0.0.1:9"], "timeout": "100ms"}
    settings = Settings.model_validate({"web": {"admin": admin}, "dns": no_dns, **sections})
    loaded = LoadedSubmission.of(settings, secrets)
    start = Start(index=0, settings=settings, dsn="", secret=secrets.root, run_dir=folder)
    submission = HttpSubmission(start, settings, store, loaded, Metrics())
    tasks = BackgroundTasks()
    await submission.start(tasks)
    readiness = ServiceReadiness(store, folder)

    side = AdminPort(store, settings, lambda: loaded.profiles, readiness, submission.sender)
    server = HttpServer(side.app, "web.admin")
    await server.open(settings.web.admin)
    context = AdminContext(store, settings, lambda: loaded.profiles, operator_actor("ann"))
    for name in ("shop", "club"):
        await store.accounts.add(name, domains=[f"{name}.example"], status=AccountStatus.ACTIVE, verified=True)
    async with ClientSession(f"http://127.0.0.1:{port}") as http:
        api = Api(f"http://127.0.0.1:{port}", http, store, settings, side, submission.sender, context)
        await api.token("operator", Role.OPERATOR)
        await api.token("abuse_desk", Role.ABUSE_DESK)
        await api.token("shop", Role.ACCOUNT, "shop")
        await api.token("club", Role.ACCOUNT, "club")
        try:
            yield api
        finally:
            await server.close()
            await submission.close()
