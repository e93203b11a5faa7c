"""Quota: an account sends to no more recipients per day and month than agreed.

A message beyond the remaining quota is deferred (450), because tomorrow's or next month's quota may admit it; one with
more recipients than a whole day's or month's quota is rejected.

Limitations: the remainder comes as a fact, counted over all machines. Other sessions may use it up between that look-up
and the commit; the count is then slightly above the limit, never below what was sent.
"""

from __future__ import annotations

from datetime import datetime

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.accounts.account import QuotaLimits
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext

DAY = 86_400  # seconds


class QuotaRule:
    name = "quota"

    class Settings(Section):
        """No settings: quotas belong to the account."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        pass

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        wanted, left, quotas = len(message.envelope.recipients), facts.quota_left, facts.account.quotas
        whole = min((limit for limit in (quotas.day, quotas.month) if limit is not None), default=None)
        if whole is not None and wanted > whole:
            text = f"quota: {wanted} recipients, but the quota is {_agreed(quotas)}; send to fewer at once"
            return Refuse(Reply(550, "5.7.1", text)), ""
        if left is None:
            return Pass(), "no quota"
        if wanted > left:
            text = (
                f"quota: {wanted} recipients, but {max(left, 0)} are left of the quota of account "
                f'"{facts.account.name}" ({_agreed(quotas)}); try again after midnight UTC, or ask for a larger quota'
            )
            return Refuse(Reply(450, "4.7.1", text, retry_after=DAY - int(now.timestamp()) % DAY)), ""
        return Pass(), f"{left} left of {_agreed(quotas)}"


def _agreed(quotas: QuotaLimits) -> str:
    limits = ((quotas.day, "a day"), (quotas.month, "a month"))
    return ", ".join(f"{limit} {span}" for limit, span in limits if limit is not None) or "what was agreed"
