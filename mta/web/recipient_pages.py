"""The pages for recipients: one template, texts from ``config/languages``, and the response headers.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from html import escape
from pathlib import Path
from string import Template

from starlette.responses import HTMLResponse

from config.toml import read_text
from policy.accounts.account import Account
from policy.languages import TextLanguage, Texts, UnsubscribeTexts, load_texts
from policy.permission.consent import EVERY_TOPIC
from policy.text.header_text import shown

TEMPLATES = Path(__file__).parent / "templates"
LANGUAGES = tuple(each.value for each in TextLanguage)  # the first is the default

CONFIRM = ("confirm", "unsubscribe")  # the field that the button posts
MAX_FACT = 200  # characters of a name or topic
MAX_HEADER, MAX_RANGES = 1000, 30  # characters, ranges of Accept-Language that are read

_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_FORM = '<form method="post"><button type="submit" name="{}" value="{}">{}</button></form>\n'
_FACT = "<div><dt>{}</dt><dd><bdi>{}</bdi></dd></div>\n"
_RANGE = re.compile(r"(\*|[a-z]{1,8}(?:-[a-z0-9]{1,8})*)(?:\s*;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?")


class Page(Enum):
    """A page and its status."""

    CONFIRM = ("confirm", 200)
    DONE = ("done", 200)
    DAMAGED = ("damaged", 404)
    INVALID = ("invalid", 400)
    NOT_FOUND = ("not_found", 404)
    BUSY = ("busy", 429)
    UNAVAILABLE = ("unavailable", 503)


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


class Pages:
    """All pages. Made by ``Pages.load``."""

    __slots__ = ("_headers", "_template", "_texts")

    def __init__(self, template: str, texts: Mapping[str, Texts]) -> None:
        self._template, self._texts = Template(template), texts
        style = _STYLE.search(template)
        self._headers = response_headers(style[1] if style else "")

    @classmethod
    def load(cls) -> Pages:
        """Load the template and texts shipped with the service. Raises ConfigError."""
        return cls(read_text(TEMPLATES / "page.html"), {each.value: texts for each, texts in load_texts().items()})

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields of every response of the public port."""
        return self._headers

    def respond(
        self, page: Page, accept_language: str, *, about: LinkSubject | None = None, wait: float = 0.0
    ) -> HTMLResponse:
        """Return ``page`` in the language of the header field Accept-Language. ``wait``: seconds for Retry-After."""
        name, status = page.value
        language = choose_language(accept_language, LANGUAGES)
        response = HTMLResponse(self._render(name, language, about), status_code=status)
        response.headers["Content-Language"] = language
        response.headers["Vary"] = "Accept-Language"
        if wait:
            response.headers["Retry-After"] = str(int(wait) + 1)
        return response

    def _render(self, name: str, language: str, about: LinkSubject | None) -> str:
        words = self._texts[language].pages[name]
        return self._template.substitute(
            language=language,
            title=escape(words.title),
            text=escape(words.text),
            role="" if words.button else ' role="status"',
            facts=_facts(about, language, self._texts[language].unsubscribe) if about else "",
            form=_FORM.format(*CONFIRM, escape(words.button)) if words.button else "",
        )


def _facts(about: LinkSubject, language: str, words: UnsubscribeTexts) -> str:
    topic = words.every_topic if about.topic in ("", EVERY_TOPIC) else about.topic
    facts = {words.sender: about.sender(language), words.topic: topic}
    rows = (_FACT.format(escape(label), escape(shown(fact, MAX_FACT))) for label, fact in facts.items() if fact)
    return f"<dl>\n{''.join(rows)}</dl>\n"


def response_headers(style: str) -> dict[str, str]:
    """Return the header fields of every response. ``style``: the only style sheet that is allowed."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    allowed = f"style-src 'sha256-{digest}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
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
