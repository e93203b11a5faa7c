"""Ask the name servers: one question, one answer that can be relied on (RFC 1035, 2308, 6891).

They are the configured ones, or the system's, asked in order; the next one only if one fails. A server that cannot cope
with EDNS is asked without: at once if it says so, in the second round if it is silent, and from the start for an hour.

Invariants: what is no answer is a failure, never "nothing there": error codes, referrals, answers of a server that is
neither an authority nor a resolver, contradictions between servers. Answers with another id, question or sender are
ignored.
An answer is ``secure`` if the server says that it has validated it (the AD flag, RFC 4035 3.2.3), the settings say that
the servers validate, and nothing but this machine is between it and us.
Limitations: the name servers are trusted: there is no DNSSEC validation here. A resolver that gives nothing, and no
reason (RFC 2308 2.2, type 3), is believed: several common ones do so. dnspython takes no TLSA record whose digest has
the wrong length: the look-up fails.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from ipaddress import ip_address

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
from dns.rdata import Rdata
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.TLSA import TLSA
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from config.schema import DnsSettings
from mta.delivery.route import MxHost
from mta.delivery.shortage import Shortage, shortage
from mta.delivery.tls.dane import Tlsa

CONCURRENT = 200  # questions under way at once, each with its own socket
EDNS_SIZE = 1232  # octets, the size that is never fragmented (DNS Flag Day 2020)
MAX_ALIASES = 8  # followed by us; what a server follows comes in one answer
WITHOUT_EDNS = 3600.0  # seconds for which a server is asked without EDNS

_NO_EDNS = frozenset({"FORMERR", "NOTIMP", "BADVERS"})  # what servers say that do not know it (RFC 6891 7)
_KNOWN = dns.flags.AA | dns.flags.RA

Server = tuple[str, int]  # address, port
Question = tuple[dns.name.Name, dns.rdatatype.RdataType]


class DnsError(Exception):
    """There was no answer; the text says why."""


class NotAsked(DnsError, Shortage):
    """This machine lacks what it takes to ask."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one type that a name has, possibly none: ``MxHost`` for MX, ``Tlsa``, the text for the others.
    ``owner``: the name at the end of its aliases."""

    data: tuple[MxHost | Tlsa | str, ...]
    ttl: float
    secure: bool = False
    owner: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(each for each in self.data if isinstance(each, str))


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such name."""

    ttl: float
    secure: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """The look-up failed. ``silent``: no server answered; asking once more may help."""

    why: str
    silent: bool = False


@dataclass(frozen=True, slots=True)
class _Alias:
    """The name is another one's alias, and nothing was said about that."""

    target: dns.name.Name
    secure: bool


DnsAnswer = Records | Missing | Unknown


