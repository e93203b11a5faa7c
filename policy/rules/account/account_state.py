"""Account state: only an account in good standing sends.

It must never let anything out for an account that is not active, whatever the stream.

*Limits.* What is queued already is the dispatcher's to hold; this rule sees new messages only.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.accounts.account import Account, AccountStatus
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext


def refusal(account: Account) -> Reply | None:
    """Why this account may not send now; None if it may. For MAIL, before there is a message, too."""
    match account.standing:
        case AccountStatus.ACTIVE:
            return None
        case AccountStatus.PENDING:
            text = "is not reviewed yet; complete what its review needs and ask for it"
        case AccountStatus.REVIEW:
            text = "is being reviewed; wait for the result"
        case AccountStatus.SUSPENDED:
            text = f"is suspended{_because(account)}; settle that and ask to be resumed"
        case AccountStatus.TERMINATED:
            text = f"is terminated{_because(account)}; it cannot send any more"
        case _:
            assert_never(account.standing)
    return Reply(550, "5.7.1", f'account_state: account "{account.name}" {text}')


class AccountState:
    name = "account_state"

    class Settings(Section):
        """Nothing to choose: active accounts send."""

    def __init__(self, settings: Settings, house: RuleContext) -> None:
        pass

    def check(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        if reply := refusal(facts.account):
            return Refuse(reply), ""
        return Pass(), f"{facts.account.name} is active"


def _because(account: Account) -> str:
    given = [text for text in (account.reason, account.case and f"case {account.case}") if text]
    return f" ({', '.join(given)})" if given else ""
