"""Which client a request is from, and how many requests each may make.

Invariants: X-Forwarded-For is believed from listed proxies only, and read from its right end.
Limitations: rates are counted per process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING

from mta.mail.message import IPAddress

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_CLIENTS = 100_000  # whose request rate is remembered
MAX_HOPS = 20  # proxies in X-Forwarded-For
ROUNDING = 1e-6  # seconds
UNKNOWN = ip_address("0.0.0.0")  # noqa: S104 - a socket without addresses

ClientOf = Callable[["Request"], IPAddress]
Networks = Sequence[IPv4Network | IPv6Network]


@lru_cache(4096)
def parse_ip(text: str) -> IPAddress | None:
    """Return the address without its zone, an IPv4 address for one mapped to IPv6; None if it is no address."""
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_of(peer: str, forwarded: Sequence[str], proxies: Networks) -> IPAddress:
    """Return the client's address. ``peer``: the other end of the connection; ``forwarded``: X-Forwarded-For fields.

    Reads X-Forwarded-For from right to left: the first address that is not one of our proxies is the client. Everything
    further left was written by the client.
    """
    client = parse_ip(peer) or UNKNOWN
    hops = ",".join(forwarded).split(",")[::-1][:MAX_HOPS]
    for hop in hops:
        if not any(client in network for network in proxies) or (named := parse_ip(hop)) is None:
            break
        client = named
    return client


def subscriber(address: IPAddress) -> int:
    """Return the IPv4 address or the /64 of the IPv6 address as a number; the two ranges do not overlap."""
    return int(address) if address.version == 4 else (int(address) >> 64) + (1 << 64)


class RequestRates:
    """A token bucket for each client: ``burst`` requests at once, then ``rate`` per second.

    Clients are numbers: ``subscriber`` of an address (IPv6 clients are counted by their /64, which is what one
    subscriber has), or of an API token. At most MAX_CLIENTS are remembered.
    """

    __slots__ = ("_clock", "_full_at", "burst", "rate")

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self._clock = rate, burst, clock
        self._full_at: dict[int, float] = {}  # when each client's bucket is full again; the latest client is last

    def configure(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst

    def take(self, client: int) -> float:
        """Count a request; return the seconds that the client has to wait, 0 if the request may be served."""
        now = self._clock()
        full_at = max(now, self._full_at.pop(client, now)) + 1 / self.rate
        wait = full_at - now - self.burst / self.rate
        if wait < ROUNDING:
            wait = 0.0
        self._full_at[client] = full_at - 1 / self.rate if wait else full_at
        if len(self._full_at) > MAX_CLIENTS:
            del self._full_at[next(iter(self._full_at))]
        return wait

    def left(self, client: int) -> int:
        """Return how many requests the client may make now."""
        now = self._clock()
        return max(0, int(self.burst - (max(now, self._full_at.get(client, now)) - now) * self.rate + ROUNDING))
