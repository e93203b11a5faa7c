"""Verify sender domains in the DNS: on request, and again every day.

``policy.accounts.sender_domain`` judges what is found, ``mta.store.accounts.domains`` stores it. A domain becomes
usable by itself, minutes after its records were published.

Invariants: a domain is verified on one machine at a time. DNS errors of one domain do not delay the others.

Limitations: at most BATCH domains a round, so that thousands of them are not queried at once.
"""

from __future__ import annotations

import asyncio

from config.schema import Settings
from config.toml import ConfigError
from mta.admin.senders.domain_check import look_at_domain, read_key_ring
from mta.delivery.mx import Resolver
from mta.observe.log import get_logger
from mta.store.journal.account_changes import AccountError
from mta.store.store import Store

log = get_logger()

BATCH = 20


async def verify_due(settings: Settings, store: Store, resolver: Resolver) -> None:
    """Verify the domains that are due. Raises StoreUnavailable."""
    claimed = await store.domains.claim(BATCH)
    if not claimed:
        return
    try:
        ring = await read_key_ring(settings, store)
    except ConfigError as error:
        log.error("sender domains not verified: unreadable DKIM keys", mistakes=error.lines)
        return
    returns = settings.return_path.domain
    judged = await asyncio.gather(
        *(look_at_domain(resolver, ring, each.domain, each.token, return_path=returns) for each in claimed)
    )
    for each, found in zip(claimed, judged, strict=True):
        try:
            await store.domains.record(each.account_id, each.domain, found, by="dns")
        except AccountError:
            pass  # removed meanwhile
