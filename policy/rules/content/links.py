"""Links: none leads to a host or address that was taken down, or whose domain is on a URL blocklist.

They are looked up before (``mta.submission.link_check``); this rule applies the answers.

Invariants: a list that does not answer stops the message only if the configuration says so.

What is queued already when an address is taken down is looked at again before it is sent
(``mta.queue.pre_delivery_check``).

Limitations: redirects are not followed. Blocklists are asked once, when the message is accepted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from config.types import Section
from mta.mail.hold import Hold, HoldSource
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext
from policy.text.header_text import shown

NAMED = 3  # targets that a reply names


class Links:
    name = "links"
    needs_links = True

    class Settings(Section):
        """What a listed link means."""

        listed: Literal["refuse", "hold"] = "refuse"
        """A link on a blocklist: `refuse` the message, or `hold` it for a review. One that was taken down is refused in
        any case."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._holds = settings.listed == "hold"

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        check = facts.links
        if check.taken_down:
            named = ", ".join(shown(each, 100) for each in check.taken_down[:NAMED])
            return _refuse(550, f"{named} was taken down; leave that link out")
        if check.listed:
            named = ", ".join(f"{shown(each.host, 100)} ({shown(each.list)})" for each in check.listed[:NAMED])
            if self._holds:
                return Hold(HoldSource.REVIEW, self.name, f"it links to {named}, and waits for a review"), ""
            return _refuse(550, f"the message links to {named}, on a blocklist; leave that link out")
        if check.failed:
            return _refuse(451, f"the links could not be looked up ({check.failed}); try again later")
        return Pass(), check.note or "none is listed"


def _refuse(code: int, fact: str) -> tuple[Verdict, str]:
    status = "5.7.1" if code == 550 else "4.7.1"
    return Refuse(Reply(code, status, f"links: {fact}")), ""
