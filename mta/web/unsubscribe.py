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

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mta.observe.labels import UnsubscribeMethod
from mta.observe.metrics import Metrics
from mta.store.permission.unsubscribes import Unsubscribes, UnsubscribeVia
from mta.store.postgres.errors import StoreUnavailable
from mta.web.forms import read_form
from mta.web.recipient_pages import CONFIRM, LinkSubject, Page, Pages
from policy.accounts.account import Account
from policy.permission.tokens import UNSUBSCRIBE, Claim, Tokens

MAX_TRANSACTIONS = 4  # at once; more wait, so that a flood leaves connections for /readyz (database.pool_size)
AccountById = Callable[[int], Account | None]
ALLOWED = "GET, HEAD, OPTIONS, POST"

_METHODS = {("list-unsubscribe", "one-click"): UnsubscribeVia.ONE_CLICK, CONFIRM: UnsubscribeVia.PAGE}
_COUNTED = {UnsubscribeVia.ONE_CLICK: UnsubscribeMethod.ONE_CLICK, UnsubscribeVia.PAGE: UnsubscribeMethod.PAGE}


class _Link(Convertor[str]):
    """The rest of a path, line ends included: mail programs break links."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("link", _Link())


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

    def routes(self) -> list[Route]:
        path = "/u/{token:link}"
        return [
            Route(path, self.show, methods=["GET"]),
            Route(path, self.unsubscribe, methods=["POST"]),
            Route(path, self.options, methods=["OPTIONS"]),
        ]

    async def show(self, request: Request) -> Response:
        """Return the page with the button, or what to do about a damaged link. Handles HEAD too."""
        claim = self._claim(request)
        if claim is None:
            return self._pages.respond(Page.DAMAGED, _language(request))
        return self._pages.respond(Page.CONFIRM, _language(request), about=self._subject(claim))

    async def options(self, _: Request) -> Response:
        """Return the methods; without CORS fields, so that scripts of other sites cannot use them."""
        return Response(status_code=204, headers={"Allow": ALLOWED})

    async def unsubscribe(self, request: Request) -> Response:
        """Unsubscribe. Raises StoreUnavailable."""
        via = await _posted(request)
        if via is None:
            return self._pages.respond(Page.INVALID, _language(request))
        claim = self._claim(request)
        if claim is None:
            self._metrics.unsubscribes[UnsubscribeMethod.UNKNOWN].inc()
            return self._pages.respond(Page.DAMAGED, _language(request))
        async with self._transactions:
            done = await self._unsubscribes.take(claim, via, request.headers.get("user-agent", ""))
        self._metrics.unsubscribes[_COUNTED[via] if done else UnsubscribeMethod.UNKNOWN].inc()
        return self._pages.respond(Page.DONE, _language(request), about=self._subject(claim))

    def _subject(self, claim: Claim) -> LinkSubject:
        """Return whose mail ``claim`` is about; without a name if the accounts could not be read yet."""
        try:
            account = self._account_by_id(claim.account_id)
        except StoreUnavailable:
            account = None
        return LinkSubject.of(account, claim.topic)

    def _claim(self, request: Request) -> Claim | None:
        claim = self._tokens.read_passed_on(request.path_params["token"])
        return claim if claim and claim.purpose == UNSUBSCRIBE else None


async def _posted(request: Request) -> UnsubscribeVia | None:
    """Return what was posted: the first of the two known fields; None without one."""
    fields = read_form(request.headers.get("content-type", ""), await request.body())
    known = ((name.lower(), value.lower()) for name, value in fields)
    return next((_METHODS[field] for field in known if field in _METHODS), None)


def _language(request: Request) -> str:
    return request.headers.get("accept-language", "")
