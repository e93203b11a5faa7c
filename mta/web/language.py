"""Which of our languages somebody reads best, by what their browser says (Accept-Language).

RFC 9110 12.5.4: ranges with weights, ``q=0`` for what is not wanted. A range is cut short from its end until it is one
of ours (RFC 4647 3.4): ``de-AT`` is ``de``.

It must never fail, whatever stands in the header.

*Limits.* What is longer than LONGEST, and more than MOST ranges, is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST, MOST = 1000, 30  # characters, ranges

_RANGE = re.compile(r"(\*|[a-z]{1,8}(?:-[a-z0-9]{1,8})*)(?:\s*;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?")


def choose(header: str, ours: Sequence[str]) -> str:
    """The best of ``ours`` (lower case), the first of them if nothing else is asked for. Of equal weight, what is
    named first counts."""
    weights: dict[str, float] = {}
    for text in header[:LONGEST].lower().split(",")[:MOST]:
        if match := _RANGE.fullmatch(text.strip()):
            weights.setdefault(match[1], float(match[2] or 1))
    refused = {named for named, weight in weights.items() if weight == 0}
    for named in sorted(weights, key=lambda named: -weights[named]):
        if named not in refused and (found := _find(named, ours, refused)):
            return found
    return ours[0]


def _find(named: str, ours: Sequence[str], refused: set[str]) -> str | None:
    if named == "*":
        return next((language for language in ours if language not in refused), None)
    while named and named not in ours:
        named = named.rpartition("-")[0]
    return named if named and named not in refused else None
