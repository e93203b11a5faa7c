"""The pages for people who get mail: templates, texts from ``config/languages``, and the response headers.

A page can say whose mail it is about; names and topics are shown as they were registered.

Pages load nothing and run nothing: no script, no image, no cookie. The only style sheet is in the page itself, and the
content security policy (CSP 3) names it by its hash.

Invariants: All texts are escaped.
Limitations: The texts are read once, when the service starts.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from mta.store.postgres.errors import StoreUnavailable
from policy.accounts.account import Account
from policy.languages import TextLanguage, Texts, load_texts
from policy.permission.consent import EVERY_TOPIC
from policy.text.header_text import shown

TEMPLATES = Path(__file__).parent / "templates" / "public"
LANGUAGES = tuple(each.value for each in TextLanguage)  # the first is the default

CONFIRM = ("confirm", "unsubscribe")  # the field that the button posts
CONFIRM_SIGN_UP = ("confirm", "sign_up")
KEPT = 500  # pages that are not rendered again
MAX_FACT = 200  # characters of a name or topic
MAX_HEADER, MAX_RANGES = 1000, 30  # characters, ranges of Accept-Language that are read

_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_NO_FRAME = "frame-ancestors 'none'"
_BLANKS = ("language", "title", "text", "button", "confirm", "facts", "link", "link_text")
_EMPTY: Mapping[str, Any] = dict.fromkeys(_BLANKS, "")
_RANGE = re.compile(r"(\*|[a-z]{1,8}(?:-[a-z0-9]{1,8})*)(?:\s*;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?")


AccountById = Callable[[int], Account | None]


class Page(Enum):
    """A page and its status."""

    CONFIRM = ("confirm", 200)
    DONE = ("done", 200)
    DAMAGED = ("damaged", 404)
    INVALID = ("invalid", 400)
    NOT_FOUND = ("not_found", 404)
    BUSY = ("busy", 429)
    UNAVAILABLE = ("unavailable", 503)
    SIGN_UP_SENT = ("sign_up_sent", 200)
    SIGN_UP_CONFIRM = ("sign_up_confirm", 200)
    SIGN_UP_DONE = ("sign_up_done", 200)
    SIGN_UP_AGAIN = ("sign_up_again", 200)
    SIGN_UP_EXPIRED = ("sign_up_expired", 410)
    SIGN_UP_CLOSED = ("sign_up_closed", 410)
    PREFERENCES_SAVED = ("preferences_saved", 200)
    ABUSE_SENT = ("abuse_sent", 200)


@dataclass(frozen=True, slots=True)
class LinkSubject:
    """What a link is about: the names of the sender by language ("": the one for all others), and the topic."""

    names: Mapping[str, str]
    topic: str

    @classmethod
    def of(cls, account: Account | None, topic: str) -> LinkSubject:
        """With the names that are registered for ``account``; None: it is gone, and nothing tells who it was."""
        if account is None:
            return cls({}, topic)
        registered = {each.language: each.names[0] for each in account.identities if each.names}
        return cls({**registered, "": account.registered_name}, topic)

    def sender(self, language: str) -> str:
        return self.names.get(language) or self.names.get("", "")


def subject_of(account_by_id: AccountById, account_id: int, topic: str) -> LinkSubject:
    """Return what a link is about; without a name if the accounts could not be read yet."""
    try:
        account = account_by_id(account_id)
    except StoreUnavailable:
        account = None
    return LinkSubject.of(account, topic)


class Pages:
    """All pages. Made by ``Pages.load``."""

    __slots__ = ("_headers", "_page", "_templates", "_texts")

    def __init__(self, templates: Path, texts: Mapping[str, Texts]) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(templates),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._texts = texts
        self._page = lru_cache(KEPT)(self._render_page)  # a mailing's readers get the same page
        style = _STYLE.search(self._templates.get_template("page.html").render(_EMPTY))
        self._headers = response_headers(style[1] if style else "")

    @classmethod
    def load(cls) -> Pages:
        """Load the templates and texts shipped with the service. Raises ConfigError."""
        return cls(TEMPLATES, {each.value: texts for each, texts in load_texts().items()})

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields of every response of the public port."""
        return self._headers

    def respond(
        self,
        page: Page,
        accept_language: str,
        *,
        about: LinkSubject | None = None,
        wait: float = 0.0,
        preferences: str | None = None,
        sites: Sequence[str] = (),
    ) -> HTMLResponse:
        """Return ``page`` in the language of the header field Accept-Language. ``wait``: seconds for Retry-After;
        ``preferences``: a link to the choice of topics; ``sites``: as in ``show``."""
        language = choose_language(accept_language, LANGUAGES)
        facts = tuple(self.facts(about, language)) if about else ()
        response = self._response(self._page(page, language, facts, preferences), language, page.value[1], sites)
        if wait:
            response.headers["Retry-After"] = str(int(wait) + 1)
        return response

    def show(
        self, template: str, language: str, status: int = 200, *, sites: Sequence[str] = (), **values: Any
    ) -> HTMLResponse:
        """Return the page that ``template`` makes of ``values``. ``sites``: origins that may show it in a frame."""
        return self._response(self._render(template, language, **values), language, status, sites)

    def _render_page(
        self, page: Page, language: str, facts: tuple[tuple[str, str], ...], preferences: str | None
    ) -> bytes:
        words = self._texts[language].pages[page.value[0]]
        return self._render(
            "page",
            language,
            title=words.title,
            text=words.text,
            button=words.button,
            confirm=CONFIRM_SIGN_UP if page is Page.SIGN_UP_CONFIRM else CONFIRM,
            facts=facts,
            link=preferences,
            link_text=self._texts[language].preferences.link,
        )

    def _render(self, template: str, language: str, **values: Any) -> bytes:
        return self._templates.get_template(f"{template}.html").render(language=language, **values).encode()

    def _response(self, content: bytes, language: str, status: int, sites: Sequence[str]) -> HTMLResponse:
        response = HTMLResponse(content, status_code=status)
        response.headers["Content-Language"] = language
        response.headers["Vary"] = "Accept-Language"
        if sites:
            policy = self._headers["Content-Security-Policy"]
            response.headers["Content-Security-Policy"] = policy.replace(
                _NO_FRAME, f"frame-ancestors {' '.join(sites)}"
            )
        return response

    def texts(self, language: str) -> Texts:
        """Return the texts of a language, one of LANGUAGES."""
        return self._texts[language]

    def facts(self, about: LinkSubject, language: str) -> list[tuple[str, str]]:
        """Return what a page says of the mail that it is about: label and value."""
        words = self._texts[language].unsubscribe
        topic = words.every_topic if about.topic in ("", EVERY_TOPIC) else about.topic
        facts = {words.sender: about.sender(language), words.topic: topic}
        return [(label, shown(fact, MAX_FACT)) for label, fact in facts.items() if fact]


