"""``/u/TOKEN``: leaving a list, by one click of the mail program (RFC 8058) or by the one button of a page.

    GET, HEAD   the page with its button; the token is not even read
    POST        `List-Unsubscribe=One-Click`, or the button's own field: done, and the page that says so
                anything else: 400, and nothing is changed

Both may be done again and again. The answer is the same page whether the token is ours, forged, cut short or somebody
else's, and the database does as much for each.

It must never change anything by GET, HEAD or OPTIONS: links are followed by machines that look for malware. It must
never ask who somebody is, set a cookie or redirect.

*Limits.* Whoever has the link can use it: also somebody to whom the message was forwarded.
"""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from mta.observe.labels import UnsubscribeWay
from mta.observe.metrics import Metrics
from mta.store.permission.unsubscribes import Unsubscribes, UnsubscribeVia
from mta.web.form import Fields, read_form
from mta.web.page import CONFIRM, Leaf, Pages
from policy.permission.tokens import Tokens

PATIENCE = 10.0  # seconds for a body to arrive
AT_ONCE = 4  # transactions; more wait, so that a flood leaves connections for /readyz (database.pool_size)
ONE_CLICK = ("List-Unsubscribe", "One-Click")  # RFC 8058 3.1
ALLOWED = "GET, HEAD, OPTIONS, POST"

_WAYS: dict[Fields, UnsubscribeVia] = {(ONE_CLICK,): UnsubscribeVia.ONE_CLICK, (CONFIRM,): UnsubscribeVia.PAGE}
_COUNTED = {UnsubscribeVia.ONE_CLICK: UnsubscribeWay.ONE_CLICK, UnsubscribeVia.PAGE: UnsubscribeWay.PAGE}


class Unsubscribing:
    """The handlers, with what they need."""

    def __init__(self, unsubscribes: Unsubscribes, tokens: Tokens, pages: Pages, metrics: Metrics) -> None:
        self._unsubscribes, self._tokens, self._pages, self._metrics = unsubscribes, tokens, pages, metrics
        self._turns = asyncio.Semaphore(AT_ONCE)

    def configure(self, tokens: Tokens) -> None:
        """With the keys of a reload."""
        self._tokens = tokens

    def routes(self) -> list[web.RouteDef]:
        path = "/u/{token}"
        return [web.get(path, self.ask), web.post(path, self.leave), web.options(path, self.methods)]

    async def ask(self, request: web.Request) -> web.Response:
        """The page with the button, whatever the token is. HEAD comes here too."""
        return self._pages.answer(Leaf.ASK, _accepted(request))

    async def methods(self, _: web.Request) -> web.Response:
        """Nothing is allowed to scripts of other sites: no field says so."""
        return web.Response(status=204, headers={hdrs.ALLOW: ALLOWED})

    async def leave(self, request: web.Request) -> web.Response:
        """Unsubscribe. Raises StoreUnavailable; HTTPException if the body is too large."""
        way = await _way(request)
        if way is None:
            return self._pages.answer(Leaf.ODD, _accepted(request))
        claim = self._tokens.read(request.match_info["token"])
        async with self._turns:
            done = await self._unsubscribes.take(claim, way, request.headers.get(hdrs.USER_AGENT, ""))
        self._metrics.unsubscribes[_COUNTED[way] if done else UnsubscribeWay.UNKNOWN].inc()
        return self._pages.answer(Leaf.DONE, _accepted(request))


async def _way(request: web.Request) -> UnsubscribeVia | None:
    """What was posted; None for anything but the two forms that are known."""
    try:
        async with asyncio.timeout(PATIENCE):
            body = await request.read()
    except TimeoutError:
        return None
    form = read_form(request.headers.get(hdrs.CONTENT_TYPE, ""), body)
    return _WAYS.get(form) if form is not None else None


def _accepted(request: web.Request) -> str:
    return request.headers.get(hdrs.ACCEPT_LANGUAGE, "")


UNSUBSCRIBING: web.AppKey[Unsubscribing] = web.AppKey("unsubscribing", Unsubscribing)
