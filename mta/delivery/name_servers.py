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
import socket
import time
from ipaddress import ip_address

import dns.exception
import dns.flags
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
from mta.delivery import dns_wire
from mta.delivery.dns_wire import Answer, Question
from mta.delivery.route import MxHost
from mta.delivery.shortage import Shortage, shortage
from mta.delivery.tls.dane import Tlsa
from mta.mail.values import dataclass, replace

CONCURRENT = 200  # questions under way at once, each with its own socket
MAX_ALIASES = 8  # followed by us; what a server follows comes in one answer
AGAIN = 0.5  # seconds after which a server whose port is closed is asked again
WITHOUT_EDNS = 3600.0  # seconds for which a server is asked without EDNS

_NO_EDNS = frozenset({"FORMERR", "NOTIMP", "BADVERS"})  # what servers say that do not know it (RFC 6891 7)
_KNOWN = dns.flags.AA | dns.flags.RA
_MOST = 65_535  # octets of a datagram

Server = tuple[str, int]  # address, port


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

    target: str
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
            question = Question.of(name, kind)
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
        secure = True
        for _ in range(MAX_ALIASES):
            found = await self._ask_all(question)
            if isinstance(found, Unknown):
                return found
            if not isinstance(found, _Alias):
                return found if secure or not found.secure else replace(found, secure=False)
            secure = secure and found.secure
            question = Question.of(found.target, question.kind)
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
        """Return what one server says, over UDP or, if it does not fit, TCP. What is no answer is ignored."""
        query = question.query(edns=edns, secure=self._validating)
        try:
            async with asyncio.timeout(self._settings.timeout / 3):
                answer = await _by_udp(server, query, question)
                if answer.is_truncated:
                    answer = await _by_tcp(server, query, question)
            return self._judge(answer)
        except TimeoutError:
            return Unknown("no answer", silent=True)
        except (OSError, EOFError) as error:
            if resource := shortage(error):
                raise NotAsked(resource) from error
            return Unknown(str(error) or "connection closed", silent=True)
        except dns.exception.DNSException as error:
            return Unknown(f"invalid answer ({type(error).__name__})")

    def _judge(self, answer: Answer) -> DnsAnswer | _Alias:
        if answer.code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return Unknown(dns.rcode.to_text(dns.rcode.Rcode.make(answer.code)))
        ttl = min(max(answer.ttl, self._settings.min_ttl), self._settings.max_ttl)
        secure = self._validating and bool(answer.flags & dns.flags.AD)
        if answer.data:
            data = dict.fromkeys(value for each in answer.data if (value := _value(each)) is not None)
            return Records(tuple(data), ttl, secure, answer.owner)
        missing = answer.code == dns.rcode.NXDOMAIN
        if dns.rdatatype.SOA not in answer.authority:
            ttl = self._settings.min_ttl  # RFC 2308 5: nothing says for how long
            if answer.aliases and not missing:
                return _Alias(answer.owner, secure)
            if dns.rdatatype.NS in answer.authority and not missing:
                return Unknown("lame: it refers to other servers")
            if not answer.flags & _KNOWN:
                return Unknown("lame: neither an authority nor a resolver")
        return Missing(ttl, secure) if missing else Records((), ttl, secure, answer.owner)


async def _by_udp(server: Server, query: bytes, question: Question) -> Answer:
    """Ask from a port of its own, to which the kernel lets nobody but the server answer. Raises OSError,
    DNSException."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(server)
        while True:
            try:
                sock.send(query)
                while (answer := dns_wire.read(await loop.sock_recv(sock, _MOST), query, question)) is None:
                    pass
                return answer
            except ConnectionRefusedError:  # nobody listens: it may be about to start again
                await asyncio.sleep(AGAIN)


async def _by_tcp(server: Server, query: bytes, question: Question) -> Answer:
    """Raises OSError, EOFError, DNSException."""
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = dns_wire.read(await reader.readexactly(size), query, question)
    finally:
        writer.close()
    if answer is None:
        raise dns.exception.FormError
    return answer


def _value(record: Rdata) -> MxHost | Tlsa | str | None:
    match record:
        case A() | AAAA():
            return str(record.address)
        case MX():
            return MxHost(record.preference, dns_wire.shown(record.exchange))
        case PTR():
            return dns_wire.shown(record.target)
        case TLSA():
            return Tlsa(record.usage, record.selector, record.mtype, record.cert)
        case TXT():
            return b"".join(record.strings).decode("utf-8", "replace")
        case _:
            return None


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
