"""Loops: a message that passed too many hosts is going round in circles (RFC 5321 6.3).

Limitations: counts Received fields only; a loop through a host that strips them is not seen.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext


class Loops:
    name = "loops"

    class Settings(Section):
        """How many hops are allowed."""

        limit: int | None = Field(None, ge=1)
        """Maximum number of Received fields, at most 100."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        limits = (settings.limit, context.received_count)
        self._limit = min(limit for limit in limits if limit is not None)

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        hops = message.headers.count(b"received")
        if hops > self._limit:
            text = (
                f"loops: {hops} Received fields, at most {self._limit}: this message is looping; "
                "find the host that sends it back"
            )
            return Refuse(Reply(554, "5.4.6", text)), ""
        return Pass(), f"{hops} hops"
