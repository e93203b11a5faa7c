"""Complaint cases while the service runs: notify accounts, and act on deadlines.

The deadlines are the store's and their lengths the profiles'. The mail is queued as mail of the service, so that it
leaves although the account is suspended.

A letter is answered at an address of its own, which proves that the answer comes from the reader of the letter.

Invariants: One account's error does not delay the others. A missing profile does not stop a deadline.

Limitations: An account without a contact address is notified by its webhooks only, and logged; its deadline still runs.
"""

from __future__ import annotations

from datetime import datetime

from config.schema import Settings
from mta.admin.desk.complaint_notifier import ComplaintNotifier
from mta.observe.log import get_logger
from mta.store.store import Store
from policy.profile import load_handling

log = get_logger()


async def open_notifier(settings: Settings, store: Store) -> ComplaintNotifier:
    """Return what writes to accounts, with the current keys and profiles. Raises ConfigError, StoreUnavailable."""
    return await ComplaintNotifier.open(settings, store, load_handling(settings.policy.profiles))


async def run_deadlines(notifier: ComplaintNotifier, store: Store, now: datetime | None = None) -> None:
    """Notify accounts of open cases and act on expired deadlines, once. Raises StoreUnavailable."""
    await notifier.refresh(store)
    rung = await store.cases.clocks.ring(notifier, now)
    if rung.told or rung.over:
        log.info("complaint deadlines processed", notified=rung.told, overdue=rung.over)
    if rung.waiting:
        log.warning("complaint answers wait for a decision", cases=list(rung.waiting))
    if rung.unheard:
        log.warning("complaint mail not sent: account has no contact", cases=list(rung.unheard))
