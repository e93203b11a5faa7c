"""Return paths: signed envelope senders that identify the message a bounce is about (VERP).

    bounce+101kcq9g4w8f6t0hmvx1z5a2n7b0003d41r8q6s2v9wk7j3@returns.example.com
           │└ message id, 26 letters   └n  └ seal, 16 letters
           └ number of the key

Every recipient of a message has a return path of its own. It identifies both, whatever the report says. It uses the
alphabet of message ids: case-insensitive, and safe in any mail system.

Invariants: An altered, truncated, forged or expired address is not accepted, and an address does not reveal the
recipient. Except for case, an address has one spelling.

Limitations: The seal has 80 bits. The age is taken from the message id, so from the clock of the host that accepted the
message.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from mta.mail.address import Address
from mta.mail.identity import MessageId, format_id, parse_id

PREFIX = "bounce+"

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_KEYS = 16  # key numbers; the other letters are reserved for another layout
_LAST = 0xFFFFF  # the highest place that fits
_SEAL = 10  # octets
_WORD = re.compile(
    rf"(?P<said>(?P<key>[{_ALPHABET[:_KEYS]}])(?P<id>[{_ALPHABET}]{{26}})(?P<n>[{_ALPHABET}]{{4}}))"
    rf"(?P<seal>[{_ALPHABET}]{{16}})\Z"
)
_YOUNGER = timedelta(days=1)  # clock difference between hosts


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """``recipient_index``: the recipient's place in the envelope."""

    message_id: MessageId
    recipient_index: int


class InvalidReturnPath(Enum):
    """Why a return path is not valid."""

    FORGED = "forged"  # altered, truncated, or of another installation
    EXPIRED = "expired"


class Verp:
    """Writes and reads return paths under ``domain``. ``keys``: 32 octets each, by number: the last signs, all verify.
    ``keep``: how long after its message a return path is valid."""

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
        """Build with key number ``newest`` and at most ``kept`` earlier ones, each derived for its number."""
        numbers = range(max(1, newest - min(kept, _KEYS - 1)), newest + 1)
        return cls(domain, {number: derive(f"return path {number}") for number in numbers}, keep)

    def make(self, message_id: MessageId, n: int) -> Address:
        """Return the return path of a message for its recipient ``n``: 54 octets of local part. Raises ValueError."""
        if n > _LAST:
            raise ValueError(f"recipient {n} has no return path; a message has at most {_LAST + 1} of them")
        said = f"{self._newest}{format_id(message_id)}{_PAIRS[n >> 10]}{_PAIRS[n & 1023]}"
        return Address(f"{PREFIX}{said}{self._seal(self._newest, said)}", self._domain)

    def read(self, address: Address, now: datetime) -> ReturnPath | InvalidReturnPath | None:
        """Return the message that ``address`` belongs to; None if it is not a return path at all."""
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
        return ReturnPath(message_id, place)

    def _seal(self, key: str, said: str) -> str:
        keyed = self._keys[key].copy()
        keyed.update(said.encode())
        value = int.from_bytes(keyed.digest())
        return "".join([_PAIRS[value >> shift & 1023] for shift in (70, 60, 50, 40, 30, 20, 10, 0)])


def _made_at(message_id: MessageId) -> datetime:
    """Return the time in a message id of version 7 (RFC 9562 5.7)."""
    return datetime.fromtimestamp((message_id.int >> 80) / 1000, UTC)
