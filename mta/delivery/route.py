"""Where a destination's mail goes: to which hosts in which order, how, and to which site it belongs.

Two domains with the same best mail exchangers, or at the same provider, share a ``site``: its limits, its health and
its connections. A static route comes before everything that DNS may say. ``mta.delivery.mx`` looks up what is decided
on here.

Limitations: sites are told apart by host names: one host under two names is two sites, unless a provider claims both.
Of two static routes for the same domain the first one counts, silently.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import field
from ipaddress import IPv6Address, ip_address
from itertools import groupby, zip_longest

from config.schema import DeniedHost, Listener, PathLimits, RouteSettings, Settings, Shaping, ShapingSettings
from mta.delivery.tls.demand import ClientCertificate, DomainTls, HostDemand, TlsPolicy, Unfit, judge, judge_static
from mta.mail.message import IPAddress, SenderTls
from mta.mail.reply import Reply
from mta.mail.values import dataclass

SMTP_PORT = 25
SMTPS_PORT = 465  # RFC 8314 7.3, for smart hosts with implicit TLS
MAX_PROVIDER = 120  # characters


@dataclass(frozen=True, slots=True)
class SmartHostLogin:
    """For AUTH at a smart host."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one host. ``preference`` as in the MX record: lower ones come first (RFC 5321 5.1). ``home``: our
    own listener for reports, where mail ends and does not loop."""

    name: str
    address: str
    port: int
    preference: int = 0
    home: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """``hosts``: at least one, best preference first; those of equal preference in no particular order. ``tls``: of a
    static route; None: as the path's limits say. ``published``: what the domain demands; None for a static route."""

    site: str
    shaping: Shaping
    hosts: tuple[Target, ...]
    tls: TlsPolicy | None = None
    login: SmartHostLogin | None = None
    certificate: ClientCertificate | None = None
    published: DomainTls | None = None

    @property
    def provider(self) -> str:
        """The site as deliveries to it are counted: its first MAX_PROVIDER characters."""
        return self.site[:MAX_PROVIDER]

    def demand(self, target: Target, limits: PathLimits, wish: SenderTls) -> HostDemand | Unfit:
        """Return what TLS a host must show for mail with this wish. ``limits``: of the path."""
        ours = self.tls or TlsPolicy(limits.tls)
        if self.published is None:
            return judge_static(target.name, ours, wish)
        return judge(target.name, self.published, ours, wish)

    def tries(self) -> Sequence[Target]:
        """Return the hosts in the order of one attempt: by preference, equal ones at random, each host's addresses
        together."""
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


# --- why there is no route


def no_such_domain(domain: str) -> Reply:
    return Reply(550, "5.1.2", f"domain {domain} does not exist")


def null_mx(domain: str) -> Reply:
    """RFC 7505 4.2."""
    return Reply(556, "5.1.10", f"domain {domain} does not accept mail (null MX)")


def no_host(domain: str) -> Reply:
    return Reply(550, "5.1.2", f"domain {domain} has neither MX nor address records")


def no_address(domain: str, hosts: Sequence[str], missing: Collection[str]) -> Reply:
    """None of the MX records leads to an address. ``missing``: those of its hosts that do not exist."""
    if all(is_address(host) for host in hosts):
        return Reply(550, "5.4.4", f"the MX of {domain} is {hosts[0]}, an address instead of a host name")
    host = next(host for host in hosts if not is_address(host))
    if host not in missing:
        why = f"{host} has none"
    elif "." in host.removesuffix(domain).rstrip(".") and host.endswith("." + domain):
        why = f"{host} does not exist: a dot missing in the zone?"
    else:
        why = f"{host} does not exist"
    return Reply(550, "5.4.4", f"no mail host of {domain} has an address: {why}")


def loops_back(domain: str) -> Reply:
    return Reply(554, "5.4.6", f"mail for {domain} loops back to this host")


def lookup_failed(domain: str, why: str) -> Reply:
    return Reply(451, "4.4.3", f"DNS lookup of the mail hosts of {domain} failed: {why}")


# --- from MX records to a route


def mail_exchanges(domain: str, records: Iterable[MxHost]) -> list[MxHost]:
    """Return the hosts to try, best first: the MX records; the domain itself if it has none (RFC 5321 5.1); no host if
    it has the null MX."""
    found = sorted(records, key=lambda exchange: exchange.preference)
    if not found:
        return [MxHost(0, domain)]
    return [exchange for exchange in found if exchange.host]


