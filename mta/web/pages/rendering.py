"""Render templates, and serve the files that they refer to.

Invariants: everything is escaped unless a template says otherwise, and none does. A static file has the hash of its
content in its address, so it is cached for good. Nothing is loaded from elsewhere.
Limitations: templates and static files are read once.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import Response

from policy.text.header_text import shown

WEB = Path(__file__).parent.parent
STATIC = WEB / "static"
PREFIX = "/static/"
YEAR = 365 * 24 * 3600

SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}


class StaticFiles:
    """The style sheet and scripts, with their hashes in their addresses."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}
        self._address: dict[str, str] = {}
        for file in sorted(each for each in folder.rglob("*") if each.suffix in (".css", ".js", ".svg", ".png")):
            content, name = file.read_bytes(), file.relative_to(folder).as_posix()
            digest = hashlib.sha256(content).hexdigest()[:16]
            address = f"{PREFIX}{digest}/{name}"
            self._address[name] = address
            self._files[address] = content, mimetypes.guess_type(file.name)[0] or "application/octet-stream"

    def address(self, name: str) -> str:
        return self._address[name]

    def respond(self, path: str) -> Response:
        """Return the file of an address, 404 for one that we never gave."""
        if (found := self._files.get(path)) is None:
            return Response("not found", 404, media_type="text/plain")
        content, kind = found
        return Response(content, media_type=kind, headers={"Cache-Control": f"public, max-age={YEAR}, immutable"})


class Templates:
    """The templates of the pages, with the filters that they use."""

    def __init__(self, files: StaticFiles) -> None:
        environment = Environment(
            loader=FileSystemLoader(WEB / "templates" / "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.globals.update(static=files.address)
        environment.filters.update(
            at=moment, ago=ago, span=span, count=count, size=octets, percent=percent, plain=plain_text
        )
        self._environment = environment

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        return self._environment.get_template(template).render(values)


def moment(value: datetime | None, *, seconds: bool = False, none: str = "never") -> Markup:
    """Return a time in UTC; the script shows it in the reader's zone."""
    if value is None:
        return escape(none)
    utc = value.astimezone(UTC)
    words = utc.strftime("%Y-%m-%d %H:%M:%S UTC" if seconds else "%Y-%m-%d %H:%M UTC")
    precision = "second" if seconds else "minute"
    return Markup('<time datetime="{}" data-at="{}">{}</time>').format(
        utc.isoformat(timespec="milliseconds"), precision, words
    )


def ago(value: datetime | None, none: str = "never") -> Markup:
    """Return how long ago something was or when it will be; the time itself on hover."""
    if value is None:
        return escape(none)
    utc = value.astimezone(UTC)
    seconds = (datetime.now(UTC) - utc).total_seconds()
    words = f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        utc.isoformat(timespec="seconds"), utc.strftime("%Y-%m-%d %H:%M:%S UTC"), words
    )


def span(value: float | timedelta | None) -> str:
    """Return a duration in its two largest units: ``3 h 20 min``."""
    if value is None:
        return "-"
    left = int(value.total_seconds() if isinstance(value, timedelta) else value)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts[:2])


def count(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def percent(value: float | None) -> str:
    """Return a share with three significant digits: 0.0031 is ``0.31 %``."""
    if value is None:
        return "-"
    return f"{value * 100:.3g} %"


def octets(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def plain_text(value: object, most: int = 500) -> str:
    """Return text from outside in one line, without control and direction characters."""
    return shown("" if value is None else str(value), most)
