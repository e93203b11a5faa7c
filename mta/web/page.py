"""The pages that recipients see: one template, its words in five languages, and the fields that go with every answer.

Nothing is loaded from anywhere and nothing runs: no script, no image, no cookie. The one style sheet is in the page,
and the policy names it by its hash (CSP 3).

It must never put a text into a page as it is: everything is escaped.

*Limits.* The words are read once, when the service starts.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from enum import Enum
from html import escape
from pathlib import Path
from string import Template

from aiohttp import hdrs, web

from config.toml import read, read_text
from config.types import Section
from mta.web.language import choose

TEMPLATES = Path(__file__).parent / "templates"
LANGUAGES = ("en", "nl", "de", "fr", "es")  # the first one where none of them is asked for

CONFIRM = ("confirm", "unsubscribe")  # the field of the page's own button

_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_FORM = '<form method="post"><button type="submit" name="{}" value="{}">{}</button></form>\n'


class PageWords(Section):
    """Of one page in one language."""

    title: str
    text: str
    button: str | None = None


class _Language(Section):
    ask: PageWords
    done: PageWords
    odd: PageWords
    missing: PageWords
    busy: PageWords
    later: PageWords


class _Texts(Section):
    """``templates/pages.toml``."""

    en: _Language
    nl: _Language
    de: _Language
    fr: _Language
    es: _Language


class Leaf(Enum):
    """Which page, and its status."""

    ASK = ("ask", 200)
    DONE = ("done", 200)
    ODD = ("odd", 400)
    MISSING = ("missing", 404)
    BUSY = ("busy", 429)
    LATER = ("later", 503)


class Pages:
    """Ready to be answered with. Made by ``Pages.load``."""

    __slots__ = ("_fields", "_html")

    def __init__(self, template: str, texts: Mapping[str, Mapping[str, PageWords]]) -> None:
        self._html = {
            (language, name): _render(Template(template), language, words)
            for language, leaves in texts.items()
            for name, words in leaves.items()
        }
        style = _STYLE.search(template)
        self._fields = fields(style[1] if style else "")

    @classmethod
    def load(cls) -> Pages:
        """With the template and words that ship with the service. Raises ConfigError."""
        path = TEMPLATES / "pages.toml"
        texts = read(read_text(path), path.name, _Texts, lambda _: ())
        words = {language: dict(getattr(texts, language)) for language in LANGUAGES}
        return cls(read_text(TEMPLATES / "page.html"), words)

    @property
    def fields(self) -> Mapping[str, str]:
        """What goes with every answer of the public port, a page or not."""
        return self._fields

    def answer(self, leaf: Leaf, accepted: str, *, wait: float = 0.0) -> web.Response:
        """``accepted``: Accept-Language as it came; ``wait``: seconds after which to try again."""
        name, status = leaf.value
        language = choose(accepted, LANGUAGES)
        response = web.Response(
            body=self._html[language, name], status=status, content_type="text/html", charset="utf-8"
        )
        response.headers[hdrs.CONTENT_LANGUAGE] = language
        response.headers[hdrs.VARY] = hdrs.ACCEPT_LANGUAGE
        if wait:
            response.headers[hdrs.RETRY_AFTER] = str(int(wait) + 1)
        return response


def fields(style: str) -> dict[str, str]:
    """The header fields of every answer. ``style``: the one style sheet that is allowed."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    allowed = f"style-src 'sha256-{digest}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": f"default-src 'none'; {allowed}",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "Server": "imprimatur",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow",
    }


def _render(template: Template, language: str, words: PageWords) -> bytes:
    form = _FORM.format(*CONFIRM, escape(words.button)) if words.button else ""
    role = "" if words.button else ' role="status"'
    return template.substitute(
        language=language, title=escape(words.title), text=escape(words.text), role=role, form=form
    ).encode()