def response_headers(style: str) -> dict[str, str]:
    """Return the header fields of every response. ``style``: the only style sheet that is allowed."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    allowed = f"style-src 'sha256-{digest}'; form-action 'self'; {_NO_FRAME}; base-uri 'none'"
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": f"default-src 'none'; {allowed}",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow",
    }


def choose_language(header: str, available: Sequence[str]) -> str:
    """Return the language of ``available`` (lower case) that Accept-Language ``header`` prefers, by default the first.

    RFC 9110 12.5.4: ranges with weights, ``q=0`` for what is not acceptable; of equal weights the first range wins. A
    range is shortened from its end until it is available (RFC 4647 3.4): ``de-AT`` matches ``de``.
    """
    weights: dict[str, float] = {}
    for text in header[:MAX_HEADER].lower().split(",")[:MAX_RANGES]:
        if match := _RANGE.fullmatch(text.strip()):
            weights.setdefault(match[1], float(match[2] or 1))
    refused = {wanted for wanted, weight in weights.items() if weight == 0}
    for wanted in sorted(weights, key=lambda wanted: -weights[wanted]):
        if wanted not in refused and (found := _lookup(wanted, available, refused)):
            return found
    return available[0]


def _lookup(wanted: str, available: Sequence[str], refused: set[str]) -> str | None:
    if wanted == "*":
        return next((language for language in available if language not in refused), None)
    while wanted and wanted not in available:
        wanted = wanted.rpartition("-")[0]
    return wanted if wanted and wanted not in refused else None
