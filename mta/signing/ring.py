"""Which keys sign for a From domain: those in files (configuration) and the active ones in the store, together.

A domain without keys of its own is signed for by the nearest parent domain that has some, which DMARC accepts as
aligned (relaxed alignment, RFC 7489 3.1.1). Nothing is ever climbed to but a domain that has keys here, so no public
suffix is reached unless somebody made a key for it.

It must never lose good keys to a bad one: a row that cannot be read is reported and left out. A bad file is an error,
because configuration is refused as a whole.

*Limits.* A key in a file replaces one in the store with the same domain and selector. Strict alignment (``adkim=s``)
needs keys for the subdomain itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from config.schema import Signing
from mta.mail.address import AddressError, parse_domain
from mta.signing.keys import Algorithm, KeyUnusable, SigningKey, parse_selector, read_key_file

Place = tuple[str, str]  # domain, selector


class KeyFilesUnusable(ValueError):
    """Every mistake in the key files at once; ``mistakes`` has one line for each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(mistakes)


class KeyRing:
    """The keys that sign now. Look-ups are synchronous; ``replace_stored`` takes over what the store has."""

    def __init__(self, configured: Iterable[SigningKey] = ()) -> None:
        self._configured = tuple(configured)
        self._stored: tuple[SigningKey, ...] = ()
        self._arrange()

    @classmethod
    def of_files(cls, settings: Signing) -> KeyRing:
        """The keys of ``settings.keys``, read and checked. Raises KeyFilesUnusable."""
        return cls(read_key_files(settings))

    def configure(self, settings: Signing) -> None:
        """Take over reloaded settings and key files. Raises KeyFilesUnusable; then nothing has changed."""
        self._configured = tuple(read_key_files(settings))
        self._arrange()

    def replace_stored(self, keys: Iterable[SigningKey]) -> None:
        """From now on the store's active keys are ``keys``."""
        self._stored = tuple(keys)
        self._arrange()

    def of(self, domain: str) -> tuple[SigningKey, ...]:
        """The keys that sign for From addresses in ``domain`` (lower-case A-labels): its own, else its nearest
        parent's, else none. RSA first: some verifiers look at the first signature only, and not all know Ed25519.
        """
        while domain:
            if keys := self._keys.get(domain):
                return keys
            domain = domain.partition(".")[2]
        return ()

    def all(self) -> tuple[SigningKey, ...]:
        return tuple(key for keys in self._keys.values() for key in keys)

    def warnings(self) -> list[str]:
        """What operators should mend although mail is signed."""
        return [warning for key in self.all() if (warning := key.warning())]

    def _arrange(self) -> None:
        places: dict[Place, SigningKey] = {}
        for key in (*self._stored, *self._configured):  # files come last and win
            places[key.domain, key.selector] = key
        arranged: dict[str, list[SigningKey]] = {}
        for key in sorted(places.values(), key=_signing_order):
            arranged.setdefault(key.domain, []).append(key)
        self._keys = {domain: tuple(keys) for domain, keys in arranged.items()}


def read_key_files(settings: Signing) -> list[SigningKey]:
    """The keys that the configuration names. Raises KeyFilesUnusable with every mistake."""
    keys: list[SigningKey] = []
    mistakes: list[str] = []
    for entry in settings.keys:
        try:
            domain, selector = parse_domain(entry.domain), parse_selector(entry.selector)
            keys.append(read_key_file(Path(entry.file), domain=domain, selector=selector))
        except AddressError as error:
            mistakes.append(f"signing.keys: domain {entry.domain!r}: {error}")
        except KeyUnusable as error:
            mistakes.append(str(error))
    if mistakes:
        raise KeyFilesUnusable(mistakes)
    return keys


def _signing_order(key: SigningKey) -> tuple[str, bool, str]:
    return key.domain, key.algorithm is not Algorithm.RSA, key.selector
