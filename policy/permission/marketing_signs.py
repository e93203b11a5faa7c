"""Marks of a mailing: what shows that a message goes to many, whatever its sender calls it.

Header fields that only mailings carry, an unsubscribe link in the text, many recipients at once, the same text again
and again. Each is a ``MailingSign`` with a name, by which an operator may allow it.

Invariants: fields are read as they were submitted, before any is removed. The text is read only when somebody asks.

Limitations: words are understood in five languages. A link to settings ("manage notifications") is no sign: order
confirmations and tickets have one. Nor is advertising without any mark: that is told by what a credential was granted
for, and by repetition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from html import unescape

from mta.mail.headers import Headers, unfold
from mta.mail.values import dataclass
from policy.html.document import Link
from policy.permission.unsubscribe_links import sentence_of
from policy.text.header_text import shown
from policy.text.message_text import MessageText
from policy.text.unsubscribe_grammar import LONGEST, UnsubscribeGrammar, plain

MAX_LINKS = 200  # beside which a text is looked at; with more of them, all of it is


class MailingSign(Enum):
    """The values are the names that operators allow signs by."""

    LIST_ID = "list_id"
    LIST_UNSUBSCRIBE = "list_unsubscribe"
    LIST_FIELDS = "list_fields"  # the others of RFC 2369
    PRECEDENCE = "precedence"
    CAMPAIGN = "campaign"
    MAILING = "mailing"  # the client named a mailing or a topic of ours
    UNSUBSCRIBE_LINK = "unsubscribe_link"
    RECIPIENTS = "recipients"
    REPEATED_TEXT = "repeated_text"


@dataclass(frozen=True, slots=True)
class MailingMark:
    """A sign, and where it shows: ``List-Id``, ``Precedence: bulk``, ``a link to unsubscribe (https://...)``."""

    sign: MailingSign
    where: str


_FIELDS = {
    b"list-id": MailingSign.LIST_ID,
    b"list-unsubscribe": MailingSign.LIST_UNSUBSCRIBE,
    b"list-unsubscribe-post": MailingSign.LIST_UNSUBSCRIBE,
    b"list-help": MailingSign.LIST_FIELDS,
    b"list-subscribe": MailingSign.LIST_FIELDS,
    b"list-post": MailingSign.LIST_FIELDS,
    b"list-owner": MailingSign.LIST_FIELDS,
    b"list-archive": MailingSign.LIST_FIELDS,
    b"feedback-id": MailingSign.CAMPAIGN,
    b"x-feedback-id": MailingSign.CAMPAIGN,
    b"x-campaign": MailingSign.CAMPAIGN,
    b"x-campaign-id": MailingSign.CAMPAIGN,
    b"x-campaignid": MailingSign.CAMPAIGN,
    b"x-mailing-id": MailingSign.CAMPAIGN,
    b"x-csa-complaints": MailingSign.CAMPAIGN,
    b"x-mta-mailing": MailingSign.MAILING,
    b"x-mta-topic": MailingSign.MAILING,
}
_OF_MANY = frozenset({"bulk", "list", "junk"})  # values of Precedence
_WORDS = {b"id": "ID", b"mta": "MTA", b"csa": "CSA"}


def header_marks(headers: Headers, *, automatic: bool = False) -> tuple[MailingMark, ...]:
    """Return the marks in a header, as it was submitted, in its order. ``automatic``: it comes from <>, as automatic
    replies do, which have a Precedence against loops."""
    marks = []
    for name, raw in headers.fields:
        if (sign := _FIELDS.get(name)) is not None:
            marks.append(MailingMark(sign, _written(name)))
        elif name == b"precedence" and not automatic and (value := _value(raw)) in _OF_MANY:
            marks.append(MailingMark(MailingSign.PRECEDENCE, f"Precedence: {value}"))
    return tuple(marks)


def _value(raw: bytes) -> str:
    return unfold(raw.partition(b":")[2]).strip().lower()


def _written(name: bytes) -> str:
    if name.startswith(b"list-"):
        return name.decode().title()
    return "-".join(_WORDS.get(word) or word.decode().title() for word in name.split(b"-"))


class MailingMarks:
    """The marks of one message, its text read on the first question."""

    __slots__ = ("_all", "_header", "_reading")

    def __init__(self, header: tuple[MailingMark, ...] = (), reading: MessageText | None = None) -> None:
        self._header, self._reading = header, reading
        self._all: tuple[MailingMark, ...] | None = None

    @classmethod
    def kept(cls, first: tuple[str, str] | None) -> MailingMarks:
        """Return the marks of a queued message, of which the first is kept as ``first`` gives it."""
        return cls((MailingMark(MailingSign(first[0]), first[1]),) if first else ())

    @property
    def first(self) -> tuple[str, str] | None:
        """Return name and place of the first one, as they are kept with a queued message."""
        return (self.all[0].sign.value, self.all[0].where) if self.all else None

    @property
    def all(self) -> tuple[MailingMark, ...]:
        """Those of the header, then that of the text."""
        if self._all is None:
            self._all = (*self._header, *(_text_marks(self._reading) if self._reading else ()))
        return self._all


def _text_marks(reading: MessageText) -> Iterator[MailingMark]:
    """Yield the mark of an unsubscribe link that some reader sees. Most texts hold none of its words: no page is built
    for them."""
    grammar = UnsubscribeGrammar.shipped()
    if not any(grammar.may_offer(_squeezed(near)) for body in reading.bodies if (near := _near_links(body))):
        return
    for view in reading.views:
        for link in reversed(view.links):
            if _unsubscribes(grammar, link):
                yield MailingMark(MailingSign.UNSUBSCRIBE_LINK, f"a link to unsubscribe ({shown(link.url, 80)})")
                return


def _unsubscribes(grammar: UnsubscribeGrammar, link: Link) -> bool:
    words = plain(link.words)
    if grammar.is_meant(plain(link.url)) or grammar.offers(words):
        return True
    return grammar.says_nothing(words) and grammar.offers(sentence_of(link, words))


BESIDE = 300  # characters of a page beside a link in which its sentence begins and ends
_LINKS = ("href", "://", "mailto:")
_INLINE = re.compile(
    r"<!--.*?-->|</?(?:a|abbr|b|big|em|font|i|mark|s|small|span|strong|sub|sup|u|wbr)\b[^>]*>",
    re.IGNORECASE | re.DOTALL,
)


def _near_links(body: str) -> str:
    """Return what stands in and beside the links of a text or page."""
    if ":" not in body and "<" not in body:
        return ""
    lower = body.lower()
    starts = sorted(at for key in _LINKS for at in _places(lower, key))
    if len(starts) > MAX_LINKS:
        return body
    pieces, done = [], 0
    for start in starts:
        if start >= done:
            end = max(lower.find("</a", start, start + LONGEST), start) + BESIDE
            pieces.append(body[max(start - BESIDE, done) : end])
            done = end
    return " ".join(pieces)


def _places(text: str, key: str) -> Iterator[int]:
    at = text.find(key)
    while at >= 0:
        yield at
        at = text.find(key, at + len(key))


def _squeezed(text: str) -> str:
    """Return a text or page as words are looked for in it: in lower case, what splits words taken out; and once more
    with the tags, for the addresses in them."""
    if "<" in text:
        text = f"{text} {_INLINE.sub('', text)}"
    if "&" in text:
        text = unescape(text)
    return plain(text, None)
