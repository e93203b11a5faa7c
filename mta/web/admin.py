"""The port of operators and accounts: the guard before the API, which says who calls and what each may take.

Invariants: nothing behind ``/v1`` is reached without a valid token, but the OpenAPI document. A token is neither logged
nor shown. Wrong tokens are counted per client, so none is guessed. The body of a request is bounded, and read in time.
Limitations: requests are counted per process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from config.schema import AdminSettings, Settings
from mta.admin.context import Actor, AdminContext, Via
from mta.admin.files.import_jobs import ImportJobs
from mta.admin.permissions import Role
from mta.admin.sending import MessageSender
from mta.admin.service.reload import ServiceControl
from mta.observe.metrics import Metrics
from mta.smtp_server.body import SMALL
from mta.smtp_server.limits import MemoryBudget
from mta.smtp_server.replies import NO_MEMORY
from mta.store.accounts.api_tokens import ApiToken
from mta.store.postgres.errors import StoreUnavailable
from mta.store.store import Store
from mta.web import idempotency
from mta.web.api import problems
from mta.web.api.app import make_api
from mta.web.api.messages import RETRY_AFTER
from mta.web.api.routing import direct
from mta.web.asgi import CLOSE, Asgi, AsgiMessage, ClientGone, Receive, Scope, Send, read_body, with_headers
from mta.web.clients import RequestRates, client_of, subscriber
from mta.web.pages.rates import RateHistory
from mta.web.pages.site import PagesApp
from mta.web.readiness import ServiceReadiness
from policy.profile import Profiles

API = "/v1/"
OPEN = ("/v1/openapi.json",)  # what may be read without a token
MAX_BODY = 1024 * 1024  # octets, unless a handler allows more
PART = 20.0  # seconds that a client may take for the next part of a body
GUESSES = 100  # wrong tokens count for so many requests

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(slots=True)
class RequestBody:
    """How much of a request's body may be read; a handler that takes more says so before it reads."""

    limit: int = MAX_BODY
    size: int = 0

    def allow(self, octets: int) -> None:
        self.limit = octets

    def bounded(self, receive: Receive) -> Receive:
        """Return a ``receive`` that raises HTTPException once the body is too large or does not come."""

        async def within() -> AsgiMessage:
            try:
                async with asyncio.timeout(PART):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"no part of the body came for {PART:g} s", CLOSE) from None
            self.size += len(message.get("body", b""))
            if self.size > self.limit:
                raise HTTPException(413, f"the body is longer than {self.limit} octets", CLOSE)
            return message

        return within


