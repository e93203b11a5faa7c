"""Ask content scanners about a message: rspamd and ClamAV. What their clients share is here."""

from __future__ import annotations

LONGEST = 200  # characters of a scanner's own text that are kept


class ScannerError(Exception):
    """Why there is no usable answer, in a few words for the log and the finding."""


def printable(text: str) -> str:
    """Return a scanner's own text fit for a reply and the record: one line of printable ASCII, not long."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)[:LONGEST]
