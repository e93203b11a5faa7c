"""Headers: required fields are present, and fields that may appear only once do (RFC 5322 3.6).

A missing Date or Message-ID is added, as a submission service may (RFC 6409 8.2, 8.3). Everything else is rejected:
receivers differ in which of two From fields they show, so a duplicate can hide something. So can white space between a
field's name and its colon, which some programs take for the end of the header.

Invariants: existing fields are never repaired, only missing ones added.

Limitations: the syntax of address fields is checked where it matters (``sender_identity``, ``reply_address``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from config.header_fields import BY_NAME
from config.types import Duration, Section
from mta.mail.dates import DateError, read_date
from mta.mail.headers import without_comments
from mta.mail.identity import format_id
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Amend, Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext
from policy.text.header_text import shown

ONCE = tuple(name for name, field in BY_NAME.items() if field.once)

FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=60)]

_MESSAGE_ID = re.compile(r"<[^\x00-\x20\x7f<>@]+@[^\x00-\x20\x7f<>@]+>\Z")  # RFC 5322 3.6.4, and a little more


class RequiredHeaders:
    name = "headers"

    class Settings(Section):
        """What RFC 5322 leaves open to the service."""

        required: list[FieldName] = Field(default_factory=lambda: ["From"])
        """Required fields. Date and Message-ID are added if missing."""
        date_within: Duration | None = None
        """How far Date may differ from the current time, either way."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._hostname = context.hostname.encode()
        added = {"date", "message-id"}
        self._required = [(name.lower().encode(), name) for name in settings.required if name.lower() not in added]
        self._within = None if settings.date_within is None else timedelta(seconds=settings.date_within)

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        names = [name for name, _ in message.headers.fields]
        if fault := self._fault(message, names, now):
            return Refuse(Reply(550, "5.6.0", f"headers: {fault}")), ""
        added = self._missing(message, names, now)
        if not added:
            return Pass(), f"{len(message.headers.fields)} fields"
        note = f"added {', '.join(field.partition(b':')[0].decode() for field in added)}"
        return Amend(tuple(added), note), ""

    def _fault(self, message: Message, names: Sequence[bytes], now: datetime) -> str | None:
        for name, raw in message.headers.fields:
            if raw[len(name)] != 0x3A:
                return f"there is white space before the colon of {name.decode().title()}; take it out"
        if len(set(names)) < len(names) and (twice := [name for name in ONCE if names.count(name) > 1]):
            doubled = ", ".join(BY_NAME[name].name for name in twice)
            return f"{doubled} may appear only once; send one of each"
        if missing := [name for key, name in self._required if key not in names]:
            return f"{', '.join(missing)} missing; add what is missing"
        identity = message.headers.value(b"message-id")
        if identity is not None and not _MESSAGE_ID.match(without_comments(identity).strip()):
            return (
                f'the Message-ID "{shown(identity)}" is not of the form <unique@your.domain>; fix it, or leave it out '
                "and one is added"
            )
        return self._date_fault(message.headers.value(b"date"), now)

    def _date_fault(self, value: str | None, now: datetime) -> str | None:
        if value is None:
            return None
        try:
            date = read_date(value)
        except DateError as error:
            fault = f"is none (RFC 5322 3.3): {shown(str(error), 200)}"
        else:
            if self._within is None or abs(date - now) <= self._within:
                return None
            fault = f"is more than {self._within} from now"
        return f'the Date "{shown(value)}" {fault}; write it as {format_datetime(now)}, or leave it out and it is added'

    def _missing(self, message: Message, names: Sequence[bytes], now: datetime) -> list[bytes]:
        added = []
        if b"date" not in names:
            added.append(f"Date: {format_datetime(now)}".encode())
        if b"message-id" not in names:
            added.append(b"Message-ID: <%s@%s>" % (format_id(message.id).encode(), self._hostname))
        return added
