"""From a destination domain to a plan: who takes its mail, at which addresses (RFC 5321 5.1).

Look-ups go to the configured name servers, or the system's, in their order. Answers hold as long as their TTL says,
within the configured bounds; so do failures. However many deliveries wait for a domain, it is looked up once.

It must never take trouble for an answer: only a name server's clear NXDOMAIN, contradicted by nobody, is permanent.

*Limits.* The servers are believed: no DNSSEC validation of our own. Only the first MAX_NAMES hosts of a domain are
looked at.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

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
from mta.delivery import route as plans
from mta.delivery.cache import Cache, CachedAnswer
from mta.delivery.route import MxHost, Ourselves, Route, Target, TlsMode
from mta.delivery.static_routes import Routes, StaticHost, StaticRoute
from mta.mail.reply import Reply
from mta.observe.labels import Lookup
from mta.observe.metrics import Metrics

MAX_NAMES = 20  # hosts of one domain whose addresses are looked up
CONCURRENT = 200  # questions under way at once, each with its own socket
EDNS_SIZE = 1232  # octets, the size that is never fragmented (DNS Flag Day 2020)
_ROUNDS = 2  # times that silent servers are asked


class DnsTrouble(Exception):
    """No answer could be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Records:
    """What a name has of one type; possibly nothing."""

    data: tuple[Rdata, ...]
    ttl: float


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such name."""

    ttl: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """It could not be found out. ``silent``: nobody said anything; asking once more may help."""

    why: str
    silent: bool = False


Finding = Records | Missing | Unknown


class NameServers:
    """The name servers, asked in order; the next one only if one fails."""

    def __init__(self, settings: DnsSettings) -> None:
        self._settings = settings
        self._servers = [_server(text) for text in settings.servers] or _system_servers()
        self._slots = asyncio.Semaphore(CONCURRENT)

    async def ask(self, name: str, kind: str) -> Finding:
        """The records of type ``kind`` ("MX", "A", ...). Never raises."""
        try:
            question = dns.name.from_text(name), dns.rdatatype.from_text(kind)
        except dns.exception.DNSException:
            return Missing(self._settings.max_ttl)  # not a name at all
        async with self._slots:
            try:
                async with asyncio.timeout(self._settings.lifetime):
                    return await self._ask_all(*question)
            except TimeoutError:
                return Unknown(f"no name server answered within {self._settings.lifetime:g} s", silent=True)

    async def _ask_all(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Finding:
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

    async def _ask_one(self, server: tuple[str, int], name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Finding:
        """What one server says, over UDP or, if it does not fit, TCP. Octets that are no answer are waited over."""
        address, port = server
        query = dns.message.make_query(name, kind, use_edns=0, payload=EDNS_SIZE)
        try:
            response, _ = await dns.asyncquery.udp_with_fallback(
                query, address, self._settings.timeout, port, ignore_unexpected=True, ignore_errors=True
            )
            return self._read(response)
        except dns.exception.Timeout:
            return Unknown("no answer", silent=True)
        except (OSError, EOFError) as error:
            return Unknown(str(error) or "connection closed", silent=True)
        except dns.exception.DNSException as error:
            return Unknown(f"a broken answer ({type(error).__name__})")

    def _read(self, response: dns.message.Message) -> Finding:
        code = response.rcode()
        if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or not isinstance(response, dns.message.QueryMessage):
            return Unknown(dns.rcode.to_text(code))
        chain = response.resolve_chaining()
        ttl = min(max(chain.minimum_ttl, self._settings.min_ttl), self._settings.max_ttl)
        if code == dns.rcode.NXDOMAIN:
            return Missing(ttl)
        return Records(tuple(chain.answer or ()), ttl)


class Resolver:
    """Plans, by destination domain (lower-case A-labels)."""

    def __init__(self, settings: Settings, metrics: Metrics | None = None) -> None:
        self._metrics = metrics or Metrics()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Take over new settings; everything is looked up anew. Raises OSError, UnicodeError for a password file."""
        self._routes = Routes(settings.routes, settings.egress)
        self._settings = settings
        self._ourselves = Ourselves.of(settings.server.hostname, settings.submission.listeners)
        self._families = _families(settings.egress)
        self._servers = NameServers(settings.dns)
        self._plans: Cache[Route | Reply] = Cache(settings.dns.cache_size, self._find)
        self._hosts: Cache[_Addresses] = Cache(settings.dns.cache_size, self._find_addresses)

    def cached(self, domain: str) -> Route | Reply | None:
        """The plan if it is known; None if it must be looked up. Never waits."""
        plan = self._plans.peek(domain)
        if plan is not None:
            self._metrics.dns[Lookup.CACHED].inc()
        return plan

    async def plan(self, domain: str) -> Route | Reply:
        """Where mail for ``domain`` goes, or why it goes nowhere. Never raises."""
        return await self._plans.get(domain)

    async def txt(self, name: str) -> list[str]:
        """The TXT records of ``name``, each as one text; none if there is no such name. Raises DnsTrouble."""
        match await self._servers.ask(name, "TXT"):
            case Records(data):
                return [b"".join(each.strings).decode("utf-8", "replace") for each in data if isinstance(each, TXT)]
            case Missing():
                return []
            case Unknown(why):
                raise DnsTrouble(f"{name} cannot be looked up: {why}")

    async def addresses(self, name: str) -> tuple[list[str], float]:
        """The IPv4 addresses of ``name``, none if there are none, and their TTL in seconds. Raises DnsTrouble."""
        match await self._servers.ask(name, "A"):
            case Records(data, ttl):
                return [each.address for each in data if isinstance(each, A)], ttl
            case Missing(ttl):
                return [], ttl
            case Unknown(why):
                raise DnsTrouble(f"{name} cannot be looked up: {why}")

    async def _find(self, domain: str) -> CachedAnswer[Route | Reply]:
        if route := self._routes.find(domain):
            return await self._by_route(domain, route)
        match await self._servers.ask(domain, "MX"):
            case Unknown(why):
                self._metrics.dns[Lookup.FAILED].inc()
                return CachedAnswer(plans.dns_trouble(domain, why), self._settings.dns.min_ttl)
            case Missing(ttl):
                self._metrics.dns[Lookup.NOT_FOUND].inc()
                return CachedAnswer(plans.no_such_domain(domain), ttl)
            case Records(data, ttl):
                self._metrics.dns[Lookup.OK].inc()
                records = [MxHost(each.preference, _text(each.exchange)) for each in data if isinstance(each, MX)]
                return await self._by_exchanges(domain, records, ttl)

    async def _by_exchanges(self, domain: str, records: list[MxHost], ttl: float) -> CachedAnswer[Route | Reply]:
        """The plan for a domain with these MX records."""
        exchanges = plans.mail_exchanges(domain, records)
        if not exchanges:
            return CachedAnswer(plans.no_mail_taken(domain), ttl)
        asked = exchanges[:MAX_NAMES]
        answers = await asyncio.gather(*(self._hosts.get(exchange.host) for exchange in asked))
        share = max(2, self._settings.egress.max_hosts // len(asked))
        port, home = self._settings.testing.receiver_port, domain == self._settings.return_path.domain
        targets = [
            Target(exchange.host, address, port, exchange.preference, home)
            for exchange, answer in zip(asked, answers, strict=True)
            for address in plans.interleave(answer.six, answer.four, share)
        ]
        ttl = min(ttl, *(answer.ttl for answer in answers))
        trouble = next((answer.trouble for answer in answers if answer.trouble), None)
        hosts = tuple(targets)
        if not (home or self._settings.testing.loopback_receivers):
            hosts = plans.without_ourselves(targets, lambda target: self._ourselves.meets(target, _is_local))
        if hosts:
            site, shaping = plans.lane_site(domain, exchanges, self._settings.shaping)
            return CachedAnswer(Route(site, shaping, hosts, TlsMode(self._settings.egress.tls)), ttl)
        if targets:
            return CachedAnswer(plans.loops_back(domain), ttl)
        if trouble:
            return CachedAnswer(plans.dns_trouble(domain, trouble), self._settings.dns.min_ttl)
        return CachedAnswer(plans.no_address(domain) if records else plans.no_host(domain), ttl)

    async def _by_route(self, domain: str, route: StaticRoute) -> CachedAnswer[Route | Reply]:
        """The plan for a static route. The operator's own host without an address is no reason to bounce."""
        answers = await asyncio.gather(*(self._static(host) for host in route.hosts))
        targets = [
            Target(host.name, address, host.port, n)
            for n, (host, answer) in enumerate(zip(route.hosts, answers, strict=True))
            for address in plans.interleave(answer.six, answer.four, max(2, self._settings.egress.max_hosts))
        ]
        if not targets:
            names = ", ".join(host.name for host in route.hosts)
            why = next((answer.trouble for answer in answers if answer.trouble), "no address")
            return CachedAnswer(
                Reply(451, "4.4.4", f"the static route {names} has no address: {why}"), self._settings.dns.min_ttl
            )
        exchanges = [MxHost(n, host.name) for n, host in enumerate(route.hosts)]
        site, shaping = plans.lane_site(domain, exchanges, self._settings.shaping)
        site = site if shaping is not self._settings.shaping.default else route.site
        ttl = min(answer.ttl for answer in answers)
        return CachedAnswer(Route(site, shaping, tuple(targets), route.tls, route.login), ttl)

    async def _static(self, host: StaticHost) -> _Addresses:
        if host.is_address:
            return _Addresses((host.name,), (), self._settings.dns.max_ttl, None)
        return await self._hosts.get(host.name)

    async def _find_addresses(self, name: str) -> CachedAnswer[_Addresses]:
        """The addresses of a host, of the families that we can use."""
        six, four = await asyncio.gather(
            self._find_family(name, "AAAA", socket.AF_INET6), self._find_family(name, "A", socket.AF_INET)
        )
        found = _Addresses(six.addresses, four.addresses, min(six.ttl, four.ttl), six.trouble or four.trouble)
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
    """A host's addresses of one family. ``trouble``: why there may be more than these."""

    addresses: tuple[str, ...]
    ttl: float
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class _Addresses:
    """A host's addresses of both families."""

    six: tuple[str, ...]
    four: tuple[str, ...]
    ttl: float
    trouble: str | None


def _families(egress: EgressSettings) -> frozenset[socket.AddressFamily]:
    """Those that we have a source address for."""
    families = {socket.AF_INET6, socket.AF_INET} if egress.ipv6 else {socket.AF_INET}
    if egress.sources:
        families &= {socket.AF_INET6 if ":" in source else socket.AF_INET for source in egress.sources}
    return frozenset(families)


def _is_local(address: str) -> bool:
    """Whether the address is one of this machine's: only then can a socket be bound to it."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _server(text: str) -> tuple[str, int]:
    """``address``, ``address:port`` or ``[address]:port``, checked when the configuration was read."""
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
