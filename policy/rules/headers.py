"""Headers: the fields a message must have once, and those it may have only once (RFC 5322 3.6).

A missing Date or Message-ID is added, as a submission service may (RFC 6409 8.2, 8.3). Everything else is refused:
receivers differ in which of two From fields they show, and so a duplicate is a way to hide.

*Limits.* Syntax of fields other than From and Sender is not checked here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime

from config.notation import Section
from mta.mail.headers import Headers
from mta.mail.identity import format_id
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Amend, Facts, Pass, Refuse, Verdict
from policy.house import House

ONCE = (
    b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"subject", b"date", b"message-id", b"in-reply-to",
    b"references", b"mime-version", b"content-type", b"content-transfer-encoding", b"list-unsubscribe",
    b"list-unsubscribe-post", b"list-id", b"feedback-id",
)  # fmt: skip


class RequiredHeaders:
    name = "headers"

    class Settings(Section):
        """Nothing to choose: RFC 5322 has chosen."""

    def __init__(self, settings: Settings, house: House) -> None:
        self._hostname = house.hostname.encode()

    def check(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        count = Counter(name for name, _ in message.headers.fields)
        twice = [name.decode().title() for name in ONCE if count[name] > 1]
        if twice:
            return Refuse(Reply(550, "5.6.0", f"headers: {', '.join(twice)} may appear only once")), ""
        if not count[b"from"]:
            return Refuse(Reply(550, "5.6.0", "headers: the From field is missing")), ""
        added = self._missing(message, count, now)
        if not added:
            return Pass(), f"{len(message.headers.fields)} fields"
        content = b"".join(added) + message.content
        names = ", ".join(field.partition(b":")[0].decode() for field in added)
        return Amend(replace(message, content=content, headers=Headers.split(content)), f"added {names}"), ""

    def _missing(self, message: Message, count: Counter[bytes], now: datetime) -> list[bytes]:
        added = []
        if not count[b"date"]:
            added.append(f"Date: {format_datetime(now)}\r\n".encode())
        if not count[b"message-id"]:
            added.append(b"Message-ID: <%s@%s>\r\n" % (format_id(message.id).encode(), self._hostname))
        return added
