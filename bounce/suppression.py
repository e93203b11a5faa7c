"""Who must not be mailed again after an attempt, in whose name, and on what evidence.

It must never suppress for a reply that was not about this one recipient: an answer to the whole message that several
recipients share blames none of them.

*Limits.* One clear answer is enough; there is no counting of softer ones (a mailbox that has been full for months).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mta.mail.address import Address
from mta.mail.delivery import Action, Failed, Outcome, Stage

MAX_EVIDENCE = 500  # characters


@dataclass(frozen=True, slots=True)
class Entry:
    """One address to suppress for one account. ``reason`` is the category, ``rule`` the bounce rule that said so."""

    account_id: int
    address: Address
    reason: str
    rule: str
    evidence: str


def entries(account_id: int, outcomes: Iterable[Outcome], host: str | None = None) -> tuple[Entry, ...]:
    """The suppressions that follow from all ``outcomes`` of one attempt. ``host`` is the receiver, for the evidence.

    The scope is the account: what one sender's list earned must not silence another's.
    """
    outcomes = tuple(outcomes)
    shared = sum(outcome.result.stage is Stage.FINAL_DOT for outcome in outcomes) > 1
    return tuple(
        _entry(account_id, outcome, host)
        for outcome in outcomes
        if isinstance(outcome, Failed)
        and outcome.classification.action is Action.SUPPRESS
        and not (shared and outcome.result.stage is Stage.FINAL_DOT)
    )


def _entry(account_id: int, failed: Failed, host: str | None) -> Entry:
    meaning = failed.classification
    said = " ".join(f"{host or 'receiver'} said {failed.result.reply}".split())
    return Entry(account_id, failed.result.recipient.address, meaning.category, meaning.rule, said[:MAX_EVIDENCE])
