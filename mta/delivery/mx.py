"""Look up the route of a destination domain: which hosts take its mail, at which addresses (RFC 5321 5.1).

Answers are kept as long as their TTL says, within the configured bounds; so are failures. However many deliveries wait
for a domain, it is looked up once.

Invariants: a failed look-up is not an answer: only a clear NXDOMAIN that no other name server contradicts is permanent.
A host whose IPv6 addresses cannot be had is used with its IPv4 addresses, and the other way round; no timeout is waited
for. A caller that is cancelled does not disturb others that wait for the same answer.
With the route comes what the domain demands of TLS: its MTA-STS policy, and the TLSA records of its hosts.
Limitations: only the first MAX_NAMES hosts of a domain are looked up.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from config.schema import EgressSettings, Settings
from mta.delivery import route as routes
from mta.delivery.egress.local_address import bind_fault
from mta.delivery.lookup_cache import Cache, CachedAnswer
from mta.delivery.name_servers import DnsError, Missing, NameServers, Records, Unknown
from mta.delivery.route import (
    DeniedHosts,
    DomainSet,
    MxHost,
    Ourselves,
    ProviderIndex,
    Route,
    StaticHost,
    StaticRoute,
    StaticRoutes,
    Target,
)
from mta.delivery.tls.dane import Tlsa
from mta.delivery.tls.demand import DomainTls, HostTlsa
from mta.delivery.tls.mta_sts import StsPolicy
from mta.delivery.tls.session_counts import SessionCounts
from mta.delivery.tls.sts_policies import FETCH_TIMEOUT, StsPolicies
from mta.http_client import HttpClient
from mta.mail.reply import Reply, ReplyKind
from mta.observe.labels import Lookup
from mta.observe.metrics import Metrics
from mta.store.postgres.errors import StoreUnavailable
from mta.store.queue.sts_policies import StsPolicyStore

CACHE_SIZE = 50_000  # names
MAX_NAMES = 20  # hosts of one domain whose addresses are looked up
LATE_SIX = 0.1  # seconds that IPv4 addresses wait for IPv6 ones (as in RFC 8305 3)
LATE_FOUR = 1.0  # the other way round: a host that has IPv4 is best not tried by IPv6 only
_KINDS = {socket.AF_INET6: "AAAA", socket.AF_INET: "A"}


class Resolver:
    """Routes by destination domain (lower-case A-labels), and the look-ups of other parts."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics | None = None,
        *,
        routes: StaticRoutes | None = None,
        sts_store: StsPolicyStore | None = None,
        counts: SessionCounts | None = None,
    ) -> None:
        """``routes``: as in ``configure``. ``sts_store``: where MTA-STS policies are kept; without it none are looked
        up. ``counts``: of fetches."""
        self._metrics = metrics or Metrics()
        self._sts_store, self._counts = sts_store, counts
        self._http: HttpClient | None = None
        self.configure(settings, routes)

    def configure(self, settings: Settings, routes: StaticRoutes | None = None) -> None:
        """Take over new settings; everything is looked up again. ``routes``: the static ones; None: to be read, which
        raises OSError, UnicodeError for a password file."""
        self._static_routes = StaticRoutes.of(settings) if routes is None else routes
        self._settings = settings
        self._ourselves = Ourselves.of(settings.server.hostname, settings.submission.listeners)
        self._families = _families(settings.egress)
        self._servers = NameServers(settings.dns)
        self._routes: Cache[Route | Reply] = Cache(CACHE_SIZE, self._find)
        self._hosts: Cache[_Addresses] = Cache(CACHE_SIZE, self._find_addresses)
        self._tlsa: Cache[HostTlsa | None] = Cache(CACHE_SIZE, self._find_tlsa)
        self._denied = DeniedHosts(settings.egress.denied_hosts)
        self._exceptions = DomainSet(settings.egress.tls_policy_exceptions)
        self._providers = ProviderIndex(settings.shaping)
        self.sts_policies = self._sts_policies(settings)

    def _sts_policies(self, settings: Settings) -> StsPolicies | None:
        """Return the MTA-STS policies of domains; None if they are not followed."""
        if self._sts_store is None or not settings.egress.mta_sts:
            return None
        port = settings.testing.policy_port
        return StsPolicies(self._sts_store, self._policy_client, self.txt, self._metrics, self._counts, port)

    async def close(self) -> None:
        if self._http:
            await self._http.close()

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
        self._tlsa.forget(lambda tlsa: tlsa is not None and tlsa.error is not None)

    async def route(self, domain: str) -> Route | Reply:
        """Return the route of ``domain``, or why it has none. Raises NotAsked only."""
        return await self._routes.get(domain)

    async def txt(self, name: str) -> list[str]:
        """Return the TXT records of ``name``, each as one text; none if there is no such name. Raises DnsError."""
        return await self.records(name, "TXT")

    async def records(self, name: str, kind: str) -> list[str]:
        """Return the records of a type as texts, the hosts for "MX"; none if there is no such name. Raises DnsError."""
        match await self._servers.ask(name, kind):
            case Records(data):
                return [each.host if isinstance(each, MxHost) else each for each in data if not isinstance(each, Tlsa)]
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

    def _policy_client(self) -> HttpClient:
        self._http = self._http or self.http_client(FETCH_TIMEOUT)
        return self._http

    def http_client(self, timeout: float) -> HttpClient:
        """Return a client that finds hosts by our name servers; the caller closes it."""
        private = self._settings.testing.loopback_receivers
        return HttpClient(timeout=timeout, allow_private=private, keep_alive=False, resolve=self._all_addresses)

    async def _all_addresses(self, name: str) -> list[str]:
        """Return the addresses of ``name``. Raises OSError, NotAsked."""
        found = await self._hosts.get(name)
        if not (found.six or found.four):
            raise OSError(found.error or f"{name} has no address")
        return [*found.six, *found.four]

    async def _find(self, domain: str) -> CachedAnswer[Route | Reply]:
        if static := self._static_routes.find(domain):
            return await self._by_static_route(domain, static)
        try:
            answer, sts = await asyncio.gather(self._servers.ask(domain, "MX"), self._find_sts(domain))
        except StoreUnavailable:
            why = "it is not known whether it has an MTA-STS policy"
            return CachedAnswer(routes.lookup_failed(domain, why), self._settings.dns.min_ttl)
        match answer:
            case Unknown(why):
                self._metrics.dns[Lookup.FAILED].inc()
                return CachedAnswer(routes.lookup_failed(domain, why), self._settings.dns.min_ttl)
            case Missing(ttl):
                self._metrics.dns[Lookup.NOT_FOUND].inc()
                return CachedAnswer(routes.no_such_domain(domain), ttl)
            case Records(data, ttl, secure):
                self._metrics.dns[Lookup.OK].inc()
                published = DomainTls(domain, sts, mx_secure=secure)
                records = [each for each in data if isinstance(each, MxHost)]
                return await self._by_exchanges(domain, records, ttl, published)

    async def _find_sts(self, domain: str) -> StsPolicy | None:
        """Return the MTA-STS policy of a domain, if there is one and it is followed. Raises StoreUnavailable."""
        if self.sts_policies is None or domain in self._exceptions or domain == self._settings.return_path.domain:
            return None
        return (await self.sts_policies.find(domain)).policy

    async def _by_exchanges(
        self, domain: str, records: list[MxHost], ttl: float, published: DomainTls
    ) -> CachedAnswer[Route | Reply]:
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
        denials = [self._denied.find(target.name, target.address) for target in targets]
        hosts = tuple(target for target, denial in zip(targets, denials, strict=True) if denial is None)
        if not (home or self._settings.testing.loopback_receivers):
            hosts = routes.without_ourselves(hosts, lambda target: self._ourselves.meets(target, _is_local))
        if hosts:
            site, shaping = routes.site_of(domain, exchanges, self._providers)
            tlsa, ttl = await self._tlsa_of(hosts, published, ttl)
            return CachedAnswer(Route(site, shaping, hosts, published=replace(published, tlsa=tlsa)), ttl)
        if denial := next((denial for denial in denials if denial), None):
            return CachedAnswer(denial, ttl)
        if targets:
            return CachedAnswer(routes.loops_back(domain), ttl)
        if error:
            return CachedAnswer(routes.lookup_failed(domain, error), self._settings.dns.min_ttl)
        if not records:
            return CachedAnswer(routes.no_host(domain), ttl)
        missing = {exchange.host for exchange, answer in zip(asked, answers, strict=True) if answer.missing}
        return CachedAnswer(routes.no_address(domain, [exchange.host for exchange in asked], missing), ttl)

    # --- DANE

    async def _tlsa_of(
        self, hosts: Sequence[Target], published: DomainTls, ttl: float
    ) -> tuple[Mapping[str, HostTlsa], float]:
        """Return the TLSA records of these hosts, by name, and for how many seconds all of this holds."""
        usable = self._settings.egress.dane and published.mx_secure and published.domain not in self._exceptions
        if not usable:
            return {}, ttl
        names = list(dict.fromkeys(host.name for host in hosts))
        found = await asyncio.gather(*(self._tlsa.get(name) for name in names))
        ttl = min(ttl, *(self._tlsa.left(name) or ttl for name in names))
        return {name: tlsa for name, tlsa in zip(names, found, strict=True) if tlsa is not None}, ttl

    async def _find_tlsa(self, host: str) -> CachedAnswer[HostTlsa | None]:
        """Return the TLSA records of a host with secure addresses; at the end of its aliases first (RFC 7672 2.2.3)."""
        addresses = await self._hosts.get(host)
        ttl = addresses.ttl
        if not addresses.secure:
            return CachedAnswer(None, ttl)
        for base in dict.fromkeys((addresses.owner, host)):
            name = f"_{self._settings.testing.receiver_port}._tcp.{base}"
            match await self._servers.ask(name, "TLSA"):
                case Unknown(why):
                    error = f"look-up of the TLSA records at {name} failed: {why}"
                    return CachedAnswer(HostTlsa(base, error=error), self._settings.dns.min_ttl)
                case Records(data, its_ttl, secure=True) if data:
                    records = tuple(each for each in data if isinstance(each, Tlsa))
                    return CachedAnswer(HostTlsa(base, records), min(ttl, its_ttl))
                case Records(_, its_ttl) | Missing(its_ttl):
                    ttl = min(ttl, its_ttl)
        return CachedAnswer(None, ttl)

    # --- static routes, addresses

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
        site, shaping = routes.site_of(domain, exchanges, self._providers)
        site = site if shaping is not self._settings.shaping.default else static.site
        ttl = min(answer.ttl for answer in answers)
        return CachedAnswer(Route(site, shaping, tuple(targets), static.tls, static.login, static.certificate), ttl)

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
        families = await self._find_families(name)
        addresses = _Addresses(
            families[0].addresses,
            families[1].addresses,
            min(family.ttl for family in families),
            next((family.error for family in families if family.error), None),
            missing=any(family.missing for family in families),
            secure=any(family.addresses for family in families)
            and all(family.secure for family in families if family.addresses),
            owner=next((family.owner for family in families if family.addresses), name),
        )
        return CachedAnswer(addresses, addresses.ttl)

    async def _find_families(self, name: str) -> tuple[_Family, _Family]:
        """Return the IPv6 and the IPv4 addresses of a host; the one is not waited for for long if the other is here."""
        if len(self._families) < 2:  # nobody is asked for the other
            return await self._find_family(name, socket.AF_INET6), await self._find_family(name, socket.AF_INET)
        six = asyncio.create_task(self._find_family(name, socket.AF_INET6))
        four = asyncio.create_task(self._find_family(name, socket.AF_INET))
        try:
            done, late = await asyncio.wait((six, four), return_when=asyncio.FIRST_COMPLETED)
            if late:
                patience = LATE_SIX if four in done else LATE_FOUR
                found = any(each.result().addresses for each in done)
                _, late = await asyncio.wait(late, timeout=patience if found else None)
            unknown = _Family((), self._settings.dns.min_ttl)
            return unknown if six in late else six.result(), unknown if four in late else four.result()
        finally:
            six.cancel()
            four.cancel()

    async def _find_family(self, name: str, family: socket.AddressFamily) -> _Family:
        if family not in self._families:
            return _Family((), self._settings.dns.max_ttl)
        match await self._servers.ask(name, _KINDS[family]):
            case Records() as found:
                return _Family(found.texts, found.ttl, secure=found.secure, owner=found.owner)
            case Missing(ttl):
                return _Family((), ttl, missing=True)
            case Unknown(why):
                return _Family((), self._settings.dns.min_ttl, why)


@dataclass(frozen=True, slots=True)
class _Family:
    """A host's addresses of one family. ``error``: why there may be more than these. ``missing``: no such name.
    ``owner``: the name at the end of the aliases."""

    addresses: tuple[str, ...]
    ttl: float
    error: str | None = None
    missing: bool = False
    secure: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True)
class _Addresses:
    """A host's addresses of both families. ``secure``: all of them, by DNSSEC. ``owner``: whose they really are."""

    six: tuple[str, ...]
    four: tuple[str, ...]
    ttl: float
    error: str | None
    missing: bool = False
    secure: bool = False
    owner: str = ""


def _families(egress: EgressSettings) -> frozenset[socket.AddressFamily]:
    """Return the families that we have a source address for."""
    families = {socket.AF_INET6, socket.AF_INET} if egress.ipv6 else {socket.AF_INET}
    if egress.sources:
        families &= {socket.AF_INET6 if ":" in source.address else socket.AF_INET for source in egress.sources}
    return frozenset(families)


def _is_local(address: str) -> bool:
    """Return whether the address is one of this machine's: only then can a socket be bound to it."""
    return bind_fault(address) is None
