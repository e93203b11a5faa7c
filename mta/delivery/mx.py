"""Look up the route of a destination domain: which hosts take its mail, at which addresses (RFC 5321 5.1).

Look-ups go to the configured name servers, or the system's, in their order. Answers are kept as long as their TTL says,
within the configured bounds; so are failures. However many deliveries wait for a domain, it is looked up once.

Invariants: a failed look-up is not an answer: only a clear NXDOMAIN that no other name server contradicts is permanent.
A caller that is cancelled does not disturb others that wait for the same answer.
Limitations: the name servers are trusted: there is no DNSSEC validation here. Only the first MAX_NAMES hosts of a
domain are looked up. When a cache is full its oldest entry goes, used or not.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
from dns.rdata import Rdata
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from config.schema import DnsSettings, EgressSettings, Settings
from mta.delivery import route as routes
from mta.delivery.route import MxHost, Ourselves, Route, StaticHost, StaticRoute, StaticRoutes, Target
from mta.delivery.tls import TlsPolicy
from mta.mail.reply import Reply
from mta.observe.labels import Lookup
from mta.observe.metrics import Metrics

CACHE_SIZE = 50_000  # names
MAX_NAMES = 20  # hosts of one domain whose addresses are looked up
CONCURRENT = 200  # questions under way at once, each with its own socket
EDNS_SIZE = 1232  # octets, the size that is never fragmented (DNS Flag Day 2020)
_ROUNDS = 2  # times that silent servers are asked

V = TypeVar("V")


class DnsError(Exception):
    """There was no answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one type that a name has; possibly none."""

    data: tuple[Rdata, ...]
    ttl: float


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such name."""

    ttl: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """The look-up failed. ``silent``: no server answered; asking once more may help."""

    why: str
    silent: bool = False


DnsAnswer = Records | Missing | Unknown


