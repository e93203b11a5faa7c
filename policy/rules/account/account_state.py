"""Account state: only an active account sends.

Invariants: no new message of an account that is not active is accepted, whatever the stream and the profile.

Limitations: what is queued already is held by the queue.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from config.types import Section
from mta.mail.address import Address
from mta.mail.reply import Reply
from policy.accounts.account import Account, AccountStatus
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext


class AccountState:
    name = "account_state"
    mandatory = True

    class Settings(Section):
        """No settings: only active accounts send."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        pass

    def on_sender(self, sender: Address | None, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        if reply := _refusal(facts.account):
            return Refuse(reply), ""
        return Pass(), f"{facts.account.name} is active"


def _refusal(account: Account) -> Reply | None:
    """Return why this account may not send now, None if it may."""
    match account.status:
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
            assert_never(account.status)
    return Reply(550, "5.7.1", f'account_state: account "{account.name}" {text}')


def _because(account: Account) -> str:
    given = [text for text in (account.reason, account.case and f"case {account.case}") if text]
    return f" ({', '.join(given)})" if given else ""
