"""Judge a source by what this machine and the DNS say of it: is it here, does it have a name, may it send?

Receivers ask the same questions of every connection: a PTR record whose name leads back to the address (RFC 1912 2.1)
and is not one that a network gives to each of its addresses, a name in EHLO that leads to the address (RFC 5321
4.1.4), and an SPF record of the envelope sender's domain that covers it (RFC 7208).

Invariants: a failed look-up is no fault, and no proof that one is gone.
Limitations: what receivers see of a private address is the address of a gateway; the DNS is not asked about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from mta.delivery.egress.spf_verdict import SpfAnswer, SpfVerdict
from mta.mail.source_fault import SourceFault, SourceFaultKind

_PRIVATE = tuple(
    ip_network(each)
    for each in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
                 "::1/128", "fc00::/7", "fe80::/10")
)  # fmt: skip

# Labels of names that networks give to addresses which nobody has named.
_GENERIC_LABEL = re.compile(
    r"(?:^|[-_.\d])(?:a?dsl|vdsl|cable|catv|dhcp|dial(?:in|up)?|dip|dyn(?:amic)?(?:ip)?|fiber|ftth|gprs|ppp(?:oe)?|"
    r"umts|wlan|wifi|unassigned|unknown|unused|no-?reverse|not-?set)(?=$|[-_.\d])"
)


_OF_NAMES = frozenset({SourceFaultKind.NO_PTR, SourceFaultKind.PTR_UNCONFIRMED, SourceFaultKind.PTR_GENERIC})


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """The DNS gave no answer."""

    why: str


Answers = Sequence[str] | LookupFailed


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """``missing``: why a socket cannot be bound to the address; None: it can. ``names``: the PTR records.
    ``forward``: the addresses of each of these names and of ``ehlo``. ``spf``: None without a return path domain."""

    address: str
    ehlo: str
    missing: str | None = None
    names: Answers = ()
    forward: Mapping[str, Answers] = field(default_factory=dict)
    return_path: str | None = None
    spf: SpfAnswer | None = None


@dataclass(frozen=True, slots=True)
class SourceFinding:
    """``unknown``: why it is not known whether there are faults of these kinds."""

    faults: tuple[SourceFault, ...]
    unknown: Mapping[SourceFaultKind, str]

    def after(self, before: Sequence[SourceFault]) -> tuple[SourceFault, ...]:
        """Return the faults now: those found, and of the ones ``before`` those that could not be looked up."""
        return (*self.faults, *(each for each in before if each.kind in self.unknown))


def is_private(address: str) -> bool:
    """Return whether receivers see another address than this one."""
    return any(ip_address(address) in network for network in _PRIVATE)


def judge(facts: SourceFacts) -> SourceFinding:
    """Return all that is wrong with a source."""
    unknown: dict[SourceFaultKind, str] = {}
    faults = [*_presence(facts)]
    if not is_private(facts.address):
        faults += [*_names(facts, unknown), *_ehlo(facts, unknown), *_spf(facts, unknown)]
    return SourceFinding(tuple(faults), unknown)


def _presence(facts: SourceFacts) -> Iterator[SourceFault]:
    if facts.missing is not None:
        yield SourceFault(
            SourceFaultKind.ABSENT,
            f"this machine cannot send from {facts.address}: {facts.missing}",
            f"add {facts.address} to an interface of this machine, or take the source out of [[egress.sources]]",
        )


def _names(facts: SourceFacts, unknown: dict[SourceFaultKind, str]) -> Iterator[SourceFault]:
    if isinstance(facts.names, LookupFailed):
        unknown |= dict.fromkeys(_OF_NAMES, facts.names.why)
        return
    address, record = facts.address, ip_address(facts.address).reverse_pointer
    if not facts.names:
        yield SourceFault(
            SourceFaultKind.NO_PTR,
            f"{address} has no PTR record",
            f"have the owner of the network publish: {record}. PTR {facts.ehlo}.",
        )
        return
    confirmed = [name for name in facts.names if _leads_to(facts.forward.get(name, ()), address)]
    if not confirmed:
        failed = [each.why for name in facts.names if isinstance(each := facts.forward.get(name), LookupFailed)]
        if failed:
            unknown |= dict.fromkeys(_OF_NAMES, failed[0])
            return
        name = facts.names[0]
        yield SourceFault(
            SourceFaultKind.PTR_UNCONFIRMED,
            f"the PTR record of {address} says {name}, which does not lead back to it",
            f"publish: {name}. {_type_of(address)} {address}",
        )
    elif all(is_generic(name, address) for name in confirmed):
        yield SourceFault(
            SourceFaultKind.PTR_GENERIC,
            f"the PTR record of {address} is {confirmed[0]}, a name that networks give to every address",
            f"have the owner of the network publish: {record}. PTR {facts.ehlo}.",
        )


def _ehlo(facts: SourceFacts, unknown: dict[SourceFaultKind, str]) -> Iterator[SourceFault]:
    found = facts.forward.get(facts.ehlo, ())
    if isinstance(found, LookupFailed):
        unknown[SourceFaultKind.EHLO] = found.why
    elif not _leads_to(found, facts.address):
        where = f"leads to {', '.join(found[:3])}" if found else "has no address"
        yield SourceFault(
            SourceFaultKind.EHLO,
            f"the name in EHLO, {facts.ehlo}, {where}, not to {facts.address}",
            f"publish: {facts.ehlo}. {_type_of(facts.address)} {facts.address}, or set ehlo of the source to its name",
        )


def _spf(facts: SourceFacts, unknown: dict[SourceFaultKind, str]) -> Iterator[SourceFault]:
    spf, domain = facts.spf, facts.return_path
    if spf is None or spf.verdict is SpfVerdict.PASS:
        return
    if spf.verdict in (SpfVerdict.TEMPERROR, SpfVerdict.UNDECIDED):
        unknown[SourceFaultKind.SPF] = spf.text
        return
    mechanism = f"{'ip6' if ':' in facts.address else 'ip4'}:{facts.address}"
    remedy = {
        SpfVerdict.NONE: f'publish: {domain}. TXT "v=spf1 {mechanism} -all"',
        SpfVerdict.PERMERROR: "correct the record: receivers take none of it",
    }.get(spf.verdict, f"put {mechanism} in front of the last term of the SPF record of {domain}")
    yield SourceFault(SourceFaultKind.SPF, f"SPF of the return path domain {domain}: {spf.text}", remedy)


def _leads_to(found: Answers, address: str) -> bool:
    return not isinstance(found, LookupFailed) and any(ip_address(each) == ip_address(address) for each in found)


def _type_of(address: str) -> str:
    return "AAAA" if ":" in address else "A"


def is_generic(name: str, address: str) -> bool:
    """Return whether a PTR name is made of the address, or says that nobody has chosen it."""
    host = name.lower().rstrip(".")
    if _GENERIC_LABEL.search(host.rsplit(".", 2)[0] if host.count(".") > 1 else host):
        return True
    parsed = ip_address(address)
    return _has_octets(host, parsed) if isinstance(parsed, IPv4Address) else _has_groups(host, parsed)


def _has_octets(host: str, address: IPv4Address) -> bool:
    """Return whether three neighbouring octets stand in the name one after the other, in either direction."""
    octets = str(address).split(".")
    if f"{int(address):08x}" in host:
        return True
    padded = [each.zfill(3) for each in octets]
    if "".join(padded) in host or "".join(reversed(padded)) in host:
        return True
    numbers = [number.lstrip("0") or "0" for number in re.findall(r"\d+", host)]
    runs = [numbers[at : at + 3] for at in range(len(numbers) - 2)]
    wanted = (octets[:3], octets[1:], octets[2::-1], octets[:0:-1])
    return any(run in wanted for run in runs)


def _has_groups(host: str, address: IPv6Address) -> bool:
    """Return whether four neighbouring groups stand in the name, or half of the digits."""
    exploded = address.exploded.split(":")
    digits, bare = "".join(exploded), re.sub(r"[^0-9a-f]", "", host)
    if any(half in bare for half in (digits[:16], digits[16:]) if half.strip("0")):
        return True
    groups = [each.lstrip("0") or "0" for each in exploded]
    found = [each.lstrip("0") or "0" for each in re.findall(r"(?<![0-9a-z])[0-9a-f]{1,4}(?![0-9a-z])", host)]
    wanted = [groups[at : at + 4] for at in range(5)]
    runs = [found[at : at + 4] for at in range(len(found) - 3)]
    return any(run in wanted or run[::-1] in wanted for run in runs if run != ["0"] * 4)
