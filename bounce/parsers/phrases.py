"""Phrases by which texts are known, one a line where they are listed.

Texts are lower-cased before they are searched. Every repeat in a phrase is bounded, so that no text makes it slow.
"""

from __future__ import annotations

import re


def any_of(*phrases: str, whole_words: bool = False) -> re.Pattern[str]:
    """A pattern that finds any of ``phrases`` (regular expressions in lower case); ``.`` matches line ends too."""
    start = r"\b" if whole_words else ""
    return re.compile(f"{start}(?:{'|'.join(phrases)})", re.DOTALL)
