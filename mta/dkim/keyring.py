"""Which keys sign for a From domain: those in files (configuration) and the active ones in the store, together.

A key in the store is pending (made, its record not yet published), then active (it signs), then retired (it no longer
signs; its record stays until no queued mail carries its signatures). A key in a file is active as long as the
configuration names it.

A domain without keys of its own is signed for by the nearest parent domain that has some, which DMARC accepts as
aligned (relaxed alignment, RFC 7489 3.1.1); no public suffix is reached unless a key was made for it.

Invariants: no good key is lost to a bad one: a bad row is logged and left out; of the key files, which are
configuration, either all are applied or, if one is bad, none.
Limitations: a key in a file replaces one in the store with the same domain and selector. Strict alignment (``adkim=s``)
needs keys for the subdomain itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from config.hosts import dkim_record_name
from config.schema import Settings, SigningSettings
from mta.dkim.keys import Algorithm, KeyUnusable, SigningKey, parse_key, read_key_files
from mta.observe.log import get_logger
from mta.store.accounts.dkim_keys import KeyState, StoredKey

log = get_logger()

_Row = tuple[str, str, datetime]  # domain, selector and time of making: a row never changes its key


class KeyRing:
    """The keys that sign now. Look-ups do not wait; ``replace_stored`` takes over what the store has."""

    def __init__(self, configured: Iterable[SigningKey] = ()) -> None:
        self._configured = tuple(configured)
        self._stored: dict[_Row, SigningKey] = {}
        self._arrange()

    @classmethod
    def of_files(cls, settings: SigningSettings) -> KeyRing:
        """Read the keys of ``settings.keys``. Raises ConfigError."""
        ring = cls()
        ring.configure(read_key_files(settings))
        return ring

    def configure(self, keys: Iterable[SigningKey]) -> None:
        """Take over the keys of the files, as they were read."""
        self._configured = tuple(_checked(key) for key in keys)
        self._arrange()

    def replace_stored(self, rows: Iterable[StoredKey]) -> None:
        """Sign with the active ones of ``rows`` from now on; keys that are known already are not parsed again.

        One that cannot be read is logged and left out: the others must go on signing.
        """
        known, self._stored = self._stored, {}
        for row in rows:
            if row.state is KeyState.ACTIVE:
                try:
                    place = row.domain, row.selector, row.created_at
                    self._stored[place] = known.get(place) or _checked(read_stored(row))
                except KeyUnusable as error:
                    log.error("DKIM key cannot sign", domain=row.domain, selector=row.selector, reason=str(error))
        self._arrange()

    def of(self, domain: str) -> tuple[SigningKey, ...]:
        """Return the keys that sign for From addresses in ``domain`` (lower-case A-labels): its own, else its nearest
        parent's, else none. RSA first: some verifiers look at the first signature only, and not all know Ed25519.
        """
        while domain:
            if keys := self._keys.get(domain):
                return keys
            domain = domain.partition(".")[2]
        return ()

    def _arrange(self) -> None:
        places: dict[tuple[str, str], SigningKey] = {}
        for key in (*self._stored.values(), *self._configured):  # files come last and win
            places[key.domain, key.selector] = key
        arranged: dict[str, list[SigningKey]] = {}
        for key in sorted(places.values(), key=_signing_order):
            arranged.setdefault(key.domain, []).append(key)
        self._keys = {domain: tuple(keys) for domain, keys in arranged.items()}


def read_stored(row: StoredKey) -> SigningKey:
    """Return the key of a row. Raises KeyUnusable."""
    if row.pem is None:
        raise KeyUnusable(
            f"store: {dkim_record_name(row.selector, row.domain)} was sealed under another secret file: "
            "restore that file, or retire the key and make a new one"
        )
    return parse_key(row.pem, domain=row.domain, selector=row.selector, source="store", trusted=True)


def _checked(key: SigningKey) -> SigningKey:
    if warning := key.warning():
        log.warning("DKIM key is weak or unusual", domain=key.domain, selector=key.selector, reason=warning)
    return key


def _signing_order(key: SigningKey) -> tuple[str, bool, str]:
    return key.domain, key.algorithm is not Algorithm.RSA, key.selector


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key with its state. ``since``: when it came into this state; None for a key in a file."""

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
    """Return every key, in files and in the store, by domain, then state, then selector.

    A file and a row with the same domain and selector are both listed; the file signs. Raises ConfigError, KeyUnusable.
    """
    order = list(KeyState)
    files = read_key_files(settings.signing, settings.server.user)
    listed = [ListedKey(key, KeyState.ACTIVE, None) for key in files]
    listed += [ListedKey(read_stored(row), row.state, row.changed_at) for row in stored]
    return sorted(listed, key=lambda each: (each.key.domain, order.index(each.state), each.key.selector))
