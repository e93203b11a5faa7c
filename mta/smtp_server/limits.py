"""Count connections, memory and failed logins: in memory, per worker process.

IPv6 clients are counted by their /64, which is what one subscriber has.

Invariants: nothing grows without bound: connections are bounded by their own limit, what is remembered of clients by
MAX_REMEMBERED.

Limitations: each worker counts for itself, so the limits of the whole service are the workers' times as large. A client
that guesses from more than MAX_REMEMBERED addresses in one window is not counted; secrets of 192 bits withstand that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from hashlib import blake2b

from config.schema import Limits
from mta.mail.message import IPAddress
from mta.mail.reply import Reply
from mta.smtp_server.replies import TOO_MANY_CONNECTIONS, TOO_MANY_FROM_ADDRESS

MAX_REMEMBERED = 100_000
KEPT_FOR_KNOWN = 1 / 4  # share of the connections for clients in an account's networks, or that logged in lately
REMEMBERED_FOR = 86_400.0  # seconds after its last login for which a client is known
KEPT_FOR_SMALL = 1 / 4  # share of the memory for messages that only small ones may use
ADDRESS_FACTOR = 10  # failures of one address over all user names, as a multiple of those with one name


class Connections:
    """Open connections, in all and per client. A part of them is kept for clients that are known: strangers cannot use
    up what customers need, however many addresses they come from.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = self.strangers = 0
        self._clock = clock
        self._of: dict[int, int] = {}
        self._remembered: dict[int, float] = {}  # when each client logged in last; the latest is last

    def enter(self, address: IPAddress, limits: Limits, *, known: bool) -> Slot | Reply:
        """Count a connection, or return why it is rejected. ``known``: the client needs no login to be a customer."""
        key = _network(address)
        known = known or self._clock() < self._remembered.get(key, -math.inf) + REMEMBERED_FOR
        open_here = self._of.get(key, 0)
        if self.total >= limits.connections:
            return TOO_MANY_CONNECTIONS
        if not known and self.strangers >= max(1, int(limits.connections * (1 - KEPT_FOR_KNOWN))):
            return TOO_MANY_CONNECTIONS
        if open_here >= limits.connections_per_address:
            return TOO_MANY_FROM_ADDRESS
        self.total += 1
        self.strangers += not known
        self._of[key] = open_here + 1
        return Slot(self, key, is_known=known)

    def _recognise(self, key: int) -> None:
        self._remembered.pop(key, None)
        self._remembered[key] = self._clock()
        if len(self._remembered) > MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def _leave(self, key: int) -> None:
        self.total -= 1
        if self._of[key] == 1:
            del self._of[key]
        else:
            self._of[key] -= 1


class Slot:
    """One counted connection. It must ``leave`` in the end."""

    __slots__ = ("_connections", "_is_known", "_key")

    def __init__(self, connections: Connections, key: int, *, is_known: bool) -> None:
        self._connections: Connections | None = connections
        self._key, self._is_known = key, is_known

    def recognise(self) -> None:
        """The client has logged in: it is no stranger, now and for a day."""
        if self._connections is not None:
            self._connections._recognise(self._key)
            self._connections.strangers -= not self._is_known
            self._is_known = True

    def leave(self) -> None:
        """Count it no more. Every further call does nothing."""
        if self._connections is not None:
            self._connections.strangers -= not self._is_known
            self._connections._leave(self._key)
            self._connections = None


class MemoryBudget:
    """The memory that messages may take while they arrive and are judged, in octets. A part is kept for small ones."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    def reserve(self, octets: int, *, small: bool = False) -> bool:
        """Reserve ``octets`` if they fit; what was reserved must be released."""
        if not self.has_room(octets, small=small):
            return False
        self.used += octets
        return True

    def has_room(self, octets: int, *, small: bool = False) -> bool:
        return self.used + octets <= self.most * (1 if small else 1 - KEPT_FOR_SMALL)

    def release(self, octets: int) -> None:
        self.used -= octets


class Failures:
    """Failed AUTHs per client and user name, and per client, each within a window that begins with the first one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[bytes, tuple[float, int]] = {}  # when it began, failures; last failed last

    def exceeded(self, address: IPAddress, username: str, *, most: int, window: float) -> bool:
        """Whether this client must wait before it may try this name again."""
        return (
            self._count(_key(address, username), window) >= most
            or self._count(_key(address, None), window) >= most * ADDRESS_FACTOR
        )

    def add(self, address: IPAddress, username: str, *, window: float) -> None:
        now = self._clock()
        for key in (_key(address, username), _key(address, None)):
            began, count = self._windows.pop(key, (now, 0))
            if now >= began + window:
                began, count = now, 0
            self._windows[key] = (began, count + 1)
        while len(self._windows) > MAX_REMEMBERED:
            del self._windows[next(iter(self._windows))]

    def forgive(self, address: IPAddress, username: str) -> None:
        """Take back the last failure."""
        for key in (_key(address, username), _key(address, None)):
            began, count = self._windows.get(key, (0.0, 0))
            if count > 1:
                self._windows[key] = (began, count - 1)
            else:
                self._windows.pop(key, None)

    def _count(self, key: bytes, window: float) -> int:
        began, count = self._windows.get(key, (0.0, 0))
        return count if count and self._clock() < began + window else 0


def _key(address: IPAddress, username: str | None) -> bytes:
    """Return a short key, however long the name is."""
    name = b"" if username is None else b"\0" + username.encode("utf-8", "surrogatepass")
    return blake2b(_network(address).to_bytes(9, "big") + name, digest_size=16).digest()


def _network(address: IPAddress) -> int:
    """Return an IPv4 address, or the /64 of an IPv6 one, as numbers that do not overlap."""
    return int(address) if address.version == 4 else (int(address) >> 64) + (1 << 64)
