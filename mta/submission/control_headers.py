"""Read the options of a submission from its header: the ``X-MTA-*`` fields, which ``header_cleanup`` removes.

    X-MTA-Stream: marketing          X-MTA-Mailing: autumn-2026
    X-MTA-Topic: offers              X-MTA-Expire: 6h
    X-MTA-Send-At: 2026-12-01T09:00 Europe/Berlin

Invariants: nothing is guessed: a field that is unknown, given twice or malformed is an error for the client.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from config.header_fields import OPTION_PREFIX
from mta.mail.headers import Headers, unfold
from mta.mail.release_time import ReleaseTimeError, parse_release_time
from mta.mail.values import dataclass
from policy.accounts.account import Grant, Stream
from policy.permission.marketing_signs import MailingMark

PREFIX = OPTION_PREFIX.lower().encode()
KNOWN = ("stream", "mailing", "topic", "expire", "send-at")
LONGEST = 100  # characters of a value

_SPAN = re.compile(r"(\d{1,6})\s*([mhd])\Z")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class OptionError(ValueError):
    """Why a field cannot be understood; the text is for the client."""


@dataclass(frozen=True, slots=True)
class SubmissionOptions:
    """``mailing``: its name or id. ``topic``: in lower case. ``send_at``: not before it. None: not given."""

    stream: Stream | None = None
    mailing: str | None = None
    topic: str | None = None
    expire: timedelta | None = None
    send_at: datetime | None = None


def read_options(headers: Headers) -> SubmissionOptions:
    """Return the options in a header. Raises OptionError."""
    values: dict[str, str] = {}
    for name, raw in headers.fields:
        if name.startswith(PREFIX):
            _add(values, name.removeprefix(PREFIX).decode(), unfold(raw.partition(b":")[2]))
    return _read(values) if values else SubmissionOptions()


def stream_of(options: SubmissionOptions, grant: Grant, marks: Sequence[MailingMark]) -> Stream:
    """Return the stream that the message is for: the one it names; else the only one that its credential may use; else
    marketing if its header shows marks of a mailing, so that a forgotten field does not evade the rules. One that is
    transactional by its own word, and shows marks, meets the rule ``stream``."""
    if options.stream:
        return options.stream
    if grant.streams is not None and len(grant.streams) == 1:
        return next(iter(grant.streams))
    return Stream.MARKETING if marks else Stream.TRANSACTIONAL


def _add(values: dict[str, str], name: str, value: str) -> None:
    if name not in KNOWN:
        known = ", ".join(f"X-MTA-{each.title()}" for each in KNOWN)
        raise OptionError(f"X-MTA-{name.title()[:40]} is unknown; known fields: {known}")
    if name in values:
        raise OptionError(f"X-MTA-{name.title()} may appear only once")
    if len(value) > LONGEST or not value.isprintable() or (not value and name in ("mailing", "topic")):
        raise OptionError(f"X-MTA-{name.title()} must hold 1 to {LONGEST} printable characters")
    values[name] = value


def _read(values: dict[str, str]) -> SubmissionOptions:
    topic = values.get("topic")
    return SubmissionOptions(
        stream=_stream(values["stream"]) if "stream" in values else None,
        mailing=values.get("mailing"),
        topic=topic.casefold() if topic else None,
        expire=_span(values["expire"]) if "expire" in values else None,
        send_at=_send_at(values["send-at"]) if "send-at" in values else None,
    )


def _stream(value: str) -> Stream:
    try:
        return Stream(value.lower())
    except ValueError:
        raise OptionError("X-MTA-Stream must be `marketing` or `transactional`") from None


def _span(value: str) -> timedelta:
    match = _SPAN.match(value)
    if not match:
        raise OptionError("X-MTA-Expire must be a whole number with a unit: 30m, 6h or 2d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _send_at(value: str) -> datetime:
    try:
        return parse_release_time(value)
    except ReleaseTimeError as error:
        examples = "2026-12-01T09:00:00+01:00, 2026-12-01T08:00:00Z or 2026-12-01T09:00 Europe/Berlin"
        raise OptionError(f"X-MTA-Send-At {error}; write {examples}") from None