class NameServers:
    """The name servers, asked in order; the next one only if one fails."""

    def __init__(self, settings: DnsSettings) -> None:
        self._settings = settings
        self._servers = [_server(text) for text in settings.servers] or _system_servers()
        self._slots = asyncio.Semaphore(CONCURRENT)

    async def ask(self, name: str, kind: str) -> DnsAnswer:
        """Return the records of type ``kind`` ("MX", "A", ...). Never raises."""
        try:
            question = dns.name.from_text(name), dns.rdatatype.from_text(kind)
        except dns.exception.DNSException:
            return Missing(self._settings.max_ttl)  # not a name at all
        async with self._slots:
            try:
                async with asyncio.timeout(self._settings.timeout):
                    return await self._ask_all(*question)
            except TimeoutError:
                return Unknown(f"no name server answered within {self._settings.timeout:g} s", silent=True)

    async def _ask_all(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> DnsAnswer:
        reasons: dict[str, None] = {}
        doubtful = False  # a server said SERVFAIL: another's "there is nothing" is not to be trusted
        silent = list(self._servers)
        for _ in range(_ROUNDS):
            asked, silent = silent, []
            for server in asked:
                found = await self._ask_one(server, name, kind)
                if not isinstance(found, Unknown):
                    nothing = isinstance(found, Missing) or not found.data
                    return Unknown("the name servers contradict each other") if doubtful and nothing else found
                reasons[f"{server[0]}: {found.why}"] = None
                doubtful = doubtful or found.why == "SERVFAIL"
                if found.silent:
                    silent.append(server)
        return Unknown(", ".join(reasons))

    async def _ask_one(self, server: tuple[str, int], name: dns.name.Name, kind: dns.rdatatype.RdataType) -> DnsAnswer:
        """Return what one server says, over UDP or, if it does not fit, TCP. Invalid answers are ignored."""
        address, port = server
        query = dns.message.make_query(name, kind, use_edns=0, payload=EDNS_SIZE)
        try:
            response, _ = await dns.asyncquery.udp_with_fallback(
                query, address, self._settings.timeout / 3, port, ignore_unexpected=True, ignore_errors=True
            )
            return self._read(response)
        except dns.exception.Timeout:
            return Unknown("no answer", silent=True)
        except (OSError, EOFError) as error:
            return Unknown(str(error) or "connection closed", silent=True)
        except dns.exception.DNSException as error:
            return Unknown(f"invalid answer ({type(error).__name__})")

    def _read(self, response: dns.message.Message) -> DnsAnswer:
        code = response.rcode()
        if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or not isinstance(response, dns.message.QueryMessage):
            return Unknown(dns.rcode.to_text(code))
        chain = response.resolve_chaining()
        ttl = min(max(chain.minimum_ttl, self._settings.min_ttl), self._settings.max_ttl)
        if code == dns.rcode.NXDOMAIN:
            return Missing(ttl)
        return Records(tuple(chain.answer or ()), ttl)


@dataclass(frozen=True, slots=True)
class CachedAnswer(Generic[V]):
    """An answer and the seconds for which it is kept."""

    value: V
    ttl: float


class Cache(Generic[V]):
    """``size``: entries kept. ``find`` must not raise; what it returns is kept, an answer or a failure."""

    def __init__(self, size: int, find: Callable[[str], Awaitable[CachedAnswer[V]]]) -> None:
        self._size = size
        self._find = find
        self._known: dict[str, tuple[float, V]] = {}
        self._searches: dict[str, asyncio.Task[V]] = {}

    def peek(self, key: str) -> V | None:
        """Return the answer if it is known now."""
        known = self._known.get(key)
        return known[1] if known is not None and time.monotonic() < known[0] else None

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
        self._static_routes = StaticRoutes(settings.routes, settings.egress, settings.testing.receiver_port)
        self._settings = settings
        self._ourselves = Ourselves.of(settings.server.hostname, settings.submission.listeners)
        self._families = _families(settings.egress)
        self._servers = NameServers(settings.dns)
        self._routes: Cache[Route | Reply] = Cache(CACHE_SIZE, self._find)
        self._hosts: Cache[_Addresses] = Cache(CACHE_SIZE, self._find_addresses)

    def cached(self, domain: str) -> Route | Reply | None:
        """Return the route if it is known; None if it must be looked up. Never waits."""
        route = self._routes.peek(domain)
        if route is not None:
            self._metrics.dns[Lookup.CACHED].inc()
        return route

    async def route(self, domain: str) -> Route | Reply:
        """Return the route of ``domain``, or why it has none. Never raises."""
        return await self._routes.get(domain)

    async def txt(self, name: str) -> list[str]:
        """Return the TXT records of ``name``, each as one text; none if there is no such name. Raises DnsError."""
        match await self._servers.ask(name, "TXT"):
            case Records(data):
                return [b"".join(each.strings).decode("utf-8", "replace") for each in data if isinstance(each, TXT)]
            case Missing():
                return []
            case Unknown(why):
                raise DnsError(f"look-up of {name} failed: {why}")

    async def addresses(self, name: str) -> tuple[list[str], float]:
        """Return the IPv4 addresses of ``name``, possibly none, and their TTL in seconds. Raises DnsError."""
        match await self._servers.ask(name, "A"):
            case Records(data, ttl):
                return [each.address for each in data if isinstance(each, A)], ttl
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
                records = [MxHost(each.preference, _text(each.exchange)) for each in data if isinstance(each, MX)]
                return await self._by_exchanges(domain, records, ttl)

    async def _by_exchanges(self, domain: str, records: list[MxHost], ttl: float) -> CachedAnswer[Route | Reply]:
        """Return the route of a domain with these MX records."""
        exchanges = routes.mail_exchanges(domain, records)
        if not exchanges:
            return CachedAnswer(routes.null_mx(domain), ttl)
        asked = exchanges[:MAX_NAMES]
        answers = await asyncio.gather(*(self._hosts.get(exchange.host) for exchange in asked))
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
            return CachedAnswer(Route(site, shaping, hosts, TlsPolicy(self._settings.egress.tls)), ttl)
        if targets:
            return CachedAnswer(routes.loops_back(domain), ttl)
        if error:
            return CachedAnswer(routes.lookup_failed(domain, error), self._settings.dns.min_ttl)
        return CachedAnswer(routes.no_address(domain) if records else routes.no_host(domain), ttl)

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

    async def _find_addresses(self, name: str) -> CachedAnswer[_Addresses]:
        """Return the addresses of a host, of the families that we can use."""
        six, four = await asyncio.gather(
            self._find_family(name, "AAAA", socket.AF_INET6), self._find_family(name, "A", socket.AF_INET)
        )
        found = _Addresses(six.addresses, four.addresses, min(six.ttl, four.ttl), six.error or four.error)
        return CachedAnswer(found, found.ttl)

    async def _find_family(self, name: str, kind: str, family: socket.AddressFamily) -> _Family:
        if family not in self._families:
            return _Family((), self._settings.dns.max_ttl)
        match await self._servers.ask(name, kind):
            case Records(data, ttl):
                return _Family(tuple(each.address for each in data if isinstance(each, A | AAAA)), ttl)
            case Missing(ttl):
                return _Family((), ttl)
            case Unknown(why):
                return _Family((), self._settings.dns.min_ttl, why)


@dataclass(frozen=True, slots=True)
class _Family:
    """A host's addresses of one family. ``error``: why there may be more than these."""

    addresses: tuple[str, ...]
    ttl: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Addresses:
    """A host's addresses of both families."""

    six: tuple[str, ...]
    four: tuple[str, ...]
    ttl: float
    error: str | None


def _families(egress: EgressSettings) -> frozenset[socket.AddressFamily]:
    """Return the families that we have a source address for."""
    families = {socket.AF_INET6, socket.AF_INET} if egress.ipv6 else {socket.AF_INET}
    if egress.sources:
        families &= {socket.AF_INET6 if ":" in source else socket.AF_INET for source in egress.sources}
    return frozenset(families)


def _is_local(address: str) -> bool:
    """Return whether the address is one of this machine's: only then can a socket be bound to it."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _server(text: str) -> tuple[str, int]:
    """Read ``address``, ``address:port`` or ``[address]:port``, checked when the configuration was read."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        return address, int(port.removeprefix(":") or 53)
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, int(port)
    return text, 53


def _system_servers() -> list[tuple[str, int]]:
    try:
        system = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        return [("127.0.0.1", 53)]  # as resolv.conf(5) says
    return [(str(server), 53) for server in system.nameservers]
