"""Check imported lists of addresses: for role addresses, traps, and what other accounts have, too.

Limitations: a list is checked within a minute of its last record.
"""

from __future__ import annotations

from config.schema import Settings
from mta.observe.log import get_logger
from mta.service.config_validation import validate_profiles
from mta.store.permission.address_lists import RecordedFinding
from mta.store.store import Store

log = get_logger()


async def check_lists(settings: Settings, store: Store) -> list[RecordedFinding]:
    """Check the lists that changed; log and return what is new. Raises ConfigError, StoreUnavailable."""
    profiles = validate_profiles(settings)
    found = await store.address_lists.check({name: profiles.get(name).lists for name in profiles.names})
    for each in found:
        log.warning("list flagged", finding=each.id, account=each.account, sign=each.sign.value, found=each.text)
    return found
