"""Read the Date field as RFC 5322 3.3 and 4.3 write it, by one rule for all of its parts.

Legal are a leap second, a comment behind the zone, and the obsolete zones (GMT, EST, a single letter) and years of two
digits. Nothing else is: a zone that is missing or written as people do (``GMT+2``, ``+02:00``) would be read as another
moment by each program.

Limitations: the name of the day is not compared with the date.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from mta.mail.headers import without_comments

_LONGEST = 100  # characters
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_HOURS = {"ut": 0, "gmt": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7}
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_STEPS = tuple(
    (name, re.compile(pattern, re.IGNORECASE | re.ASCII))
    for name, pattern in (
        ("a name of a day such as `Sun,`", rf"(?:(?:{'|'.join(_DAYS)})\s*,\s*)?(?=\d)"),
        ("a day of the month", r"\d{1,2}(?=\s)"),
        ("a month such as `Nov`", rf"(?:{'|'.join(_MONTHS)})(?=\s)"),
        ("a year", r"\d{2,4}(?=\s)"),
        ("a time such as `09:30:00`", r"(?:[01]\d|2[0-3])\s*:\s*[0-5]\d(?:\s*:\s*(?:[0-5]\d|60))?(?!\d|\s*:)"),
        ("a zone such as `+0200`", rf"(?:[+-]\d\d[0-5]\d|{'|'.join(_HOURS)}|[a-ik-z])\Z"),
    )
)


class DateError(ValueError):
    """What a Date lacks, and where."""


@lru_cache(1024)
def read_date(value: str) -> datetime:
    """Return the moment that a Date field names, in UTC. Raises DateError."""
    if len(value) > _LONGEST:
        raise DateError(f"it has more than {_LONGEST} characters")
    text, found, at = without_comments(value).rstrip(), [], 0
    for name, pattern in _STEPS:
        at += len(text[at:]) - len(text[at:].lstrip())
        match = pattern.match(text, at)
        if match is None:
            there = f' instead of "{text[at : at + 20]}"' if text[at:] else ""
            raise DateError(f"{name} is expected at position {at + 1}{there}")
        found.append(match[0].lower())
        at = match.end()
    _, day, month, year, time, zone = found
    hour, minute, *seconds = (int(each) for each in time.split(":"))
    second = seconds[0] if seconds else 0
    try:
        local = datetime(_year(year), _MONTHS.index(month) + 1, int(day), hour, minute, min(second, 59), tzinfo=UTC)
        return local + timedelta(seconds=second // 60) - _offset(zone)
    except (ValueError, OverflowError) as error:
        raise DateError(str(error)) from None


def _year(text: str) -> int:
    """RFC 5322 4.3: two digits are of 1950 to 2049, three are years since 1900."""
    year = int(text)
    if len(text) == 4:
        return year
    return year + (2000 if len(text) == 2 and year < 50 else 1900)


def _offset(zone: str) -> timedelta:
    """RFC 5322 4.3: a single letter says nothing about the zone and is read as -0000."""
    if zone[0] in "+-":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
        return -offset if zone[0] == "-" else offset
    return timedelta(hours=_HOURS.get(zone, 0))
