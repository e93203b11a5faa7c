"""Reply addresses of letters about complaint cases: whoever answers there has our letter to the account.

    abuse+c17.k3v9x0m2f7qj1r8d@returns.example.com
           └ case  └ seal

A mail program may sign nothing and change the subject; the address it answers to stays.

Invariants: an altered or invented address names no case.

Limitations: the seal has 80 bits. Who gets a letter can pass its address on.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

_SEAL = 10  # octets
_ADDRESS = re.compile(r"abuse\+c(\d{1,15})\.([a-z2-7]{16})")


class CaseReplies:
    """Makes and reads these addresses. ``key``: 32 octets, derived for this purpose alone."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def local_part(self, case_id: int) -> str:
        """Return the local part that answers about the case are sent to."""
        return f"abuse+c{case_id}.{self._seal(case_id)}"

    def case_of(self, local_part: str) -> int | None:
        """Return the case that an address is for; None if we did not make it."""
        match = _ADDRESS.fullmatch(local_part.lower())
        if match is None or not hmac.compare_digest(self._seal(int(match[1])), match[2]):
            return None
        return int(match[1])

    def _seal(self, case_id: int) -> str:
        digest = hashlib.blake2b(str(case_id).encode(), digest_size=_SEAL, key=self._key).digest()
        return base64.b32encode(digest).decode().lower()
