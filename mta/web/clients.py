"""Who is asking: the address of a client, also behind reverse proxies, and how often it may ask.

A proxy that is listed is believed about the client it names in X-Forwarded-For, from the right to the left: the first
address that is none of our proxies is the client. What stands further left was written by the client.

It must never believe a header of somebody who is not listed, nor remember more than MAX_REMEMBERED clients.

*Limits.* Each process counts for itself. IPv6 clients are counted by their /64, which is what one subscriber has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from mta.mail.message import IPAddress

MAX_REMEMBERED = 100_000
MOST_HOPS = 20
ROUNDING = 1e-6  # seconds
UNKNOWN = ip_address("0.0.0.0")  # noqa: S104 - nobody: of a socket without addresses

Networks = Sequence[IPv4Network | IPv6Network]


def client_of(peer: str, forwarded: Sequence[str], proxies: Networks) -> IPAddress:
    """``peer``: the other end of the connection; ``forwarded``: the X-Forwarded-For fields, in their order."""
    client = _read(peer) or UNKNOWN
    hops = ",".join(forwarded).split(",")[::-1][:MOST_HOPS]
    for hop in hops:
        if not any(client in network for network in proxies) or (said := _read(hop)) is None:
            break
        client = said
    return client


def _read(text: str) -> IPAddress | None:
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Rates:
    """A bucket for each client: ``burst`` requests at once, ``rate`` a second after that."""

    __slots__ = ("_burst", "_clock", "_full_at", "_rate")

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._full_at: dict[int, float] = {}  # when a client's bucket is full again; who asked last is last

    def configure(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst

    def take(self, client: IPAddress) -> float:
        """Count a request; the seconds that the client has to wait before it may ask, 0 if it may."""
        key, now = _network(client), self._clock()
        full_at = max(now, self._full_at.pop(key, now)) + 1 / self._rate
        wait = full_at - now - self._burst / self._rate
        if wait < ROUNDING:
            wait = 0.0
        self._full_at[key] = full_at - 1 / self._rate if wait else full_at
        if len(self._full_at) > MAX_REMEMBERED:
            del self._full_at[next(iter(self._full_at))]
        return wait


def _network(address: IPAddress) -> int:
    """An IPv4 address, or the /64 of an IPv6 one, as numbers that do not meet."""
    return int(address) if address.version == 4 else (int(address) >> 64) + (1 << 64)
