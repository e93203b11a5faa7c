"""Pages that were looked at when a mailing was confirmed, and which links they speak for.

Each recipient has a link of their own, and the page is fetched once. So links are compared by their shape: host, words
of the path and names of the query, without what differs from recipient to recipient.

Invariants: no link of another host has the same shape, nor has one that hands another host on in its query.

Limitations: a part of a path that holds a digit or mixes its case counts as personal, ``/v2/`` too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

_WORD = re.compile(r"(?:[A-Za-z]?[a-z]{1,15}|[A-Z]{2,8})(?:[-_.~](?:[A-Za-z]?[a-z]{1,15}|[A-Z]{2,8})){0,5}")
_PERSONAL = "*"
_MAX_NESTED = 3


@dataclass(frozen=True, slots=True)
class CheckedPage:
    """What was seen at ``url``, for the rule that asked. ``shape``: of ``url``. ``final_url``: where redirects led.
    ``status``: of HTTP, None without an answer. ``digest``: SHA-256 of the page, hex. ``fault``: why it is not
    accepted, or ""; ``seen``: what speaks for it. ``observed``: the rule is only observed, and a fault only kept."""

    rule: str
    url: str
    shape: str
    at: datetime
    final_url: str = ""
    status: int | None = None
    digest: str = ""
    fault: str = ""
    seen: str = ""
    observed: bool = False

    def __str__(self) -> str:
        return self.fault or self.seen


@dataclass(frozen=True, slots=True)
class CheckedPages:
    """Those of one confirmation."""

    pages: tuple[CheckedPage, ...] = ()

    def find(self, rule: str, url: str) -> CheckedPage | None:
        """Return the page that was looked at for ``rule`` in place of that of ``url``; one with a fault first."""
        shape = shape_of(url)
        found = [page for page in self.pages if page.rule == rule and page.shape == shape]
        return max(found, key=lambda page: bool(page.fault), default=None)

    @property
    def faults(self) -> tuple[CheckedPage, ...]:
        """The pages for which the mailing is not confirmed."""
        return tuple(page for page in self.pages if page.fault and not page.observed)


def shape_of(url: str, nested: int = 0) -> str:
    """Return what the links of all recipients have in common: ``https://shop.example/u/*?list&t``."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return url
    path = "/".join(
        segment if _WORD.fullmatch(segment) or not segment else _PERSONAL for segment in parts.path.split("/")
    )
    names = sorted(_query_part(name, value, nested) for name, value in parse_qsl(parts.query, keep_blank_values=True))
    query = f"?{'&'.join(names)}" if names else ""
    return f"{parts.scheme.lower()}://{host}{f':{port}' if port else ''}{path or '/'}{query}"


def _query_part(name: str, value: str, nested: int) -> str:
    name = name if _WORD.fullmatch(name) else _PERSONAL
    if "//" in value:  # where a redirect leads to
        return f"{name}={shape_of(value, nested + 1) if nested < _MAX_NESTED else value}"
    return name
