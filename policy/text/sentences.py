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

LONGEST = 60_000
WRAPPED = 50  # characters of a line that is full

_ENDS = re.compile(rf"([.!](?=[\s{LINK_MARK}{LINK_BEGINS}{LINK_ENDS}]|\Z)|[|•·{LINKS_MEET}{BLOCK_END}])")
_PARTS_ENTRIES = f"|•·{LINKS_MEET}"
_OTHER_LINK = re.compile(f"{LINK_BEGINS}([^{LINK_ENDS}]*)")
_SIGNS = str.maketrans(dict.fromkeys((LINK_BEGINS, LINK_ENDS, LINK_MARK), ""))
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
        pieces = _ENDS.split(_unwrapped(text[:LONGEST]))
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


def _unwrapped(text: str) -> str:
    """Return a text with a block's end for each line end, but where the sentence goes on."""
    pieces: list[str] = []
    for line in text.split("\n"):
        line = line.strip()
        if not line:
            continue
        before = pieces[-1] if pieces else BLOCK_END
        first = line.translate(_SIGNS).lstrip("\"'(«„“")[:1]
        goes_on = before[-1:] not in (BLOCK_END, ".", "!") and (
            first.islower() or len(before) >= WRAPPED or before[-1:] == "?"
        )
        pieces += [" " if goes_on else BLOCK_END] if pieces else []
        pieces.append(line)
    return "".join(pieces)