class AdminPort:
    """The application, and what a reload changes of it. ``app`` is what a server serves."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        profiles: Callable[[], Profiles],
        readiness: ServiceReadiness,
        sender: MessageSender,
        config_file: Path | None = None,
        metrics: Metrics | None = None,
        control: ServiceControl | None = None,
        rates: RateHistory | None = None,
    ) -> None:
        """``control``: None if this process has no supervisor."""
        self._store, self._profiles, self._metrics = store, profiles, metrics or Metrics()
        run_dir = settings.server.data_dir / "run"
        self.imports = ImportJobs(run_dir if run_dir.is_dir() else None)
        self.rates = rates or RateHistory(run_dir)
        services = {
            "rates": self.rates, "readiness": readiness, "config_file": config_file, "imports": self.imports
        }  # fmt: skip
        self.pages = PagesApp(store, services, self._metrics)
        self.api = make_api()
        self.api.state.readiness, self.api.state.sender = readiness, sender
        self._budget = sender.budget
        self.api.state.config_file, self.api.state.control = config_file, control
        self.api.state.imports = self.imports
        self._tokens = RequestRates(1, 1)
        self._guesses = RequestRates(1, 1)
        self.configure(settings, profiles)

    def configure(self, settings: Settings, profiles: Callable[[], Profiles]) -> None:
        """Apply reloaded settings."""
        self._settings, self._profiles = settings, profiles
        admin = settings.web.admin
        self._tokens.configure(admin.rate, admin.burst)
        self._guesses.configure(max(admin.rate / GUESSES, 0.1), max(admin.burst // GUESSES, 5))

    @property
    def _admin(self) -> AdminSettings:
        return self._settings.web.admin

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request: of the API, or for a page."""
        path: str = scope["path"]
        if "\0" in path or b"%00" in scope["query_string"]:
            return await problems.problem(400, "a NUL is not allowed")(scope, receive, with_headers(send, HEADERS))
        if not path.startswith(API):
            body = RequestBody()
            bounded = body.bounded(receive)
            return await self.pages.serve(scope, bounded, send, self._settings, self._profiles, body.allow)
        send = with_headers(send, HEADERS)
        if path in OPEN:
            return await self._serve(self.api, scope, receive, send)
        headers = Headers(scope=scope)
        source = str(self._source(scope, headers))
        try:
            found = await self._authenticate(headers, source)
        except StoreUnavailable:
            return await problems.unavailable()(scope, receive, send)
        if isinstance(found, Response):
            return await found(scope, receive, with_headers(send, CLOSE))
        if (wait := self._tokens.take(found.id)) > 0:
            late = problems.problem(429, "too many requests", headers={"Retry-After": str(int(wait) + 1)})
            return await late(scope, receive, with_headers(send, self._rate_fields(found.id)))
        actor = _actor(found, source)
        context = AdminContext(self._store, self._settings, self._profiles, actor, self._metrics)
        scope.setdefault("state", {})["context"] = context
        operation = direct.get((scope["method"], path))
        key = headers.get(idempotency.HEADER) if scope["method"] == "POST" else None
        if key is None or (operation and not actor.may(operation.scope)):
            app: Asgi = self._dispatch
        else:
            app = self._keyed(found.id, key, large=operation is not None)
        return await self._serve(app, scope, receive, with_headers(send, self._rate_fields(found.id)))

    def _keyed(self, token: int, key: str, *, large: bool) -> Asgi:
        """Return the application for a request that may be repeated: its body is read first. ``large``: it is mail."""

        async def keyed(scope: Scope, receive: Receive, send: Send) -> None:
            allowed: RequestBody = scope["state"]["body"]
            if large:
                allowed.limit = self._settings.submission.limits.message_size * 4 // 3 + MAX_BODY
            with _reserved(self._budget, receive) as reserving:
                body = await read_body(reserving, allowed.limit)
                assert body is not None, "it is bounded already"
                await idempotency.run_once(self._store, token, key, self._dispatch, scope, body, receive, send)

        return keyed

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = direct.get((scope["method"], scope["path"]))
        app: Asgi = self.api
        if operation:
            scope["app"] = self.api
            app = await operation.respond(Request(scope, receive))
        await app(scope, receive, send)

    async def _serve(self, app: Asgi, scope: Scope, receive: Receive, send: Send) -> None:
        """Run ``app``; turn what it does not expect into a problem."""
        started = False
        body = RequestBody()
        scope.setdefault("state", {})["body"] = body

        async def watched(message: AsgiMessage) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await app(scope, body.bounded(receive), watched)
        except Exception as error:
            if started:
                raise
            match error:
                case HTTPException():
                    response = problems.of_http(error)
                case StoreUnavailable():
                    response = problems.unavailable()
                case ClientGone():
                    return
                case _:
                    response = problems.failed(error)
            await response(scope, receive, send)

    def _source(self, scope: Scope, headers: Headers) -> object:
        peer = scope["client"][0] if scope.get("client") else ""
        return client_of(peer, headers.getlist("x-forwarded-for"), self._admin.proxy_from)

    async def _authenticate(self, headers: Headers, source: str) -> ApiToken | Response:
        """Return the token of a request, or what is answered to one without. Raises StoreUnavailable."""
        client = subscriber(client_of(source, (), ()))
        if not self._guesses.left(client):
            return problems.problem(429, "too many requests without a valid token", headers={"Retry-After": "10"})
        kind, _, text = headers.get("authorization", "").partition(" ")
        token = await self._store.api_tokens.find(text.strip()) if kind.lower() == "bearer" and text else None
        if token is None:
            self._guesses.take(client)
            why = "the token is not valid, was revoked or has expired" if text else "a token is needed"
            return problems.problem(401, why, headers={"WWW-Authenticate": 'Bearer realm="imprimatur"'})
        await self._store.api_tokens.used(token, source)
        return token

    def _rate_fields(self, token: int) -> dict[str, str]:
        """Return the RateLimit fields (draft-ietf-httpapi-ratelimit-headers)."""
        admin = self._admin
        window = max(1, round(admin.burst / admin.rate))
        left = self._tokens.left(token)
        full = max(0, round((admin.burst - left) / admin.rate))
        return {
            "RateLimit-Policy": f'"token";q={admin.burst};w={window}',
            "RateLimit": f'"token";r={left};t={full}',
        }


@contextmanager
def _reserved(budget: MemoryBudget, receive: Receive) -> Iterator[Receive]:
    """Yield a ``receive`` that reserves the memory of what comes, for as long as the body is held. It raises
    HTTPException where there is none."""
    held = 0

    async def reserving() -> AsgiMessage:
        nonlocal held
        message = await receive()
        octets = len(message.get("body", b""))
        if not budget.reserve(octets, small=held + octets <= SMALL):
            raise HTTPException(503, NO_MEMORY.text, {"Retry-After": str(RETRY_AFTER), **CLOSE})
        held += octets
        return message

    try:
        yield reserving
    finally:
        budget.release(held)


def _actor(token: ApiToken, source: str) -> Actor:
    role = Role(token.role)
    scopes = role.scopes if token.scopes is None else role.scopes & frozenset(token.scopes)
    return Actor(f"token {token.name}", role, Via.API, source, token.account_id, token.account, scopes)
