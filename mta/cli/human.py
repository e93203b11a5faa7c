"""Times, lengths of time and sizes as people read and write them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(at: datetime) -> str:
    """``2026-01-31 12:34:56`` in UTC, as in the logs."""
    return at.strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h``, ``2.1 d``."""
    seconds = abs(seconds)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"


def relative(at: datetime, now: datetime) -> str:
    """``in 12 min``, ``3 s ago``, ``now``."""
    seconds = (at - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(seconds)} ago"


def size(octets: float) -> str:
    """``812 B``, ``9.8 kB``, ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 1000 or unit == "GB":
            break
        octets /= 1000
    return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"


def parse_span(text: str) -> timedelta:
    """``90s``, ``15m``, ``2h``, ``5d``. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d+)?)\s*([smhd])\s*", text)
    if not match:
        raise ValueError(f"{text!r} is not a length of time: a number and its unit, as in 90s, 15m, 2h or 5d")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
