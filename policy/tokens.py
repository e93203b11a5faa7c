"""Tokens: what a message carries so that we know our own again (an unsubscribe link, a complaint's address).

A token says whose address, which account, which topic and which mailing, and nobody but us can read or make one.

It must never show an address, nor accept a token that was altered, cut short or made with another secret.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = 1  # of the layout, and of the key
_NONCE = 12


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token says. ``address_key``: the keyed hash of the recipient's address, 16 octets."""

    purpose: str  # one letter: "u" unsubscribe, "c" complaint
    account_id: int
    address_key: bytes
    mailing: str
    topic: str


class Tokens:
    """``key``: 32 octets, derived from the installation's secret for this purpose alone."""

    __slots__ = ("_seal",)

    def __init__(self, key: bytes) -> None:
        self._seal = AESGCM(key)

    def make(self, claim: Claim) -> str:
        """A token for ``claim``: letters, digits, ``-`` and ``_``, safe in a URL; different each time."""
        text = f"{claim.purpose}\0{claim.account_id}\0{claim.mailing}\0{claim.topic}\0".encode()
        nonce = os.urandom(_NONCE)
        sealed = self._seal.encrypt(nonce, text + claim.address_key, bytes([_VERSION]))
        return base64.urlsafe_b64encode(bytes([_VERSION]) + nonce + sealed).rstrip(b"=").decode()

    def read(self, token: str) -> Claim | None:
        """What the token says; None for anything that we did not make."""
        try:
            octets = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            if octets[0] != _VERSION:
                return None
            plain = self._seal.decrypt(octets[1 : 1 + _NONCE], octets[1 + _NONCE :], octets[:1])
        except (ValueError, IndexError, InvalidTag):
            return None
        purpose, account_id, mailing, topic, key = plain.split(b"\0", 4)
        return Claim(purpose.decode(), int(account_id), key, mailing.decode(), topic.decode())
