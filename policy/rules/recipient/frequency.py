"""Frequency: no recipient gets more marketing mail than the profile allows.

Counts the marketing messages recently accepted for a recipient from this account and, if the profile says so, from all
accounts together. Beyond the limit the message is deferred (450).

Invariants: only marketing mail is counted or deferred.

Limitations: at most the last thirty messages are known. Messages for one recipient that arrive at the same moment do
not see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil

from pydantic import Field

from config.types import Section
from mta.mail.reply import Reply
from policy.accounts.account import Stream
from policy.base import Facts, Pass, RecipientFacts, Refuse, Verdict
from policy.rule_context import RuleContext

KNOWN = 30  # messages that the facts tell of, at most

SPANS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}


class Frequency:
    name = "frequency"

    class Settings(Section):
        """Limits per recipient. A day is the last 24 hours, a month the last 30 days."""

        day: int | None = Field(3, ge=1, le=KNOWN)
        """Maximum per day from this account."""
        week: int | None = Field(10, ge=1, le=KNOWN)
        """Maximum per week from this account."""
        month: int | None = Field(None, ge=1, le=KNOWN)
        """Maximum per month from this account."""
        everywhere_day: int | None = Field(None, ge=1, le=KNOWN)
        """Maximum per day from all accounts together."""
        everywhere_week: int | None = Field(None, ge=1, le=KNOWN)
        """Maximum per week from all accounts together."""
        everywhere_month: int | None = Field(None, ge=1, le=KNOWN)
        """Maximum per month from all accounts together."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        own = (("day", settings.day), ("week", settings.week), ("month", settings.month))
        everywhere = (
            ("day", settings.everywhere_day),
            ("week", settings.everywhere_week),
            ("month", settings.everywhere_month),
        )
        self._own = [(span, cap) for span, cap in own if cap is not None]
        self._everywhere = [(span, cap) for span, cap in everywhere if cap is not None]

    def on_recipient(self, recipient: RecipientFacts, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        if facts.stream is not Stream.MARKETING:
            return Pass(), "not marketing"
        whose = f'account "{facts.account.name}"'
        for caps, accepted, who in (
            (self._own, recipient.accepted, whose),
            (self._everywhere, recipient.everywhere, "all accounts"),
        ):
            for span, cap in caps:
                if again := _again(accepted, SPANS[span], cap, now):
                    text = (
                        f"frequency: <{recipient.address}> has had {cap} marketing messages of {who} within a {span}, "
                        f"the most allowed; send it after {again:%Y-%m-%d %H:%M} UTC, or not at all"
                    )
                    return Refuse(Reply(450, "4.7.1", text, retry_after=ceil((again - now).total_seconds()))), ""
        return Pass(), f"{len(recipient.accepted)} known of lately"


def _again(accepted: Sequence[datetime], span: timedelta, cap: int, now: datetime) -> datetime | None:
    """When there is room for another message; None: now."""
    if len(accepted) < cap:
        return None
    free = sorted(accepted)[-cap] + span
    return free if free > now else None
