"""The plain text that stands beside a page: made by programs from it, or a note that leads to it.

Programs that make it drop the elements, and with them the ends of lines: "Friends of Marlow OttersThe Boathouse".
``opened`` puts these back, so that what stands there is found.

Limitations: where a word ends in small letters or a digit, and the next begins with a capital. "12" before "3511 AB"
is one number.
"""

from __future__ import annotations

import re
from functools import cache

from policy.text.text_match import phrases
from policy.wordlists import bare, shipped

FEW = 40  # words of a note that leads to the page
_ADDRESS = re.compile(r"\b(?:https?://|mailto:)\S+", re.IGNORECASE)
_JOINT = re.compile(r"(?<=[a-zß-öø-ÿ\d])(?=[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ])|(?<=[A-Z])(?=[A-Z][a-zß-öø-ÿ]{2})")


def only_points(text: str) -> bool:
    """Return whether a plain text is only a note: a few words that say where the page is to be seen, and the link."""
    if len(text) > 4000 or not _ADDRESS.search(text):
        return not text.strip()
    words = _ADDRESS.sub(" ", text)
    return len(words.split()) <= FEW and _pointers().search(bare(words)) is not None


def opened(text: str) -> str:
    """Return ``text`` with the same once more behind it, where words are joined: with line ends between them."""
    apart = _JOINT.sub("\n", text)
    return text if apart == text else f"{text}\n\n{apart}"


@cache
def _pointers() -> re.Pattern[str]:
    return phrases(map(bare, shipped("imprint")["pointers"]))
