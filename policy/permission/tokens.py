"""Tokens: sealed data in our messages that we recognise when it comes back (unsubscribe links, complaint ids).

A token holds an address key, account, topic and mailing; only this installation can read or make one. Keys
can be rotated: the first one makes tokens, all of them read, so that delivered mail keeps working as long as its key is
kept.

Invariants: a token never reveals an address; an altered, truncated or foreign token is never accepted.

Limitations: a token does not expire by itself; it ends with its key.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

UNSUBSCRIBE, COMPLAINT = "u", "c"  # purposes
LONGEST = 1000  # characters that are looked at

_VERSION = 1  # of the layout
_MARK = 2  # octets that tell which key made it
_NONCE, _TAG = 12, 16
_HEAD = 1 + _MARK
_WORD = re.compile(r"[A-Za-z0-9_-]+\Z")
_WORD_START = re.compile(r"[A-Za-z0-9_-]+")
_BLANKS = re.compile(r"=?[\s\u00ad\u200b\u2060\ufeff]+")  # "=" before a line break: quoted-printable


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token says. ``address_key``: the keyed hash of the recipient's address, 16 octets."""

    purpose: str  # UNSUBSCRIBE or COMPLAINT
    account_id: int
    address_key: bytes
    mailing: str
    topic: str


class Tokens:
    """``keys``: 32 octets each, the newest first, derived from the installation's secret for this purpose alone."""

    __slots__ = ("_making", "_seals")

    def __init__(self, *keys: bytes) -> None:
        if not keys:
            raise ValueError("tokens need a key")
        self._seals: dict[bytes, AESGCM] = {}
        for key in keys:
            self._seals.setdefault(hashlib.sha256(b"token key mark" + key).digest()[:_MARK], AESGCM(key))
        self._making = next(iter(self._seals))

    @classmethod
    def derived(cls, derive: Callable[[str], bytes], newest: int, kept: int) -> Tokens:
        """With the key of number ``newest`` and the ``kept`` ones before it, each derived from the installation's
        secret for its number."""
        return cls(*(derive(f"tokens {number}") for number in range(newest, max(0, newest - kept - 1), -1)))

    def make(self, claim: Claim) -> str:
        """A token for ``claim``: letters, digits, ``-`` and ``_``, safe in a URL; different each time."""
        head, nonce = bytes([_VERSION]) + self._making, os.urandom(_NONCE)
        sealed = self._seals[self._making].encrypt(nonce, _text(claim) + claim.address_key, head)
        return base64.urlsafe_b64encode(head + nonce + sealed).rstrip(b"=").decode()

    def read_passed_on(self, text: str) -> Claim | None:
        """What the token in ``text`` says, with what mail programs and people add to a link: a bracket or full stop
        behind it, a line break inside."""
        word = _WORD_START.match(_BLANKS.sub("", text[: 2 * LONGEST]))
        return self.read(word[0]) if word else None

    def read(self, token: str) -> Claim | None:
        """What the token says; None for anything that we did not make."""
        if len(token) > LONGEST or not _WORD.match(token):
            return None
        try:
            octets = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            if octets[:1] != bytes([_VERSION]) or _unpadded(octets) != token:
                return None
            seal = self._seals[octets[1:_HEAD]]
            plain = seal.decrypt(octets[_HEAD : _HEAD + _NONCE], octets[_HEAD + _NONCE :], octets[:_HEAD])
        except (KeyError, ValueError, InvalidTag):
            return None
        purpose, account_id, mailing, topic, key = plain.split(b"\0", 4)
        return Claim(purpose.decode(), int(account_id), key, mailing.decode(), topic.decode())


class TokenMaker(Protocol):
    """What puts tokens into messages."""

    def make(self, claim: Claim) -> str: ...


class SampleTokens:
    """Makes text as long as a token, without a key: for profiles and messages that are only checked.

    Invariants: ``Tokens`` reads none of it.
    """

    def make(self, claim: Claim) -> str:
        """Return a placeholder, which looks like a token wherever messages are compared: no words with ``-``."""
        octets = _HEAD + _NONCE + len(_text(claim)) + len(claim.address_key) + _TAG
        return "sampleToken".ljust((octets * 8 + 5) // 6, "0")


def _text(claim: Claim) -> bytes:
    return f"{claim.purpose}\0{claim.account_id}\0{claim.mailing}\0{claim.topic}\0".encode()


def _unpadded(octets: bytes) -> str:
    """Return the only valid spelling: the last letter of another one would hold bits that are not read."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
