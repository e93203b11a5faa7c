"""Read the time at which a message is to be released, and judge it.

    2026-12-01T09:00:00+01:00      2026-12-01T08:00:00Z      2026-12-01T09:00 Europe/Berlin

A local time that a change of clocks skips is as much later; of one that comes twice the first is meant.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

LATE = timedelta(minutes=5)  # what is past by so little was submitted a moment too late, and is sent at once

_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)(?:([Zz]|[+-]\d\d:\d\d)| +([A-Za-z0-9_+/-]{1,60}))\Z",
    re.ASCII,
)
_UTC = "%Y-%m-%dT%H:%M:%SZ"
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class ReleaseTimeError(ValueError):
    """What is wrong with a time; the text is for the client."""


def parse_release_time(text: str) -> datetime:
    """Return a time of RFC 3339, or a local time with the name of its zone, in UTC. Raises ReleaseTimeError."""
    match = _MOMENT.match(text)
    if not match:
        raise ReleaseTimeError("is no date and time with its offset")
    date, time, offset, zone = match.groups()
    try:
        if offset:
            return datetime.fromisoformat(f"{date}T{time}{offset.upper()}").astimezone(UTC)
        local = datetime.fromisoformat(f"{date}T{time}")
    except (ValueError, OverflowError):
        raise ReleaseTimeError("is a day or a time that does not exist") from None
    try:
        return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except (LookupError, ValueError, OSError, OverflowError):
        raise ReleaseTimeError(f"names an unknown time zone, {zone[:40]}") from None


def release_fault(at: datetime, now: datetime, longest: float) -> str | None:
    """Return why mail cannot be held until ``at``, and what to do; ``longest``: seconds for which it may be."""
    if at < now - LATE:
        return f"this time is past ({at:{_UTC}}, and it is {now:{_UTC}}); give a later one, or none"
    if at > now + timedelta(seconds=longest):
        latest = now + timedelta(seconds=longest)
        return (
            f"messages are held for at most {in_words(longest)}, now until {latest:{_UTC}};"
            " give an earlier time, or submit it later"
        )
    return None


def in_words(seconds: float) -> str:
    """Return a span in its largest whole unit: 30 days."""
    number, unit = next((int(seconds // size), name) for size, name in _UNITS if seconds % size == 0 or size == 1)
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