def is_address(host: str) -> bool:
    """Return whether this is an address where a host name is wanted (RFC 5321 5.1)."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


class ProviderIndex:
    """The providers by their domains and MX suffixes."""

    def __init__(self, shaping: ShapingSettings) -> None:
        self.shaping = shaping
        self._domains: dict[str, int] = {}
        self._suffixes: dict[str, set[int]] = {}
        for n, provider in enumerate(shaping.providers):
            for domain in provider.domains:
                self._domains.setdefault(domain, n)
            for suffix in provider.mx:
                self._suffixes.setdefault(suffix.lstrip("."), set()).add(n)

    def find(self, domain: str, hosts: Sequence[str]) -> Shaping | None:
        """Return the first provider that claims the domain, or all of its hosts."""
        claimed = set.intersection(*map(self._of_host, hosts)) if hosts else set[int]()
        if domain in self._domains:
            claimed.add(self._domains[domain])
        return self.shaping.providers[min(claimed)] if claimed else None

    def _of_host(self, host: str) -> set[int]:
        found = set(self._suffixes.get(host, ()))
        while "." in host:
            host = host.partition(".")[2]
            found |= self._suffixes.get(host, set())
        return found


def site_of(domain: str, exchanges: Sequence[MxHost], providers: ProviderIndex) -> tuple[str, Shaping]:
    """Return the site that ``domain`` belongs to, and the limits for it."""
    best = sorted({exchange.host for exchange in exchanges if exchange.preference == exchanges[0].preference})
    if (provider := providers.find(domain, best)) is not None:
        return provider.name, provider
    return ",".join(best), providers.shaping.default


def interleave(six: Sequence[str], four: Sequence[str], at_most: int) -> list[str]:
    """Return a host's addresses, IPv6 and IPv4 by turns, so that a dead IPv6 costs one try only (as in RFC 8305)."""
    pairs = zip_longest(random.sample(six, len(six)), random.sample(four, len(four)))
    return [address for pair in pairs for address in pair if address is not None][:at_most]


def without_ourselves(targets: Sequence[Target], is_ourselves: Callable[[Target], bool]) -> tuple[Target, ...]:
    """Return the targets better than this host: at its own preference and after it mail would loop (RFC 5321 5.1)."""
    kept: list[Target] = []
    for _, group in groupby(targets, key=lambda target: target.preference):
        equals = list(group)
        if any(is_ourselves(target) for target in equals):
            break
        kept += equals
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Ourselves:
    """This host's name, and where its listeners are."""

    name: str
    listeners: tuple[tuple[IPAddress, int], ...]

    @classmethod
    def of(cls, hostname: str, listeners: Iterable[Listener]) -> Ourselves:
        return cls(hostname.lower(), tuple((ip_address(each.address), each.port) for each in listeners))

    def meets(self, target: Target, is_local: Callable[[str], bool]) -> bool:
        """Return whether a connection to ``target`` ends at this host's loopback or at one of its listeners.

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


# --- the deny list


class DeniedHosts:
    """Mail hosts that nothing is sent to."""

    def __init__(self, settings: Iterable[DeniedHost]) -> None:
        self._entries = [(each, Reply(each.code, each.status, each.text)) for each in settings]

    def find(self, name: str, address: str) -> Reply | None:
        """Return what mail for this host gets to hear; None if the host is not on the list."""
        for entry, reply in self._entries:
            if entry.host is not None and _is_or_below(name, entry.host):
                return reply
            if entry.network is not None and ip_address(address) in entry.network:
                return reply
        return None


def _is_or_below(name: str, pattern: str) -> bool:
    """``pattern``: a name, or ``.name`` for all below it."""
    return name.endswith(pattern) if pattern.startswith(".") else name == pattern


class DomainSet:
    """Domains of the settings; ``.example.com`` for all below it."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = frozenset(pattern.lower() for pattern in patterns)

    def __contains__(self, domain: str) -> bool:
        return bool(self._patterns) and any(key in self._patterns for key in _keys(domain))


# --- static routes


@dataclass(frozen=True, slots=True)
class StaticHost:
    """A host of a static route: a name to be looked up, or an address."""

    name: str
    port: int
    is_address: bool


def static_host(text: str, default_port: int) -> StaticHost:
    """Read ``name``, ``name:port`` or ``[address]:port``, checked when the configuration was read."""
    if text.startswith("["):
        name, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    if is_address(name):
        return StaticHost(name, int(port or default_port), is_address=True)
    return StaticHost(name.lower().rstrip("."), int(port or default_port), is_address=False)


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A route of the configuration."""

    hosts: tuple[StaticHost, ...]
    tls: TlsPolicy | None
    login: SmartHostLogin | None
    certificate: ClientCertificate | None

    @classmethod
    def of(cls, route: RouteSettings, port: int) -> StaticRoute:
        """``port``: of hosts that name none. Reads the password file; raises OSError, UnicodeError."""
        tls = TlsPolicy(route.tls) if route.tls else None
        port = SMTPS_PORT if tls is TlsPolicy.IMPLICIT else port
        login = None
        if route.username is not None and route.password_file is not None:
            login = SmartHostLogin(route.username, route.password_file.read_text("utf-8").rstrip("\r\n"))
        certificate = ClientCertificate.of(route.certificate, route.key)
        return cls(tuple(static_host(text, port) for text in route.hosts), tls, login, certificate)

    @property
    def site(self) -> str:
        return ",".join(f"{host.name}:{host.port}" for host in self.hosts)


class StaticRoutes:
    """Static routes by domain; the most specific one counts."""

    def __init__(self, routes: Iterable[RouteSettings], port: int = SMTP_PORT) -> None:
        self._routes: dict[str, StaticRoute] = {}
        for route in routes:
            ready = StaticRoute.of(route, port)
            for domain in route.domains:
                self._routes.setdefault(domain.lower(), ready)

    @classmethod
    def of(cls, settings: Settings) -> StaticRoutes:
        """Raises OSError, UnicodeError for a password file."""
        return cls(settings.routes, settings.testing.receiver_port)

    def find(self, domain: str) -> StaticRoute | None:
        if not self._routes:
            return None
        return next((self._routes[key] for key in _keys(domain) if key in self._routes), None)


def _keys(domain: str) -> Iterator[str]:
    yield domain
    parent = domain
    while "." in parent:
        parent = parent.partition(".")[2]
        yield "." + parent
    yield "*"
