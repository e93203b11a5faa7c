"""Sampling: of the first mailing to a new list only some messages are sent; the rest is held until reviewed.

The size of the sample is fixed when the mailing is created, by this rule's ``size`` unless given there.

Invariants: a mailing to a known list, or one already reviewed, is never held.

Limitations: the store counts the places exactly; this rule sees how many were taken a moment ago, so the caller
reserves a place before a message goes (``Mailings.take_sample``).
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from config.types import Section
from mta.mail.message import Message
from policy.accounts.mailing import sampling_hold
from policy.base import Facts, Pass, Verdict
from policy.rule_context import RuleContext


class Sampling:
    name = "sampling"

    class Settings(Section):
        """Size of the sample."""

        size: int = Field(100, ge=1)
        """Messages of the first mailing to a new list that are sent before a review (default of `mta mailing add`)."""

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
            return sampling_hold(mailing.id, mailing.name, mailing.list, sample.size), ""
        return Pass(), f"within the sample of {sample.size}"
