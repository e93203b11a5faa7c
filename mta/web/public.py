"""The application of the public port, which serves the pages for recipients.

Invariants: every response is one of our own pages: no traceback, no default text, no cookie, no redirect. Request lines
are never logged, because they contain tokens.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from config.schema import Settings
from mta.mail.message import IPAddress
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.accounts.accounts import Accounts
from mta.store.permission.sign_ups import SignUps
from mta.store.permission.unsubscribes import Unsubscribes
from mta.store.postgres.errors import StoreUnavailable
from mta.store.results.report_queue import ReportQueue
from mta.web import abuse_form
from mta.web.abuse_form import AbuseFormHandlers
from mta.web.asgi import CLOSE, Asgi, ClientGone, Receive, Scope, Send, read_body, replayed, where, with_headers
from mta.web.clients import RequestRates, client_of, subscriber
from mta.web.recipient_pages import Page, Pages
from mta.web.sign_up import FormClock, SignUpHandlers
from mta.web.unsubscribe import UnsubscribeHandlers
from policy.permission.tokens import Tokens

log = get_logger()

MAX_BODY = 4096  # octets of a form
BODY = 10.0  # seconds for a request's body
RETRY_AFTER = 60.0  # seconds to wait after an internal error


class PublicStore(Protocol):
    """What the pages need of the store."""

    @property
    def accounts(self) -> Accounts: ...
    @property
    def unsubscribes(self) -> Unsubscribes: ...
    @property
    def sign_ups(self) -> SignUps: ...
    @property
    def report_queue(self) -> ReportQueue: ...


class PublicPages:
    """The application, and what a reload changes of it. ``app`` is what a server serves."""

    def __init__(
        self,
        store: PublicStore,
        tokens: Tokens,
        clock: FormClock,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        """Raises ConfigError."""
        public = self._settings = settings.web.public
        self._rates = RequestRates(public.rate, public.burst)
        self.pages = Pages.load()
        by_id = store.accounts.by_id
        self._unsubscribe = UnsubscribeHandlers(store.unsubscribes, by_id, tokens, self.pages, metrics)
        self._sign_up = SignUpHandlers(store.sign_ups, by_id, clock, self.client, self.pages, metrics, public.url)
        self._abuse = AbuseFormHandlers(store.report_queue, self.client, self.pages, settings.return_path.domain)
        self.app = Starlette(
            routes=[*self._unsubscribe.routes(), *self._sign_up.routes(), *self._abuse.routes()],
            middleware=[Middleware(_Guard, public=self)],
            exception_handlers={HTTPException: self._refuse},
        )
        self.app.router.redirect_slashes = False

    def configure(self, settings: Settings, tokens: Tokens) -> None:
        """Apply reloaded settings."""
        public = self._settings = settings.web.public
        self._rates.configure(public.rate, public.burst)
        self._unsubscribe.configure(tokens)
        self._sign_up.url = public.url
        self._abuse.domain = settings.return_path.domain

    def wait(self, scope: Scope, headers: Headers) -> float:
        """Count the request; return the seconds that its client has to wait, 0 if it may be served."""
        return self._rates.take(subscriber(self._client(scope, headers)))

    def client(self, request: Request) -> IPAddress:
        """Return the address of the client, behind the proxies that we trust."""
        return self._client(request.scope, request.headers)

    def _client(self, scope: Scope, headers: Headers) -> IPAddress:
        peer = scope["client"][0] if scope.get("client") else ""
        return client_of(peer, headers.getlist("x-forwarded-for"), self._settings.proxy_from)

    def _refuse(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            return Response(status_code=405, headers=error.headers)
        return self.pages.respond(Page.NOT_FOUND, request.headers.get("accept-language", ""))


class _Guard:
    """Limits each client's requests, reads their bodies in time, and answers every error with one of our pages."""

    def __init__(self, app: Asgi, public: PublicPages) -> None:
        self._app, self._public, self._pages = app, public, public.pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, send = Headers(scope=scope), with_headers(send, self._pages.headers, own_first=True)
        language = headers.get("accept-language", "")
        try:
            if wait := self._public.wait(scope, headers):
                return await self._pages.respond(Page.BUSY, language, wait=wait)(scope, receive, send)
            async with asyncio.timeout(BODY):
                body = await read_body(receive, _largest_body(scope))
            if body is None:
                refused = self._pages.respond(Page.INVALID, language)
                return await refused(scope, receive, with_headers(send, CLOSE))
        except TimeoutError:
            return await Response(status_code=408, headers=CLOSE)(scope, receive, send)
        except ClientGone:
            return None
        try:
            await self._app(scope, replayed(body, receive), send)
        except Exception as error:  # our handlers return whole responses, so none has been started
            if not isinstance(error, StoreUnavailable):
                log.error("page failed", kind=type(error).__name__, where=where(error))
            unavailable = self._pages.respond(Page.UNAVAILABLE, language, wait=RETRY_AFTER)
            await unavailable(scope, receive, send)


def _largest_body(scope: Scope) -> int:
    return abuse_form.MAX_BODY if scope.get("path") == "/abuse" else MAX_BODY
