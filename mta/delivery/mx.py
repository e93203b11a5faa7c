"""Look up the route of a destination domain: which hosts take its mail, at which addresses (RFC 5321 5.1).

Answers are kept as long as their TTL says, within the configured bounds; so are failures. However many deliveries wait
for a domain, it is looked up once.

Invariants: a failed look-up is not an answer: only a clear NXDOMAIN that no other name server contradicts is permanent.
A host whose IPv6 addresses cannot be had is used with its IPv4 addresses, and the other way round; no timeout is waited
for. A caller that is cancelled does not disturb others that wait for the same answer.
Limitations: only the first MAX_NAMES hosts of a domain are looked up. When a cache is full its oldest entry goes, used
or not.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from config.schema import EgressSettings, Settings
from mta.delivery import route as routes
from mta.delivery.name_servers import DnsError, Missing, NameServers, Records, Unknown
from mta.delivery.route import MxHost, Ourselves, Route, StaticHost, StaticRoute, StaticRoutes, Target
from mta.mail.reply import Reply, ReplyKind
from mta.observe.labels import Lookup
from mta.observe.metrics import Metrics

CACHE_SIZE = 50_000  # names
MAX_NAMES = 20  # hosts of one domain whose addresses are looked up
LATE_SIX = 0.1  # seconds that IPv4 addresses wait for IPv6 ones (as in RFC 8305 3)
LATE_FOUR = 1.0  # the other way round: a host that has IPv4 is best not tried by IPv6 only

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CachedAnswer(Generic[V]):
    """An answer and the seconds for which it is kept."""

    value: V
    ttl: float


class Cache(Generic[V]):
    """``size``: entries kept. What ``find`` returns is kept, an answer or a failure; what it raises is not."""

    def __init__(self, size: int, find: Callable[[str], Awaitable[CachedAnswer[V]]]) -> None:
        self._size = size
        self._find = find
        self._known: dict[str, tuple[float, V]] = {}
        self._searches: dict[str, asyncio.Task[V]] = {}

    def peek(self, key: str) -> V | None:
        """Return the answer if it is known now."""
        known = self._known.get(key)
        return known[1] if known is not None and time.monotonic() < known[0] else None

    def left(self, key: str) -> float:
        """Return for how many seconds the answer is still known; 0 if it is not."""
        known = self._known.get(key)
        return max(0.0, known[0] - time.monotonic()) if known is not None else 0.0

    def forget(self, which: Callable[[V], bool]) -> None:
        """Drop answers that are to be found anew."""
        self._known = {key: (until, value) for key, (until, value) in self._known.items() if not which(value)}

    async def get(self, key: str) -> V:
        """Return the answer, known or found; many callers at once cause one search."""
        if (known := self.peek(key)) is not None:
            return known
        search = self._searches.get(key)
        if search is None:
            search = self._searches[key] = asyncio.create_task(self._search(key))
        return await asyncio.shield(search)

    async def _search(self, key: str) -> V:
        try:
            found = await self._find(key)
        finally:
            del self._searches[key]
        self._known.pop(key, None)  # so that it moves to the end
        if len(self._known) >= self._size:
            del self._known[next(iter(self._known))]
        self._known[key] = (time.monotonic() + found.ttl, found.value)
        return found.value


class Resolver:
    """Routes by destination domain (lower-case A-labels), and the look-ups of other parts."""

    def __init__(self, settings: Settings, metrics: Metrics | None = None) -> None:
        self._metrics = metrics or Metrics()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Take over new settings; everything is looked up again. Raises OSError, UnicodeError for a password file."""
        self._static_routes = StaticRoutes(settings.routes, settings.testing.receiver_port)
        self._settings = settings
        self._ourselves = Ourselves.of(settings.server.hostname, settings.submission.listeners)
        self._families = _families(settings.egress)
        self._servers = NameServers(settings.dns)
        self._routes: Cache[Route | Reply] = Cache(CACHE_SIZE, self._find)
        self._hosts: Cache[_Addresses] = Cache(CACHE_SIZE, self._find_addresses)

    def cached(self, domain: str) -> Route | Reply | None:
        """Return the route if it is known; None if it must be looked up. Never waits."""
        return self._routes.peek(domain)

    def known_for(self, domain: str) -> float:
        """Return for how many seconds the route will still be known; 0 if it must be looked up."""
        return self._routes.left(domain)

    def forget_failures(self) -> None:
        """Look up anew what could not be looked up."""
        self._routes.forget(lambda route: isinstance(route, Reply) and route.kind is ReplyKind.TRANSIENT)
        self._hosts.forget(lambda addresses: addresses.error is not None)

    async def route(self, domain: str) -> Route | Reply:
        """Return the route of ``domain``, or why it has none. Raises NotAsked only."""
        return await self._routes.get(domain)

    async def txt(self, name: str) -> list[str]:
        """Return the TXT records of ``name``, each as one text; none if there is no such name. Raises DnsError."""
        match await self._servers.ask(name, "TXT"):
            case Records() as found:
                return list(found.texts)
            case Missing():
                return []
            case Unknown(why):
                raise DnsError(f"look-up of {name} failed: {why}")

    async def addresses(self, name: str) -> tuple[list[str], float]:
        """Return the IPv4 addresses of ``name``, possibly none, and their TTL in seconds. Raises DnsError."""
        match await self._servers.ask(name, "A"):
            case Records() as found:
                return list(found.texts), found.ttl
            case Missing(ttl):
                return [], ttl
            case Unknown(why):
                raise DnsError(f"look-up of {name} failed: {why}")

    async def _find(self, domain: str) -> CachedAnswer[Route | Reply]:
        if static := self._static_routes.find(domain):
            return await self._by_static_route(domain, static)
        match await self._servers.ask(domain, "MX"):
            case Unknown(why):
                self._metrics.dns[Lookup.FAILED].inc()
                return CachedAnswer(routes.lookup_failed(domain, why), self._settings.dns.min_ttl)
            case Missing(ttl):
                self._metrics.dns[Lookup.NOT_FOUND].inc()
                return CachedAnswer(routes.no_such_domain(domain), ttl)
            case Records(data, ttl):
                self._metrics.dns[Lookup.OK].inc()
                return await self._by_exchanges(domain, [each for each in data if isinstance(each, MxHost)], ttl)

    async def _by_exchanges(self, domain: str, records: list[MxHost], ttl: float) -> CachedAnswer[Route | Reply]:
        """Return the route of a domain with these MX records."""
        exchanges = routes.mail_exchanges(domain, records)
        if not exchanges:
            return CachedAnswer(routes.null_mx(domain), ttl)
        asked = exchanges[:MAX_NAMES]
        answers = await asyncio.gather(*(self._host(exchange.host) for exchange in asked))
        share = max(2, self._settings.egress.max_hosts // len(asked))
        port, home = self._settings.testing.receiver_port, domain == self._settings.return_path.domain
        targets = [
            Target(exchange.host, address, port, exchange.preference, home)
            for exchange, answer in zip(asked, answers, strict=True)
            for address in routes.interleave(answer.six, answer.four, share)
        ]
        ttl = min(ttl, *(answer.ttl for answer in answers))
        error = next((answer.error for answer in answers if answer.error), None)
        hosts = tuple(targets)
        if not (home or self._settings.testing.loopback_receivers):
            hosts = routes.without_ourselves(targets, lambda target: self._ourselves.meets(target, _is_local))
        if hosts:
            site, shaping = routes.site_of(domain, exchanges, self._settings.shaping)
            return CachedAnswer(Route(site, shaping, hosts), ttl)
        if targets:
            return CachedAnswer(routes.loops_back(domain), ttl)
        if error:
            return CachedAnswer(routes.lookup_failed(domain, error), self._settings.dns.min_ttl)
        if not records:
            return CachedAnswer(routes.no_host(domain), ttl)
        missing = {exchange.host for exchange, answer in zip(asked, answers, strict=True) if answer.missing}
        return CachedAnswer(routes.no_address(domain, [exchange.host for exchange in asked], missing), ttl)

    async def _by_static_route(self, domain: str, static: StaticRoute) -> CachedAnswer[Route | Reply]:
        """Return the route by a static route. A host of the operator without an address is no reason to bounce."""
        answers = await asyncio.gather(*(self._static(host) for host in static.hosts))
        targets = [
            Target(host.name, address, host.port, n)
            for n, (host, answer) in enumerate(zip(static.hosts, answers, strict=True))
            for address in routes.interleave(answer.six, answer.four, max(2, self._settings.egress.max_hosts))
        ]
        if not targets:
            names = ", ".join(host.name for host in static.hosts)
            why = next((answer.error for answer in answers if answer.error), "no address")
            reply = Reply(451, "4.4.4", f"static route {names} has no address: {why}")
            return CachedAnswer(reply, self._settings.dns.min_ttl)
        exchanges = [MxHost(n, host.name) for n, host in enumerate(static.hosts)]
        site, shaping = routes.site_of(domain, exchanges, self._settings.shaping)
        site = site if shaping is not self._settings.shaping.default else static.site
        ttl = min(answer.ttl for answer in answers)
        return CachedAnswer(Route(site, shaping, tuple(targets), static.tls, static.login), ttl)

    async def _static(self, host: StaticHost) -> _Addresses:
        if host.is_address:
            return _Addresses((host.name,), (), self._settings.dns.max_ttl, None)
        return await self._hosts.get(host.name)

    async def _host(self, name: str) -> _Addresses:
        """Return the addresses of a mail host; none if it is itself an address, which nobody need be asked for."""
        if routes.is_address(name):
            return _Addresses((), (), self._settings.dns.max_ttl, None)
        return await self._hosts.get(name)

    async def _find_addresses(self, name: str) -> CachedAnswer[_Addresses]:
        """Return the addresses of a host, of the families that we can use."""
        six = asyncio.create_task(self._find_family(name, "AAAA", socket.AF_INET6))
        four = asyncio.create_task(self._find_family(name, "A", socket.AF_INET))
        done, late = await asyncio.wait((six, four), return_when=asyncio.FIRST_COMPLETED)
        if late:
            patience = LATE_SIX if four in done else LATE_FOUR
            found = any(each.result().addresses for each in done)
            _, late = await asyncio.wait(late, timeout=patience if found else None)
        for each in late:
            each.cancel()
        families = [_Family((), self._settings.dns.min_ttl) if each in late else each.result() for each in (six, four)]
        addresses = _Addresses(
            families[0].addresses,
            families[1].addresses,
            min(family.ttl for family in families),
            next((family.error for family in families if family.error), None),
            missing=any(family.missing for family in families),
        )
        return CachedAnswer(addresses, addresses.ttl)

    async def _find_family(self, name: str, kind: str, family: socket.AddressFamily) -> _Family:
        if family not in self._families:
            return _Family((), self._settings.dns.max_ttl)
        match await self._servers.ask(name, kind):
            case Records() as found:
                return _Family(found.texts, found.ttl)
            case Missing(ttl):
                return _Family((), ttl, missing=True)
            case Unknown(why):
                return _Family((), self._settings.dns.min_ttl, why)


@dataclass(frozen=True, slots=True)
class _Family:
    """A host's addresses of one family. ``error``: why there may be more than these. ``missing``: no such name."""

    addresses: tuple[str, ...]
    ttl: float
    error: str | None = None
    missing: bool = False


@dataclass(frozen=True, slots=True)
class _Addresses:
    """A host's addresses of both families."""

    six: tuple[str, ...]
    four: tuple[str, ...]
    ttl: float
    error: str | None
    missing: bool = False


def _families(egress: EgressSettings) -> frozenset[socket.AddressFamily]:
    """Return the families that we have a source address for."""
    families = {socket.AF_INET6, socket.AF_INET} if egress.ipv6 else {socket.AF_INET}
    if egress.sources:
        families &= {socket.AF_INET6 if ":" in source.address else socket.AF_INET for source in egress.sources}
    return frozenset(families)


def _is_local(address: str) -> bool:
    """Return whether the address is one of this machine's: only then can a socket be bound to it."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