class NameServers:
    """``settings.servers``, or those of the system."""

    def __init__(self, settings: DnsSettings) -> None:
        self._settings = settings
        self._servers = [_server(text) for text in settings.servers] or _system_servers()
        self._validating = settings.validating and self.are_local
        self._without_edns: dict[Server, float] = {}  # until when, monotonic
        self._slots = asyncio.Semaphore(CONCURRENT)

    @property
    def are_local(self) -> bool:
        """Whether nothing but this machine is between the servers and us."""
        return all(ip_address(address.partition("%")[0]).is_loopback for address, _ in self._servers)

    async def ask(self, name: str, kind: str) -> DnsAnswer:
        """Return the records of type ``kind`` ("MX", "A", "AAAA", "PTR", "TXT", "TLSA" or "SOA", whose data is
        left out).

        Raises NotAsked only.
        """
        try:
            question = dns.name.from_text(name), dns.rdatatype.from_text(kind)
        except dns.exception.DNSException:
            return Missing(self._settings.max_ttl)  # not a name at all
        async with self._slots:
            try:
                async with asyncio.timeout(self._settings.timeout):
                    return await self._follow(question)
            except TimeoutError:
                return Unknown(f"no name server answered within {self._settings.timeout:g} s", silent=True)

    async def _follow(self, question: Question) -> DnsAnswer:
        """Ask, and follow aliases that the servers have not followed."""
        name, kind = question
        secure = True
        for _ in range(MAX_ALIASES):
            found = await self._ask_all((name, kind))
            if isinstance(found, Unknown):
                return found
            secure = secure and found.secure
            if not isinstance(found, _Alias):
                return replace(found, secure=secure)
            name = found.target
        return Unknown(f"more than {MAX_ALIASES} aliases")

    async def _ask_all(self, question: Question) -> DnsAnswer | _Alias:
        reasons: dict[str, None] = {}
        doubtful = False  # a server said SERVFAIL: another's "there is nothing" is not to be trusted
        silent = self._servers
        for edns in (True, False):
            asked, silent = silent, []
            for server in asked:
                found = await self._ask_server(server, question, edns=edns)
                if not isinstance(found, Unknown):
                    nothing = isinstance(found, Missing) or (isinstance(found, Records) and not found.data)
                    return Unknown("the name servers contradict each other") if doubtful and nothing else found
                reasons[f"{server[0]}: {found.why}"] = None
                doubtful = doubtful or found.why == "SERVFAIL"
                if found.silent:
                    silent.append(server)
        return Unknown(", ".join(reasons))

    async def _ask_server(self, server: Server, question: Question, *, edns: bool) -> DnsAnswer | _Alias:
        """Ask one server, and at once again without EDNS if it says that it does not know that."""
        known_without = time.monotonic() < self._without_edns.get(server, 0.0)
        edns = edns and not known_without
        found = await self._exchange(server, question, edns=edns)
        if edns and isinstance(found, Unknown) and found.why in _NO_EDNS:
            edns = False
            found = await self._exchange(server, question, edns=False)
        refused = isinstance(found, Unknown) and (found.silent or found.why in _NO_EDNS)
        if not (edns or known_without or refused):
            self._without_edns[server] = time.monotonic() + WITHOUT_EDNS
        return found

    async def _exchange(self, server: Server, question: Question, *, edns: bool) -> DnsAnswer | _Alias:
        """Return what one server says, over UDP or, if it does not fit, TCP. Invalid answers are ignored."""
        address, port = server
        query = dns.message.make_query(*question, use_edns=0 if edns else None, payload=EDNS_SIZE if edns else None)
        if self._validating:
            query.flags |= dns.flags.AD  # RFC 6840 5.7: say whether it is secure
        try:
            response, _ = await dns.asyncquery.udp_with_fallback(
                query, address, self._settings.timeout / 3, port, ignore_unexpected=True, ignore_errors=True
            )
            return self._read(response)
        except dns.exception.Timeout:
            return Unknown("no answer", silent=True)
        except (OSError, EOFError) as error:
            if resource := shortage(error):
                raise NotAsked(resource) from error
            return Unknown(str(error) or "connection closed", silent=True)
        except dns.exception.DNSException as error:
            return Unknown(f"invalid answer ({type(error).__name__})")

    def _read(self, response: dns.message.Message) -> DnsAnswer | _Alias:
        code = response.rcode()
        if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or not isinstance(response, dns.message.QueryMessage):
            return Unknown(dns.rcode.to_text(code))
        chain = response.resolve_chaining()
        ttl = min(max(chain.minimum_ttl, self._settings.min_ttl), self._settings.max_ttl)
        secure = self._validating and bool(response.flags & dns.flags.AD)
        owner = _text(chain.canonical_name)
        if chain.answer:
            data = tuple(value for each in chain.answer if (value := _value(each)) is not None)
            return Records(data, ttl, secure, owner)
        kinds = {each.rdtype for each in response.authority}
        if dns.rdatatype.SOA not in kinds:
            ttl = self._settings.min_ttl  # RFC 2308 5: nothing says for how long
            if code == dns.rcode.NOERROR and chain.cnames:
                return _Alias(chain.canonical_name, secure)
            if code == dns.rcode.NOERROR and dns.rdatatype.NS in kinds:
                return Unknown("lame: it refers to other servers")
            if not response.flags & _KNOWN:
                return Unknown("lame: neither an authority nor a resolver")
        return Missing(ttl, secure) if code == dns.rcode.NXDOMAIN else Records((), ttl, secure, owner)


def _value(record: Rdata) -> MxHost | Tlsa | str | None:
    match record:
        case A() | AAAA():
            return str(record.address)
        case MX():
            return MxHost(record.preference, _text(record.exchange))
        case PTR():
            return _text(record.target)
        case TLSA():
            return Tlsa(record.usage, record.selector, record.mtype, record.cert)
        case TXT():
            return b"".join(record.strings).decode("utf-8", "replace")
        case _:
            return None


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _server(text: str) -> Server:
    """Read ``address``, ``address:port`` or ``[address]:port``, checked when the configuration was read."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        return address, int(port.removeprefix(":") or 53)
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, int(port)
    return text, 53


def _system_servers() -> list[Server]:
    try:
        system = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        return [("127.0.0.1", 53)]  # as resolv.conf(5) says
    return [(str(server), 53) for server in system.nameservers]
