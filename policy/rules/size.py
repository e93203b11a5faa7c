"""Size: a message may not be larger than the limit. The template for rules: copy this file.

*Limits.* Counts octets as received, before signing.
"""

from __future__ import annotations

from datetime import datetime

from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict


class Size:
    name = "size"

    def __init__(self, limit: int) -> None:
        self._limit = limit  # octets

    def check(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        size = len(message.content)
        if size > self._limit:
            return Refuse(Reply(552, "5.3.4", f"size: {size} octets, at most {self._limit} are allowed")), ""
        return Pass(), f"{size} octets"
