"""Size: a message may not be larger than the limit. The template for rules: copy this file.

Limitations: counts octets as received, before signing.
"""

from __future__ import annotations

from datetime import datetime

from config.types import Section
from config.types import Size as Octets
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext


class Size:
    name = "size"

    class Settings(Section):
        """How large a message may be."""

        limit: Octets | None = None
        """Maximum message size, e.g. "10MB"; the listener's own limit applies as well."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        limits = (settings.limit, context.message_size)
        self._limit = min(limit for limit in limits if limit is not None)

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        size = message.size
        if size > self._limit:
            text = f"size: {size} octets, at most {self._limit} are allowed; make the message smaller"
            return Refuse(Reply(552, "5.3.4", text)), ""
        return Pass(), f"{size} octets"
