"""What the clients of scanners have in common: how they say that a scanner could not say.

It must never hold anything of one scanner alone.
"""

from __future__ import annotations

WORD = 200  # characters of a scanner's own text that are kept


class ScannerError(Exception):
    """Why there is no usable answer, in a few words for the log and the finding."""


def printable(text: str) -> str:
    """A scanner's own words, made fit for a reply and the record: one line of printable ASCII, not long."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)[:WORD]
