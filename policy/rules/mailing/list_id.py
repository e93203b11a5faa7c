"""List id: ``List-Id`` (RFC 2919) names the list, so that recipients can sort and block by it.

The id is ``LIST.ACCOUNT.HOST``: the list's name in letters, digits and hyphens, the account's number, our host name. It
stays the same as long as the list keeps its name.

Invariants: two lists never have the same id.

Limitations: list names with other characters are distinguished by a few characters of their digest.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Literal

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Amend, Facts, Pass, Refuse, Verdict
from policy.header_fields import fold
from policy.rule_context import RuleContext

FIELD = "List-Id"

_OTHER = re.compile(r"[^a-z0-9]+")
_WELL_FORMED = re.compile(r"(?:[^<>]*\s)?<[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)+>\Z")


class ListId:
    name = "list_id"

    class Settings(Section):
        """What to do with a field set by the application."""

        own: Literal["keep", "replace", "refuse"] = "keep"
        """`List-Id` set by the application: `keep` it if it is well-formed, `replace` it, or `refuse` the message."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._own, self._host = settings.own, context.hostname

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        own = message.headers.value(b"list-id")
        if self._own == "refuse" and own is not None:
            text = f"list_id: {FIELD} is written by this service; leave it out"
            return Refuse(Reply(550, "5.7.1", text)), ""
        if self._own == "keep" and own and message.headers.count(b"list-id") == 1 and _WELL_FORMED.match(own):
            return Pass(), f"the application's own {FIELD}: {own[:100]}"
        if facts.mailing is None:
            return Pass(), "no mailing, no list"
        list_id = f"<{label(facts.mailing.list)}.{facts.account.id}.{self._host}>"
        return Amend((fold(FIELD, [list_id]),), f"{FIELD}: {list_id}"), ""


def label(name: str) -> str:
    """The list's name as one label of a List-Id; different names have different labels."""
    plain = _OTHER.sub("-", name.lower()).strip("-")[:40]
    if plain == name:
        return plain
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain}-{mark}" if plain else mark
