"""How a message lets its reader leave the list: what its ``List-Unsubscribe`` fields offer, and the links in its text.

It must never take a link for a way out that asks for a login or a survey first, nor take half a header for a whole one.

*Limits.* No link is followed: where it leads is judged by its words and its address. Five languages are known.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from config.notation import Section
from config.toml import DEFAULTS, read, read_text
from mta.mail.headers import Headers, unfold
from policy.page import Link

SHIPPED = DEFAULTS / "unsubscribe_words.toml"
ONE_CLICK = "List-Unsubscribe=One-Click"  # RFC 8058 3.1
NEAR = 120  # characters around a link's words that belong to its sentence
MAX_URIS = 10

_URI = re.compile(r"<([^<>]{1,2000})>")
_WEB = re.compile(r"https?://|mailto:", re.IGNORECASE)
_MARKS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]+")  # accents that stand by themselves


@dataclass(frozen=True, slots=True)
class Offer:
    """The URIs of List-Unsubscribe by kind, and whether the one click of RFC 8058 works with them."""

    https: tuple[str, ...] = ()
    mailto: tuple[str, ...] = ()
    one_click: bool = False


def offer_of(headers: Headers) -> Offer | None:
    """What the header offers; None if it has no List-Unsubscribe. RFC 2369 3.2, RFC 8058 3.1."""
    values, posts = headers.all(b"list-unsubscribe"), headers.all(b"list-unsubscribe-post")
    if not values:
        return None
    uris = ["".join(uri.split()) for uri in _URI.findall(unfold(values[0]))[:MAX_URIS]]
    https = tuple(uri for uri in uris if uri[:8].lower() == "https://" and _names_a_host(uri))
    mailto = tuple(uri for uri in uris if uri[:7].lower() == "mailto:" and "@" in uri)
    post = [unfold(value) for value in posts]
    return Offer(https, mailto, one_click=len(values) == len(https) == 1 and post == [ONE_CLICK])


def _names_a_host(uri: str) -> bool:
    try:
        host = urlsplit(uri).hostname or ""
    except ValueError:
        return False
    return uri.isascii() and "." in host


class Way(Enum):
    """What the text of a message offers."""

    OPEN = "a way out"
    BARRED = "a way out behind a login or a survey"
    NONE = "no way out"


class _Words(Section):
    """``config/defaults/unsubscribe_words.toml``: by language."""

    words: dict[str, list[str]]
    urls: dict[str, list[str]]
    here: dict[str, list[str]]
    obstacles: dict[str, list[str]]


class Vocabulary:
    """The words of all languages, ready to look for."""

    __slots__ = ("_here", "_obstacles", "_obstacles_in_url", "_urls", "_words")

    def __init__(self, words: _Words) -> None:
        self._words = _any(words.words.values(), r"\b")
        self._urls = _any(words.urls.values(), "")
        self._obstacles = _any(words.obstacles.values(), r"\b")
        self._obstacles_in_url = re.compile(
            r"[/?&=_.-](?:log-?in|sign-?in|logon|survey|enquete|umfrage|sondage|encuesta)\b"
        )
        self._here = frozenset(plain(word) for listed in words.here.values() for word in listed)

    @classmethod
    def shipped(cls) -> Vocabulary:
        """With the words that ship with the service. Raises ConfigError."""
        return cls(read(read_text(SHIPPED), SHIPPED.name, _Words, lambda _: ()))

    def look(self, links: Sequence[Link], visible: str) -> tuple[Way, str]:
        """The best way out among ``links``, and which link it is; ``visible``: the text that they stand in.

        Begins at the end, where it is in most mail: the text is looked at only if no link says it itself.
        """
        found, where, text = Way.NONE, "", None
        for link in reversed(links):
            words = plain(link.words)
            if not self._leads_out(link.url, words):
                if words and words not in self._here:
                    continue
                text = plain(visible) if text is None else text
                if not self._sentence_leads_out(link.url, words, text):
                    continue
            if not self._barred(link.url, words):
                return Way.OPEN, link.url
            found, where = Way.BARRED, link.url
        return found, where

    def _leads_out(self, url: str, words: str) -> bool:
        return bool(_WEB.match(url) and (self._words.search(words) or self._urls.search(plain(url))))

    def _sentence_leads_out(self, url: str, words: str, text: str) -> bool:
        """Whether a link that says nothing itself stands in a sentence that does."""
        sought = words or plain(url)
        place = text.find(sought)
        while place >= 0:
            if self._words.search(text, max(0, place - NEAR), place + len(sought) + NEAR):
                return bool(_WEB.match(url))
            place = text.find(sought, place + len(sought))
        return False

    def _barred(self, url: str, words: str) -> bool:
        return bool(self._obstacles.search(words) or self._obstacles_in_url.search(url.lower()))


def plain(text: str) -> str:
    """Lower case, no accents, single spaces: people write ``désabonner`` and ``DESABONNER``."""
    text = text.casefold()
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFKD", text))
    return " ".join(text.split())


def _any(lists: Iterable[Iterable[str]], edge: str) -> re.Pattern[str]:
    words = sorted({plain(word) for listed in lists for word in listed}, key=len, reverse=True)
    return re.compile(f"{edge}(?:{'|'.join(map(re.escape, words))})")
