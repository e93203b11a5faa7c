"""What an application asks of us in the header: the ``X-MTA-*`` fields, which are read, removed, and never leave.

    X-MTA-Stream: marketing          X-MTA-Mailing: autumn-2026
    X-MTA-Topic: offers              X-MTA-Expire: 6h

It must never guess what a field meant: one that is unknown, doubled or malformed is an error for the client.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta

from mta.mail.headers import Headers, unfold
from mta.mail.message import Message
from policy.accounts.account import Grant, Stream

OURS = b"x-mta-"
KNOWN = ("stream", "mailing", "topic", "expire")
LONGEST = 100  # characters of a value

_SPAN = re.compile(r"(\d{1,6})\s*([mhd])\Z")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_MARKETING_SIGNS = (b"list-unsubscribe", b"list-id", b"list-unsubscribe-post")


class OptionError(ValueError):
    """Why a field cannot be understood; the text is for the client."""


@dataclass(frozen=True, slots=True)
class SubmissionOptions:
    """``mailing``: the name or id of one. ``topic``: lower case. None: not said."""

    stream: Stream | None = None
    mailing: str | None = None
    topic: str | None = None
    expire: timedelta | None = None


def read_options(message: Message) -> tuple[SubmissionOptions, Message]:
    """The wishes, and the message without the fields that hold them. Raises WishError."""
    said: dict[str, str] = {}
    kept: list[bytes] = []
    for name, raw in message.headers.fields:
        if name.startswith(OURS):
            _note(said, name.removeprefix(OURS).decode(), unfold(raw.partition(b":")[2]))
        else:
            kept.append(raw)
    if not said:
        return SubmissionOptions(), message
    body = message.content[message.headers.size :]
    content = b"".join(raw + b"\r\n" for raw in kept) + b"\r\n" + body
    return _read(said), replace(message, content=content, headers=Headers.split(content))


def stream_of(wishes: SubmissionOptions, grant: Grant, headers: Headers) -> Stream:
    """Which stream the message is for: what it says; else the only one that its credential may use; else marketing if
    it names a mailing or bears the marks of list mail, so that nobody forgets his way around the rules."""
    if wishes.stream:
        return wishes.stream
    if len(grant.streams) == 1:
        return next(iter(grant.streams))
    if wishes.mailing or wishes.topic or any(headers.count(name) for name in _MARKETING_SIGNS):
        return Stream.MARKETING
    return Stream.TRANSACTIONAL


def _note(said: dict[str, str], name: str, value: str) -> None:
    if name not in KNOWN:
        known = ", ".join(f"X-MTA-{each.title()}" for each in KNOWN)
        raise OptionError(f"X-MTA-{name.title()[:40]} is not known; there are {known}")
    if name in said:
        raise OptionError(f"X-MTA-{name.title()} may appear only once")
    if len(value) > LONGEST or not value.isprintable() or (not value and name in ("mailing", "topic")):
        raise OptionError(f"X-MTA-{name.title()} must hold 1 to {LONGEST} printable characters")
    said[name] = value


def _read(said: dict[str, str]) -> SubmissionOptions:
    topic = said.get("topic")
    return SubmissionOptions(
        stream=_stream(said["stream"]) if "stream" in said else None,
        mailing=said.get("mailing"),
        topic=topic.casefold() if topic else None,
        expire=_span(said["expire"]) if "expire" in said else None,
    )


def _stream(value: str) -> Stream:
    try:
        return Stream(value.lower())
    except ValueError:
        raise OptionError("X-MTA-Stream is `marketing` or `transactional`") from None


def _span(value: str) -> timedelta:
    match = _SPAN.match(value)
    if not match:
        raise OptionError("X-MTA-Expire is a whole number with a unit: 30m, 6h or 2d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
