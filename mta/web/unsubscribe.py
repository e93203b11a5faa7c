"""``/u/TOKEN``: unsubscribe, by the mail program's one click (RFC 8058) or by the button of a page; with
``?choose``, by topic.

    GET, HEAD   the page with the button, or with the topics that the person gets mail about
    POST        `List-Unsubscribe=One-Click`, or the button's own field: unsubscribed, and the page that says so
                the topics to keep: unsubscribed from the others
                anything else: 400, nothing is changed

Both can be repeated. The pages name the sender and the topic that the link is about. A link that was damaged on its way
names no one: the page says so, and what else to do. For a valid one the answer and the work of the database are the
same whether or not its recipient is known.

Invariants: GET, HEAD and OPTIONS change nothing: links are followed by malware scanners. The page asks for no identity,
sets no cookie and does not redirect.
Limitations: A choice only takes away: for more mail there are forms. Anyone who has the link can use it, also someone
to whom the message was forwarded.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mta.observe.labels import UnsubscribeMethod
from mta.observe.metrics import Metrics
from mta.store.permission.unsubscribes import Unsubscribes, UnsubscribeVia
from mta.web.forms import FormFields, read_form
from mta.web.recipient_pages import (
    CONFIRM,
    LANGUAGES,
    AccountById,
    LinkSubject,
    Page,
    Pages,
    choose_language,
    subject_of,
)
from policy.permission.consent import EVERY_TOPIC
from policy.permission.tokens import UNSUBSCRIBE, Claim, Tokens

MAX_QUESTIONS = 4  # at once; more wait, so that a flood leaves connections for /readyz (database.pool_size)
CHOOSE, SAVE = "choose", "save"  # the query of the page with the topics, and the field that its buttons send
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
        self._questions = asyncio.Semaphore(MAX_QUESTIONS)

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
        """Return the page with the button or the topics, or what to do about a damaged link. Raises StoreUnavailable.
        Handles HEAD too."""
        claim = self._claim(request)
        if claim is None:
            return self._pages.respond(Page.DAMAGED, _language(request))
        if CHOOSE in request.query_params:
            return await self._choose(claim, _language(request))
        about = self._subject(claim)
        return self._pages.respond(Page.CONFIRM, _language(request), about=about, preferences=f"?{CHOOSE}")

    async def options(self, _: Request) -> Response:
        """Return the methods; without CORS fields, so that scripts of other sites cannot use them."""
        return Response(status_code=204, headers={"Allow": ALLOWED})

    async def unsubscribe(self, request: Request) -> Response:
        """Unsubscribe. Raises StoreUnavailable."""
        fields = read_form(request.headers.get("content-type", ""), await request.body())
        via, chosen = _asked(fields), any(name == SAVE for name, _ in fields)
        if via is None and not chosen:
            return self._pages.respond(Page.INVALID, _language(request))
        claim = self._claim(request)
        if claim is None:
            self._metrics.unsubscribes[UnsubscribeMethod.UNKNOWN].inc()
            return self._pages.respond(Page.DAMAGED, _language(request))
        if via is None:
            return await self._keep(claim, fields, request)
        done = await self._unsubscribes.take(claim, via, request.headers.get("user-agent", ""))
        self._metrics.unsubscribes[_COUNTED[via] if done else UnsubscribeMethod.UNKNOWN].inc()
        return self._pages.respond(Page.DONE, _language(request), about=self._subject(claim))

    async def _choose(self, claim: Claim, accept_language: str) -> Response:
        language = choose_language(accept_language, LANGUAGES)
        words = self._pages.texts(language)
        names = await self._topics(claim)
        labels = [(name, words.unsubscribe.every_topic if name == EVERY_TOPIC else name) for name in names]
        return self._pages.show(
            "preferences",
            language,
            title=words.preferences.heading,
            words=words.preferences,
            topics=labels,
            facts=self._pages.facts(self._subject(claim), language)[:1],
        )

    async def _keep(self, claim: Claim, fields: FormFields, request: Request) -> Response:
        """Unsubscribe from the topics that were not kept, or from all."""
        everything = (SAVE, "none") in fields
        kept = set() if everything else {value for name, value in fields if name == "keep"}
        agent = request.headers.get("user-agent", "")
        topics = [EVERY_TOPIC] if everything else await self._topics(claim)
        ended = [replace(claim, topic=name) for name in topics if name not in kept]
        taken = (self._unsubscribes.take(each, UnsubscribeVia.PAGE, agent) for each in ended)
        for done in await asyncio.gather(*taken):
            self._metrics.unsubscribes[UnsubscribeMethod.PAGE if done else UnsubscribeMethod.UNKNOWN].inc()
        page = Page.DONE if everything else Page.PREFERENCES_SAVED
        return self._pages.respond(page, _language(request), about=self._subject(replace(claim, topic="")))

    async def _topics(self, claim: Claim) -> list[str]:
        """Return the topics that the person gets mail about, the link's own among them: a page that lacked it would
        tell that the person is not known. Raises StoreUnavailable."""
        async with self._questions:
            found = await self._unsubscribes.topics(claim)
        return found or [claim.topic or EVERY_TOPIC]

    def _subject(self, claim: Claim) -> LinkSubject:
        return subject_of(self._account_by_id, claim.account_id, claim.topic)

    def _claim(self, request: Request) -> Claim | None:
        claim = self._tokens.read_passed_on(request.path_params["token"])
        return claim if claim and claim.purpose == UNSUBSCRIBE else None


def _asked(fields: FormFields) -> UnsubscribeVia | None:
    """Return what was asked for: by the first of the two known fields; None without one."""
    known = ((name.lower(), value.lower()) for name, value in fields)
    return next((_METHODS[field] for field in known if field in _METHODS), None)


def _language(request: Request) -> str:
    return request.headers.get("accept-language", "")
