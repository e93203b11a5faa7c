"""Loops: a message that has passed through too many hosts is going round in circles (RFC 5321 6.3).

*Limits.* Counts Received fields only; a loop through a host that strips them is not seen.
"""

from __future__ import annotations

from datetime import datetime

from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict


class Loops:
    name = "loops"

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def check(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        hops = message.headers.count(b"received")
        if hops > self._limit:
            reply = Reply(
                554, "5.4.6", f"loops: {hops} Received fields, at most {self._limit}: this message is looping"
            )
            return Refuse(reply), ""
        return Pass(), f"{hops} hops"
