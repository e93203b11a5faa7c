"""Sampling: of the first mailing to a new list only some messages go out; the rest waits until somebody has looked.

How many belong to the sample is fixed when the mailing is made, from this rule's ``size`` if nobody says otherwise.

It must never hold a mailing whose list is known, nor one that was looked at.

*Limits.* The places are counted by the store, exactly; this rule sees how many were taken a moment ago, so the caller
asks for a place before it lets a message go (``Mailings.take_sample``).
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from config.types import Section
from mta.mail.message import Message
from policy.accounts.mailing import held_by_sampling
from policy.base import Facts, Hold, Pass, Verdict
from policy.rule_context import RuleContext


class Sampling:
    name = "sampling"

    class Settings(Section):
        """How large the sample is."""

        size: int = Field(100, ge=1)
        """Messages of the first mailing to a new list that go out before somebody has looked (`mta mailing add`
        takes it from here)."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self.size = settings.size

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        mailing = facts.mailing
        sample = mailing.sample if mailing else None
        if mailing is None or sample is None:
            return Pass(), "not sampled"
        if sample.released_at is not None:
            return Pass(), f"the sample of {sample.size} was looked at, released {sample.released_at:%Y-%m-%d %H:%M}"
        if sample.exhausted:
            return Hold(held_by_sampling(mailing.id, mailing.name, mailing.list, sample.size)), ""
        return Pass(), f"within the sample of {sample.size}"
