"""``/u/TOKEN``: unsubscribe, by the mail program's one click (RFC 8058) or by the button of a page.

    GET, HEAD   the page with the button; the token is not even read
    POST        `List-Unsubscribe=One-Click`, or the button's own field: unsubscribed, and the page that says so
                anything else: 400, nothing is changed

Both can be repeated. The answer and the work of the database are the same whether the token is valid, forged, cut short
or someone else's.

Invariants: GET, HEAD and OPTIONS change nothing: links are followed by malware scanners. The page asks for no identity,
sets no cookie and does not redirect.
Limitations: Anyone who has the link can use it, also someone to whom the message was forwarded.
"""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from mta.observe.labels import UnsubscribeMethod
from mta.observe.metrics import Metrics
from mta.store.permission.unsubscribes import Unsubscribes, UnsubscribeVia
from mta.web.pages import CONFIRM, FormFields, Page, Pages, read_form
from policy.permission.tokens import Tokens

BODY_TIMEOUT = 10.0  # seconds for a body to arrive
MAX_TRANSACTIONS = 4  # at once; more wait, so that a flood leaves connections for /readyz (database.pool_size)
ONE_CLICK = ("List-Unsubscribe", "One-Click")  # RFC 8058 3.1
ALLOWED = "GET, HEAD, OPTIONS, POST"

_METHODS: dict[FormFields, UnsubscribeVia] = {(ONE_CLICK,): UnsubscribeVia.ONE_CLICK, (CONFIRM,): UnsubscribeVia.PAGE}
_COUNTED = {UnsubscribeVia.ONE_CLICK: UnsubscribeMethod.ONE_CLICK, UnsubscribeVia.PAGE: UnsubscribeMethod.PAGE}


class UnsubscribeHandlers:
    """The request handlers."""

    def __init__(self, unsubscribes: Unsubscribes, tokens: Tokens, pages: Pages, metrics: Metrics) -> None:
        self._unsubscribes, self._tokens, self._pages, self._metrics = unsubscribes, tokens, pages, metrics
        self._transactions = asyncio.Semaphore(MAX_TRANSACTIONS)

    def configure(self, tokens: Tokens) -> None:
        """Use the keys of the reloaded settings."""
        self._tokens = tokens

    def routes(self) -> list[web.RouteDef]:
        path = "/u/{token}"
        return [web.get(path, self.show), web.post(path, self.unsubscribe), web.options(path, self.options)]

    async def show(self, request: web.Request) -> web.Response:
        """Return the page with the button, whatever the token is. Handles HEAD too."""
        return self._pages.respond(Page.CONFIRM, _language(request))

    async def options(self, _: web.Request) -> web.Response:
        """Return the methods; without CORS fields, so that scripts of other sites cannot use them."""
        return web.Response(status=204, headers={hdrs.ALLOW: ALLOWED})

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """Unsubscribe. Raises StoreUnavailable, HTTPException if the body is too large."""
        via = await _posted(request)
        if via is None:
            return self._pages.respond(Page.INVALID, _language(request))
        claim = self._tokens.read(request.match_info["token"])
        async with self._transactions:
            done = await self._unsubscribes.take(claim, via, request.headers.get(hdrs.USER_AGENT, ""))
        self._metrics.unsubscribes[_COUNTED[via] if done else UnsubscribeMethod.UNKNOWN].inc()
        return self._pages.respond(Page.DONE, _language(request))


async def _posted(request: web.Request) -> UnsubscribeVia | None:
    """Return what was posted; None for anything but the two known forms."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            body = await request.read()
    except TimeoutError:
        return None
    form = read_form(request.headers.get(hdrs.CONTENT_TYPE, ""), body)
    return _METHODS.get(form) if form is not None else None


def _language(request: web.Request) -> str:
    return request.headers.get(hdrs.ACCEPT_LANGUAGE, "")


UNSUBSCRIBE: web.AppKey[UnsubscribeHandlers] = web.AppKey("unsubscribe", UnsubscribeHandlers)
