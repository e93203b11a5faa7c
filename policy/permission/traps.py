"""Trap addresses: mailboxes that never signed up for anything. A list that has them was bought, copied or guessed.

Given as addresses or, so that the file betrays none, as SHA-256 of the address in lower case, one a line.

Invariants: no answer to a client depends on them, so that nobody learns which addresses they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from config.toml import ConfigError, read_text
from mta.mail.address import Address, AddressError

_HASHED = re.compile(r"[0-9a-fA-F]{64}")


class TrapAddresses:
    """A set of them."""

    __slots__ = ("_digests",)

    def __init__(self, text: str = "") -> None:
        """Read a file's text. Raises ValueError with every line that is neither an address, a hash nor a comment."""
        faults: list[str] = []
        self._digests = frozenset(_read(text, faults))
        if faults:
            raise ValueError("\n".join(faults))

    @classmethod
    def load(cls, path: Path | None) -> TrapAddresses:
        """Read them from a file; None: there are none. Raises ConfigError."""
        if path is None:
            return cls()
        try:
            return cls(read_text(path))
        except ValueError as error:
            raise ConfigError([f"{path}: {line}" for line in str(error).splitlines()]) from None

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, address: Address) -> bool:
        return bool(self._digests) and _digest(address) in self._digests


def _read(text: str, faults: list[str]) -> Iterator[bytes]:
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if not said:
            continue
        if _HASHED.fullmatch(said):
            yield bytes.fromhex(said)
            continue
        try:
            yield _digest(Address.parse(said))
        except AddressError as error:
            faults.append(f"line {number}: {said[:60]!r} is neither an address nor a SHA-256: {error}")


def _digest(address: Address) -> bytes:
    return hashlib.sha256(address.key.encode()).digest()
