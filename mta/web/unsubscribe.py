"""``/u/TOKEN``: unsubscribe, by the mail program's one click (RFC 8058) or by the button of a page.

    GET, HEAD   the page with the button
    POST        `List-Unsubscribe=One-Click`, or the button's own field: unsubscribed, and the page that says so
                anything else: 400, nothing is changed

Both can be repeated. The pages name the sender and the topic that the link is about. A link that was damaged on its way
names no one: the page says so, and what else to do. For a valid one the answer and the work of the database are the
same whether or not its recipient is known.

Invariants: GET, HEAD and OPTIONS change nothing: links are followed by malware scanners. The page asks for no identity,
sets no cookie and does not redirect.
Limitations: Anyone who has the link can use it, also someone to whom the message was forwarded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import hdrs, web

from mta.observe.labels import UnsubscribeMethod
from mta.observe.metrics import Metrics
from mta.store.permission.unsubscribes import Unsubscribes, UnsubscribeVia
from mta.store.postgres.errors import StoreUnavailable
from mta.web.forms import read_form
from mta.web.pages import CONFIRM, LinkSubject, Page, Pages
from policy.accounts.account import Account
from policy.permission.tokens import UNSUBSCRIBE, Claim, Tokens

BODY_TIMEOUT = 10.0  # seconds for a body to arrive
MAX_TRANSACTIONS = 4  # at once; more wait, so that a flood leaves connections for /readyz (database.pool_size)
AccountById = Callable[[int], Account | None]
ALLOWED = "GET, HEAD, OPTIONS, POST"

_METHODS = {("list-unsubscribe", "one-click"): UnsubscribeVia.ONE_CLICK, CONFIRM: UnsubscribeVia.PAGE}
_COUNTED = {UnsubscribeVia.ONE_CLICK: UnsubscribeMethod.ONE_CLICK, UnsubscribeVia.PAGE: UnsubscribeMethod.PAGE}


class UnsubscribeHandlers:
    """The request handlers."""

    def __init__(
        self, unsubscribes: Unsubscribes, account_by_id: AccountById, tokens: Tokens, pages: Pages, metrics: Metrics
    ) -> None:
        self._unsubscribes, self._account_by_id, self._tokens = unsubscribes, account_by_id, tokens
        self._pages, self._metrics = pages, metrics
        self._transactions = asyncio.Semaphore(MAX_TRANSACTIONS)

    def configure(self, tokens: Tokens) -> None:
        """Use the keys of the reloaded settings."""
        self._tokens = tokens

    def routes(self) -> list[web.RouteDef]:
        path = "/u/{token:(?s:.+)}"
        return [web.get(path, self.show), web.post(path, self.unsubscribe), web.options(path, self.options)]

    async def show(self, request: web.Request) -> web.Response:
        """Return the page with the button, or what to do about a damaged link. Handles HEAD too."""
        claim = self._claim(request)
        if claim is None:
            return self._pages.respond(Page.DAMAGED, _language(request))
        return self._pages.respond(Page.CONFIRM, _language(request), about=self._subject(claim))

    async def options(self, _: web.Request) -> web.Response:
        """Return the methods; without CORS fields, so that scripts of other sites cannot use them."""
        return web.Response(status=204, headers={hdrs.ALLOW: ALLOWED})

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """Unsubscribe. Raises StoreUnavailable, HTTPException if the body is too large."""
        via = await _posted(request)
        if via is None:
            return self._pages.respond(Page.INVALID, _language(request))
        claim = self._claim(request)
        if claim is None:
            self._metrics.unsubscribes[UnsubscribeMethod.UNKNOWN].inc()
            return self._pages.respond(Page.DAMAGED, _language(request))
        async with self._transactions:
            done = await self._unsubscribes.take(claim, via, request.headers.get(hdrs.USER_AGENT, ""))
        self._metrics.unsubscribes[_COUNTED[via] if done else UnsubscribeMethod.UNKNOWN].inc()
        return self._pages.respond(Page.DONE, _language(request), about=self._subject(claim))

    def _subject(self, claim: Claim) -> LinkSubject:
        """Return whose mail ``claim`` is about; without a name if the accounts could not be read yet."""
        try:
            account = self._account_by_id(claim.account_id)
        except StoreUnavailable:
            account = None
        return LinkSubject.of(account, claim.topic)

    def _claim(self, request: web.Request) -> Claim | None:
        claim = self._tokens.read_passed_on(request.match_info["token"])
        return claim if claim and claim.purpose == UNSUBSCRIBE else None


async def _posted(request: web.Request) -> UnsubscribeVia | None:
    """Return what was posted: the first of the two known fields; None without one."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            body = await request.read()
    except TimeoutError:
        return None
    fields = read_form(request.headers.get(hdrs.CONTENT_TYPE, ""), body)
    known = ((name.lower(), value.lower()) for name, value in fields)
    return next((_METHODS[field] for field in known if field in _METHODS), None)


def _language(request: web.Request) -> str:
    return request.headers.get(hdrs.ACCEPT_LANGUAGE, "")


HANDLERS: web.AppKey[UnsubscribeHandlers] = web.AppKey("unsubscribe", UnsubscribeHandlers)
