"""The sentences of what a reader sees, in their order, and the one in which a link stands.

A sentence ends at its full stop, at the end of its block, at a sign that parts the entries of a list ("|", "·"), and
between links that stand side by side. A question goes on with what follows it. A line that was only wrapped goes on.

Limitations: a full stop behind an abbreviation ends a sentence too. At most ``LONGEST`` characters are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from policy.html.document import BLOCK_END, LINK_BEGINS, LINK_ENDS, LINK_MARK, LINKS_MEET, HtmlDocument, Link
from policy.text.message_text import View
from policy.text.unsubscribe_grammar import plain
from policy.text.wrapped_lines import unwrapped

LONGEST = 60_000

_ENDS = re.compile(rf"([.!](?=[\s{LINK_MARK}{LINK_BEGINS}{LINK_ENDS}]|\Z)|[|•·{LINKS_MEET}{BLOCK_END}])")
_PARTS_ENTRIES = f"|•·{LINKS_MEET}"
_OTHER_LINK = re.compile(f"{LINK_BEGINS}([^{LINK_ENDS}]*)")
_LINK_SIGNS = f"{LINK_BEGINS}{LINK_ENDS}{LINK_MARK}"
_SIGNS = str.maketrans(dict.fromkeys(_LINK_SIGNS, ""))
_BLOCKS = re.compile(r"\n\s*\n")
_ADDRESS = re.compile(r"\b(?:https?://|mailto:)\S+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sentence:
    """``said``: made plain. ``links``: the words of the other links in it. ``is_listed``: it is not the first entry of
    a list such as "Home | Contact"."""

    said: str
    links: tuple[str, ...]
    is_listed: bool = False


@dataclass(frozen=True, slots=True)
class Sentences:
    """``at``: the number of the sentence in which the link stands, -1 if it was not found."""

    all: tuple[Sentence, ...]
    at: int


def sentences_of(view: View, link: Link) -> Sentences:
    """Return the sentences of ``view``."""
    found: list[Sentence] = []
    at = -1
    for source in view.sources:
        text = source.flow(link) if isinstance(source, HtmlDocument) else _flow_of_text(source, link)
        pieces = _ENDS.split(unwrapped(text[:LONGEST], BLOCK_END, _LINK_SIGNS))
        for end, piece in zip(("", *pieces[1::2]), pieces[::2], strict=True):
            said = plain(_ADDRESS.sub(" ", piece.translate(_SIGNS)))
            if LINK_MARK in piece:
                at = len(found) if at < 0 else at
            elif not said:
                continue
            found.append(
                Sentence(said, tuple(map(plain, _OTHER_LINK.findall(piece))), end in _PARTS_ENTRIES and end != "")
            )
    return Sentences(tuple(found), at)


def _flow_of_text(text: str, link: Link) -> str:
    at = text.rfind(link.url)
    text = text if at < 0 else f"{text[:at]}{LINK_MARK}{text[at:]}"
    return _BLOCKS.sub(BLOCK_END, text)
