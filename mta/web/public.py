"""The application of the public port, which serves the pages for recipients.

Invariants: every response is one of our own pages: no traceback, no default text, no cookie, no redirect. Request lines
are never logged, because they contain tokens.
"""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from config.schema import PublicPagesSettings
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.permission.unsubscribes import Unsubscribes
from mta.store.postgres.errors import StoreUnavailable
from mta.web.asgi import CLOSE, Asgi, ClientGone, Receive, Scope, Send, read_body, replayed, where, with_headers
from mta.web.clients import RequestRates, client_of, subscriber
from mta.web.recipient_pages import Page, Pages
from mta.web.unsubscribe import AccountById, UnsubscribeHandlers
from policy.permission.tokens import Tokens

log = get_logger()

MAX_BODY = 4096  # octets of a form
BODY = 10.0  # seconds for a request's body
RETRY_AFTER = 60.0  # seconds to wait after an internal error


class PublicPages:
    """The application, and what a reload changes of it. ``app`` is what a server serves."""

    def __init__(
        self,
        unsubscribes: Unsubscribes,
        account_by_id: AccountById,
        tokens: Tokens,
        settings: PublicPagesSettings,
        metrics: Metrics,
    ) -> None:
        """Raises ConfigError."""
        self._settings = settings
        self._rates = RequestRates(settings.rate, settings.burst)
        self.pages = Pages.load()
        self._unsubscribe = UnsubscribeHandlers(unsubscribes, account_by_id, tokens, self.pages, metrics)
        self.app = Starlette(
            routes=self._unsubscribe.routes(),
            middleware=[Middleware(_Guard, public=self)],
            exception_handlers={HTTPException: self._refuse},
        )
        self.app.router.redirect_slashes = False

    def configure(self, settings: PublicPagesSettings, tokens: Tokens) -> None:
        """Apply reloaded settings."""
        self._settings = settings
        self._rates.configure(settings.rate, settings.burst)
        self._unsubscribe.configure(tokens)

    def wait(self, scope: Scope, headers: Headers) -> float:
        """Count the request; return the seconds that its client has to wait, 0 if it may be served."""
        peer = scope["client"][0] if scope.get("client") else ""
        client = client_of(peer, headers.getlist("x-forwarded-for"), self._settings.proxy_from)
        return self._rates.take(subscriber(client))

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
        headers, send = Headers(scope=scope), with_headers(send, self._pages.headers)
        language = headers.get("accept-language", "")
        try:
            if wait := self._public.wait(scope, headers):
                return await self._pages.respond(Page.BUSY, language, wait=wait)(scope, receive, send)
            async with asyncio.timeout(BODY):
                body = await read_body(receive, MAX_BODY)
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
