"""Tell the same text to many people apart from many texts: a sketch of a text, without what is personal in it.

A text is cut into phrases, at marks, tags and line ends, and digits and spaces are left out. The sketch is the
``SIZE`` lowest hashes of its phrases: the same ones for two messages that differ in a name, a number or an address
(bottom-k sampling, Broder 1997). Texts count as the same while more than half of the sketch repeats.

Limitations: who writes more than half of the phrases anew for each recipient is not found. Mail made from one template
is the same text too: that is what samples and a limit high enough are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

SIZE = 7
SHORTEST = 8  # octets of a phrase
MOST = 64 * 1024  # octets that are read

_LOWER = bytes.maketrans(b'ABCDEFGHIJKLMNOPQRSTUVWXYZ.,;:!?<>()[]/=&|\r\t"', b"abcdefghijklmnopqrstuvwxyz" + b"\n" * 19)
_LEFT_OUT = b"0123456789 '*_-#+"


def sketch_of(texts: Sequence[str]) -> tuple[int, ...]:
    """Return the sketch of a message's texts, () if they hold nothing that could be compared."""
    octets = "\n".join(texts)[:MOST].encode(errors="replace")
    phrases = set(octets.translate(_LOWER, _LEFT_OUT).split(b"\n"))
    return tuple(sorted([crc32(phrase) for phrase in phrases if len(phrase) >= SHORTEST])[:SIZE])


def repeats_of(counts: Sequence[int]) -> int:
    """Return how often a text was seen, from how often each hash of its sketch was: more than half of them as often."""
    return sorted(counts, reverse=True)[len(counts) // 2] if counts else 0
