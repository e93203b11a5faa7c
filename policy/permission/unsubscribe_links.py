"""How a message lets its reader unsubscribe: its ``List-Unsubscribe`` fields, and the links in its text.

Invariants: a link that asks for a login or a survey first does not count, nor does half a header.

Limitations: no link is followed; its text and address are all that is judged. Five languages are known. Words
like "here" are searched in the text as such, so a link is sometimes mistaken for another with the same words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from config.toml import DEFAULTS, read, read_text
from config.types import Section
from mta.mail.headers import Headers, unfold
from policy.html.document import Link

SHIPPED = DEFAULTS / "unsubscribe_words.toml"
ONE_CLICK = "List-Unsubscribe=One-Click"  # RFC 8058 3.1
NEAR = 120  # characters around a link's words that belong to its sentence
PLACES = 10  # of one link's words in the text that are looked at
MAX_URIS = 10

_URI = re.compile(r"<([^<>]{1,2000})>")
_URI_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")  # RFC 3986 2
_PLACEHOLDER = re.compile(  # of Liquid, Handlebars, Mailchimp, Marketo, Salesforce, Velocity, PHP, ...
    r"\{\{|\}\}|\{%|\$\{|\*\||\|\*|\[\[|\]\]|%%|<%|%\(|#\{|\{[A-Za-z_][\w. -]{0,60}\}|%[A-Za-z_]{3,60}%"
    r"|\[[A-Za-z_]{2,60}\]|\$[A-Z_]{3,60}\b|%7B%7B"
)
_WEB = re.compile(r"https?://|mailto:", re.IGNORECASE)
_MARKS = re.compile(  # accents that stand by themselves, and what is not seen at all (Unicode 5.18)
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff]+"
)


@dataclass(frozen=True, slots=True)
class Offer:
    """The URIs of List-Unsubscribe by kind, and why the one click of RFC 8058 does not work with them ("": it does)."""

    https: tuple[str, ...] = ()
    mailto: tuple[str, ...] = ()
    fault: str = ""


def offer_of(headers: Headers) -> Offer | None:
    """What the header offers; None if it has no List-Unsubscribe. RFC 2369 3.2, RFC 8058 3.1."""
    values = [unfold(value) for value in headers.all(b"list-unsubscribe")]
    if not values:
        return None
    uris = [uri.strip() for uri in _URI.findall(values[0])[:MAX_URIS]]
    https = tuple(uri for uri in uris if uri[:8].lower() == "https://" and not _uri_fault(uri))
    mailto = tuple(uri for uri in uris if uri[:7].lower() == "mailto:" and "@" in uri and not _uri_fault(uri))
    posts = [unfold(value) for value in headers.all(b"list-unsubscribe-post")]
    return Offer(https, mailto, _offer_fault(values, uris, https, posts))


def _offer_fault(values: Sequence[str], uris: Sequence[str], https: Sequence[str], posts: Sequence[str]) -> str:
    if len(values) > 1:
        return "there are several List-Unsubscribe fields"
    if "=?" in values[0] and not uris:
        return "List-Unsubscribe holds encoded words, which are not allowed there (RFC 2047 5)"
    if fault := next(filter(None, map(_uri_fault, uris)), ""):
        return fault
    if len(https) != 1:
        return f"List-Unsubscribe holds {len(https)} https links in angle brackets; one click needs exactly one"
    if posts != [ONE_CLICK]:
        return f"`List-Unsubscribe-Post: {ONE_CLICK}` is missing"
    return ""


def _uri_fault(uri: str) -> str:
    """Why ``uri`` cannot be used as it is written, or ""; a scheme that is not known does not matter (RFC 3986 2)."""
    named = uri[:60]
    if _PLACEHOLDER.search(uri):
        return f'"{named}" is a template that was not filled in'
    if any(map(str.isspace, uri)):
        return f'there is white space inside "{named}": the link was cut by a line break'
    if not _URI_CHARACTERS.fullmatch(uri):
        return f'"{named}" holds characters that no URI may hold'
    if uri[:8].lower() == "https://" and not _names_a_host(uri):
        return f'"{named}" names no host'
    return ""


def _names_a_host(uri: str) -> bool:
    try:
        host = urlsplit(uri).hostname or ""
    except ValueError:
        return False
    return "." in host


class UnsubscribeOffer(Enum):
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
        self._words = _flat(words.words)
        self._urls = _flat(words.urls)
        self._obstacles = _flat(words.obstacles)
        self._obstacles_in_url = re.compile(
            r"[/?&=_.-](?:log-?in|sign-?in|logon|survey|enquete|umfrage|sondage|encuesta)\b"
        )
        self._here = frozenset(_flat(words.here))

    @classmethod
    def shipped(cls) -> Vocabulary:
        """With the words that ship with the service. Raises ConfigError."""
        return cls(read(read_text(SHIPPED), SHIPPED.name, _Words, lambda _: ()))

    def look(self, links: Sequence[Link], visible: str, ours: str | None = None) -> tuple[UnsubscribeOffer, str]:
        """The best way out among ``links``, and which link it is; ``visible``: the text that they stand in, ``ours``:
        how our own links begin.

        Begins at the end, where it is in most mail: the text is looked at only if no link says it itself.
        """
        found, where = UnsubscribeOffer.NONE, ""
        for link in reversed(links):
            if ours and link.url.startswith(ours):
                return UnsubscribeOffer.OPEN, link.url
            words = plain(link.words)
            if not self._leads_out(link.url, words):
                if words and words not in self._here:
                    continue
                if not self._sentence_leads_out(link, visible):
                    continue
            if not self._barred(link.url, words):
                return UnsubscribeOffer.OPEN, link.url
            found, where = UnsubscribeOffer.BARRED, link.url
        return found, where

    def _leads_out(self, url: str, words: str) -> bool:
        if not _WEB.match(url):
            return False
        address = plain(url)
        return says(self._words, words) or any(part in address for part in self._urls)

    def _sentence_leads_out(self, link: Link, visible: str) -> bool:
        """Whether a link that says nothing itself stands in a sentence that does. Of a word like "here" the last few
        places are looked at."""
        if not _WEB.match(link.url):
            return False
        sought, place = link.words or link.url, len(visible)
        for _ in range(PLACES):
            place = visible.rfind(sought, 0, place)
            if place < 0:
                return False
            if says(self._words, plain(visible[max(0, place - NEAR) : place + len(sought) + NEAR])):
                return True
        return False

    def _barred(self, url: str, words: str) -> bool:
        return says(self._obstacles, words) or bool(self._obstacles_in_url.search(url.lower()))


def says(phrases: Iterable[str], text: str) -> bool:
    """Whether one of ``phrases`` begins a word of ``text``. Many short searches are faster here than one pattern."""
    for phrase in phrases:
        place = text.find(phrase)
        while place >= 0:
            if place == 0 or not text[place - 1].isalnum():
                return True
            place = text.find(phrase, place + 1)
    return False


def plain(text: str) -> str:
    """Lower case, no accents, no soft hyphens and their like, single spaces: people write ``désabonner``,
    ``DESABONNER`` and ``Ab&shy;melden``."""
    text = text.casefold()
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFKD", text))
    return " ".join(text.split())


def _flat(listed: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The phrases of all languages, each once."""
    return tuple(dict.fromkeys(plain(phrase) for phrases in listed.values() for phrase in phrases))
