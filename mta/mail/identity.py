"""Message ids: ordered by time, made without coordination.

A message id is a UUID of version 7 (RFC 9562): 60 bits of time in steps of a 4096th of a millisecond, 62 random bits.
It is written as 26 characters of Crockford's base 32, which can be read over the telephone and used as a file name or
header value.

Limitations: ids made in one step are not ordered among themselves, nor those of machines whose clocks differ.
"""

from __future__ import annotations

import os
import time
import uuid
from datetime import datetime
from functools import lru_cache

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)} | {"o": 0, "i": 1, "l": 1}
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]

MessageId = uuid.UUID


def new_message_id() -> MessageId:
    """Make an id; collision-free in practice over any number of processes and machines (RFC 9562 6.2, method 3)."""
    millis, rest = divmod(time.time_ns(), 1_000_000)
    random = int.from_bytes(os.urandom(8), "big") >> 2
    value = millis << 80 | 0x7 << 76 | (rest << 12) // 1_000_000 << 64 | 0b10 << 62 | random
    return uuid.UUID(int=value)


def first_id_at(moment: datetime) -> MessageId:
    """Return the lowest id that could have been made at ``moment`` (aware): all earlier ids are less."""
    millis = min(max(int(moment.timestamp() * 1000), 0), 2**48 - 1)
    return uuid.UUID(int=millis << 80)


LENGTH = 26  # characters of an id as text


@lru_cache(512)  # of a message it is asked for its answer, its header and each of its events
def format_id(message_id: MessageId) -> str:
    """Return the id as 26 lower-case characters."""
    value, pairs = message_id.int, []
    for shift in range(120, -1, -10):
        pairs.append(_PAIRS[value >> shift & 1023])
    return "".join(pairs)


def parse_id(text: str) -> MessageId:
    """Return the id written as ``text``, in upper or lower case. Raises ValueError."""
    letters = text.strip().lower()
    if len(letters) != LENGTH or not all(letter in _VALUES for letter in letters):
        raise ValueError(f"{text!r} is not a message id (26 letters and digits, as in the answer `queued as ID`)")
    value = 0
    for letter in letters:
        value = value << 5 | _VALUES[letter]
    if value >> 128:
        raise ValueError(f"{text!r} is not a message id")
    return uuid.UUID(int=value)
