"""Where a destination's mail goes: which hosts in which order, how, and in whose lane.

Two domains with the same best mail exchangers, or at the same provider, share a ``site``: its limits, its health and
its connections. A static route comes before everything DNS may say.

It must never do IO: ``mta.delivery.mx`` fetches what is decided on here.

*Limits.* Sites are told apart by host names: one host under two names is two sites, unless a provider claims both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import groupby, zip_longest

from config.schema import Listener, Shaping, ShapingSettings
from mta.mail.reply import Reply

IPAddress = IPv4Address | IPv6Address


class TlsMode(Enum):
    """How a connection is to be protected. REQUIRED and IMPLICIT verify the certificate."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    IMPLICIT = "implicit"

    @property
    def is_strict(self) -> bool:
        return self in (TlsMode.REQUIRED, TlsMode.IMPLICIT)


@dataclass(frozen=True, slots=True)
class SmartHostLogin:
    """For AUTH at a smart host."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one host. ``preference`` as in the MX record: lower ones come first (RFC 5321 5.1). ``home``: our
    own door for what comes back, where mail ends and does not loop."""

    name: str
    address: str
    port: int
    preference: int = 0
    home: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """``hosts``: at least one, best preference first; those of equal preference in no particular order."""

    site: str
    shaping: Shaping
    hosts: tuple[Target, ...]
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    login: SmartHostLogin | None = None

    @property
    def provider(self) -> str:
        return self.shaping.name

    def tries(self) -> Sequence[Target]:
        """The hosts in the order of one attempt: by preference, equal ones at random, a host's addresses together."""
        if len(self.hosts) == 1:
            return self.hosts
        rank: dict[str, float] = {}
        return sorted(
            self.hosts,
            key=lambda host: (host.preference, rank.setdefault(host.name, random.random())),  # noqa: S311
        )


@dataclass(frozen=True, slots=True)
class MxHost:
    """An MX record. ``host`` in lower case without the last dot; empty for the null MX."""

    preference: int
    host: str


# --- what cannot be delivered at all


def no_such_domain(domain: str) -> Reply:
    return Reply(550, "5.1.2", f"the domain {domain} does not exist")


def no_mail_taken(domain: str) -> Reply:
    """RFC 7505 4.2."""
    return Reply(556, "5.1.10", f"the domain {domain} takes no mail (null MX)")


def no_host(domain: str) -> Reply:
    return Reply(550, "5.1.2", f"the domain {domain} has neither MX nor address records")


def no_address(domain: str) -> Reply:
    return Reply(550, "5.4.4", f"no mail host of {domain} has an address")


def loops_back(domain: str) -> Reply:
    return Reply(554, "5.4.6", f"mail for {domain} loops back to this host: its best MX is this host itself")


def dns_trouble(domain: str, why: str) -> Reply:
    return Reply(451, "4.4.3", f"the mail hosts of {domain} cannot be looked up: {why}")


# --- choosing


def mail_exchanges(domain: str, records: Iterable[MxHost]) -> list[MxHost]:
    """Whom to ask, best first: the MX records, the domain itself if there are none (RFC 5321 5.1), nobody if null."""
    found = sorted(records, key=lambda exchange: exchange.preference)
    if not found:
        return [MxHost(0, domain)]
    return [exchange for exchange in found if exchange.host]


def lane_site(domain: str, exchanges: Sequence[MxHost], shaping: ShapingSettings) -> tuple[str, Shaping]:
    """The site that ``domain`` belongs to, and the limits for it."""
    best = sorted({exchange.host for exchange in exchanges if exchange.preference == exchanges[0].preference})
    for provider in shaping.providers:
        if domain in provider.domains or (provider.mx and all(_ends_with(host, provider.mx) for host in best)):
            return provider.name, provider
    return ",".join(best), shaping.default


def _ends_with(host: str, suffixes: Iterable[str]) -> bool:
    return any(host == suffix.lstrip(".") or host.endswith("." + suffix.lstrip(".")) for suffix in suffixes)


def interleave(six: Sequence[str], four: Sequence[str], at_most: int) -> list[str]:
    """A host's addresses, IPv6 and IPv4 by turns, so that a dead IPv6 costs one try only (RFC 8305's idea)."""
    pairs = zip_longest(random.sample(six, len(six)), random.sample(four, len(four)))
    return [address for pair in pairs for address in pair if address is not None][:at_most]


def without_ourselves(targets: Sequence[Target], is_ourselves: Callable[[Target], bool]) -> tuple[Target, ...]:
    """The targets better than ourselves: at our own preference and behind it mail would loop (RFC 5321 5.1)."""
    kept: list[Target] = []
    for _, group in groupby(targets, key=lambda target: target.preference):
        equals = list(group)
        if any(is_ourselves(target) for target in equals):
            break
        kept += equals
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Ourselves:
    """What this host is called, and where its listeners are."""

    name: str
    listeners: tuple[tuple[IPAddress, int], ...]

    @classmethod
    def of(cls, hostname: str, listeners: Iterable[Listener]) -> Ourselves:
        return cls(hostname.lower(), tuple((ip_address(each.address), each.port) for each in listeners))

    def meets(self, target: Target, is_local: Callable[[str], bool]) -> bool:
        """Whether a connection to ``target`` ends at this host's loopback or at a listener of ours.

        ``is_local`` tells whether an address is one of this machine's; asked only for listeners on all addresses.
        """
        address = ip_address(target.address)
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if target.name == self.name or address.is_loopback or address.is_unspecified:
            return True
        for bound, port in self.listeners:
            if port == target.port and (bound == address or (bound.is_unspecified and is_local(target.address))):
                return True
        return False
