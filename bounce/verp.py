"""The return path: an envelope sender that says which message came back, sealed so that nobody else can make one.

    bounce+101kcq9g4w8f6t0hmvx1z5a2n7b0003d41r8q6s2v9wk7j3@returns.example.com
           │└ message id, 26 letters   └n  └ seal, 16 letters
           └ number of the key

Every message leaves with an address of its own (VERP). What is sent back to it names the message and, where the
transaction had one recipient, the recipient, whatever the report itself says or leaves out. The letters are those of
message ids: no case, and nothing that a mail system would change.

It must never accept an address that was altered, cut short, made with another secret or grown too old, nor show to
anybody whom the message was for. But for upper and lower case an address has one spelling.

*Limits.* The seal has 80 bits. Age is the message id's, that is of the clock of the machine that took the message.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache

from mta.mail.address import Address
from mta.mail.identity import MessageId, format_id, parse_id

PREFIX = "bounce+"

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_KEYS = 16  # numbers; the letters above are left for another layout
_SEVERAL = 0xFFFFF  # the transaction had several recipients
_SEAL = 10  # octets
_WORD = re.compile(
    rf"(?P<said>(?P<key>[{_ALPHABET[:_KEYS]}])(?P<id>[{_ALPHABET}]{{26}})(?P<n>[{_ALPHABET}]{{4}}))"
    rf"(?P<seal>[{_ALPHABET}]{{16}})\Z"
)
_YOUNGER = timedelta(days=1)  # clocks of two machines may differ

_id = lru_cache(4096)(format_id)  # a message goes to several destinations, and is tried more than once


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """``n``: the recipient's place in the envelope; None: one of several, whom the report must name."""

    message_id: MessageId
    n: int | None


class InvalidReturnPath(Enum):
    """Why an address that looks like a return path is none of ours."""

    FORGED = "forged"  # altered, cut short, or of another installation
    EXPIRED = "expired"


class Verp:
    """Makes and reads return paths under ``domain``.

    ``keys`` by number, the highest makes and all read: 32 octets each, derived from the installation's secret for this
    purpose alone. ``keep``: how long after its message an address is good.
    """

    __slots__ = ("_domain", "_keep", "_keys", "_newest")

    def __init__(self, domain: str, keys: Mapping[int, bytes], keep: timedelta) -> None:
        if not keys or len({number % _KEYS for number in keys}) < len(keys):
            raise ValueError(f"return paths need one to {_KEYS} keys in a row")
        self._domain, self._keep = domain, keep
        self._keys = {
            _ALPHABET[number % _KEYS]: hashlib.blake2b(digest_size=_SEAL, key=key) for number, key in keys.items()
        }
        self._newest = _ALPHABET[max(keys) % _KEYS]

    @classmethod
    def derived(cls, domain: str, derive: Callable[[str], bytes], newest: int, kept: int, keep: timedelta) -> Verp:
        """With the key of number ``newest`` and at most ``kept`` ones before it, each derived for its number."""
        numbers = range(max(1, newest - min(kept, _KEYS - 1)), newest + 1)
        return cls(domain, {number: derive(f"return path {number}") for number in numbers}, keep)

    def make(self, message_id: MessageId, n: int | None) -> Address:
        """The return path of a message, for its recipient ``n`` or for several (None). A local part of 54 octets."""
        place = _SEVERAL if n is None or n > _SEVERAL else n
        said = f"{self._newest}{_id(message_id)}{_PAIRS[place >> 10]}{_PAIRS[place & 1023]}"
        return Address(f"{PREFIX}{said}{self._seal(self._newest, said)}", self._domain)

    def read(self, address: Address, now: datetime) -> ReturnPath | InvalidReturnPath | None:
        """Which message an address is the return path of; None if it is no address of that kind."""
        local = address.local.lower()
        if address.domain != self._domain or not local.startswith(PREFIX):
            return None
        word = _WORD.match(local, len(PREFIX))
        if not word or word["key"] not in self._keys:
            return InvalidReturnPath.FORGED
        if not hmac.compare_digest(self._seal(word["key"], word["said"]), word["seal"]):
            return InvalidReturnPath.FORGED
        message_id, place = parse_id(word["id"]), 0
        for letter in word["n"]:
            place = place << 5 | _ALPHABET.index(letter)
        if not -_YOUNGER <= now - _made_at(message_id) <= self._keep:
            return InvalidReturnPath.EXPIRED
        return ReturnPath(message_id, None if place == _SEVERAL else place)

    def _seal(self, key: str, said: str) -> str:
        keyed = self._keys[key].copy()
        keyed.update(said.encode())
        value = int.from_bytes(keyed.digest())
        return "".join([_PAIRS[value >> shift & 1023] for shift in (70, 60, 50, 40, 30, 20, 10, 0)])


def _made_at(message_id: MessageId) -> datetime:
    """The moment that a message id of version 7 holds (RFC 9562 5.7)."""
    return datetime.fromtimestamp((message_id.int >> 80) / 1000, UTC)
