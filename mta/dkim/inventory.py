"""Every DKIM key there is, in files and in the store, with its place in life.

A key in the store is pending (made, its record not yet published), then active (it signs), then retired (it signs no
more; its record stays until no queued mail carries its signatures). A key in a file is active as long as the
configuration names it.

*Limits.* A file and a row with the same domain and selector are both listed; the file signs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from config.schema import Settings
from mta.dkim.key_files import read_key_files
from mta.dkim.keyring import read_stored
from mta.dkim.keys import SigningKey
from mta.store.accounts.dkim_keys import KeyState, StoredKey


@dataclass(frozen=True, slots=True)
class ListedKey:
    """``since``: when it came into this state; None for a key in a file."""

    key: SigningKey
    state: KeyState
    since: datetime | None

    @property
    def signs(self) -> bool:
        return self.state is KeyState.ACTIVE

    @property
    def in_file(self) -> bool:
        return self.since is None


def list_keys(settings: Settings, stored: Iterable[StoredKey]) -> list[ListedKey]:
    """By domain, then by state, then by selector. Raises ConfigError, KeyUnusable."""
    order = list(KeyState)
    files = read_key_files(settings.signing, settings.server.user)
    listed = [ListedKey(key, KeyState.ACTIVE, None) for key in files]
    listed += [ListedKey(read_stored(row), row.state, row.changed_at) for row in stored]
    return sorted(listed, key=lambda each: (each.key.domain, order.index(each.state), each.key.selector))
