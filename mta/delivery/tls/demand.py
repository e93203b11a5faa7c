"""Decide what TLS a host must show before mail for a domain goes there.

DANE comes before MTA-STS (RFC 8461 2), both before what we would do by ourselves; the sender's wish (RFC 8689) may add
to that or take it away. The decision is per recipient domain and host: domains that share a site, and even a host, may
differ, so the demand is part of what tells sessions apart.

Invariants: nothing goes in plain text, or to a host that is not verified, where a policy forbids it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from mta.delivery.tls import dane
from mta.delivery.tls.dane import Tlsa
from mta.delivery.tls.mta_sts import StsMode, StsPolicy
from mta.mail.message import SenderTls
from mta.mail.tls_session import AppliedPolicy, PolicyKind, TlsFault, TlsResult
from mta.mail.values import dataclass


class TlsPolicy(Enum):
    """How a connection is protected. Opportunistic TLS may end as plain text; ENCRYPTED must be TLS, with any
    certificate; REQUIRED and IMPLICIT must show one that is valid for the host; DANE one that its TLSA records name."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    ENCRYPTED = "encrypted"
    REQUIRED = "required"
    IMPLICIT = "implicit"
    DANE = "dane"

    @property
    def is_pkix(self) -> bool:
        """Whether the certificate must be valid for the host by the authorities that this machine trusts."""
        return self in (TlsPolicy.REQUIRED, TlsPolicy.IMPLICIT)


class ClientCertificate(NamedTuple):
    """Files of a certificate that we show to receivers which ask for one."""

    chain: Path
    key: Path

    @classmethod
    def of(cls, chain: Path | None, key: Path | None) -> ClientCertificate | None:
        return None if chain is None or key is None else cls(chain, key)


@dataclass(frozen=True, slots=True)
class TlsDemand:
    """What a session must come up to; sessions with equal demands can replace each other. ``names``: those that the
    host is verified by, the first one is shown in SNI. ``tlsa``: usable records."""

    policy: TlsPolicy
    names: tuple[str, ...] = ()
    tlsa: tuple[Tlsa, ...] = ()

    @classmethod
    def plain(cls, policy: TlsPolicy, host: str) -> TlsDemand:
        """One without DANE. Two hosts at the same address are told apart by whose certificate was verified."""
        return cls(policy, (host,) if policy.is_pkix else ())


@dataclass(frozen=True, slots=True)
class HostTlsa:
    """The DNSSEC-secure TLSA records of a host, or why they cannot be had. ``base``: the name that they are at (the
    TLSA base domain, RFC 7672 2.2.3)."""

    base: str
    records: tuple[Tlsa, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DomainTls:
    """What a recipient domain has published. ``mx_secure``: its MX records are DNSSEC-secure. ``tlsa``: by host name,
    of hosts whose addresses are secure, too."""

    domain: str
    sts: StsPolicy | None = None
    mx_secure: bool = False
    tlsa: Mapping[str, HostTlsa] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostDemand:
    """``demand``: on sessions with the host. ``applied``: the policy that they are counted under; None: they are not.
    ``by``: who demands it, for the operator; empty for our own settings. ``otherwise``: what is enough nevertheless,
    because the policy is in testing. ``fault``: what a policy in testing has against the host itself."""

    demand: TlsDemand
    applied: AppliedPolicy | None = None
    by: str = ""
    otherwise: TlsDemand | None = None
    fault: TlsFault | None = None


@dataclass(frozen=True, slots=True)
class Unfit:
    """Mail for the domain must not go to the host. ``by`` and ``applied`` as of HostDemand."""

    fault: TlsFault
    applied: AppliedPolicy | None
    by: str


REQUIRETLS = "REQUIRETLS"


def judge(host: str, published: DomainTls, ours: TlsPolicy, wish: SenderTls) -> HostDemand | Unfit:
    """Return what applies to mail for a domain at one of its mail hosts (lower case). ``ours``: what the settings say
    of the site."""
    if wish is SenderTls.OPTIONAL:
        return HostDemand(TlsDemand.plain(ours, host))
    found = _by_policy(host, published, ours)
    if wish is SenderTls.REQUIRED and isinstance(found, HostDemand):
        return _by_sender(host, published, found)
    return found


def judge_static(host: str, ours: TlsPolicy, wish: SenderTls) -> HostDemand:
    """Return what applies at a host of the operator's own choice: nothing that the domain has published."""
    if wish is SenderTls.REQUIRED and not ours.is_pkix:
        return HostDemand(TlsDemand.plain(TlsPolicy.REQUIRED, host), by=REQUIRETLS)
    return HostDemand(TlsDemand.plain(ours, host))


def _by_policy(host: str, published: DomainTls, ours: TlsPolicy) -> HostDemand | Unfit:
    if (tlsa := published.tlsa.get(host)) is not None:
        return _by_dane(host, published, tlsa, ours)
    sts, domain = published.sts, published.domain
    if sts is None or sts.mode is StsMode.NONE:
        return HostDemand(TlsDemand.plain(ours, host), AppliedPolicy(PolicyKind.NONE, domain))
    applied = AppliedPolicy(PolicyKind.STS, domain, sts.lines, sts.mx)
    by, testing = f"MTA-STS policy of {domain}", sts.mode is StsMode.TESTING
    if sts.allows(host):
        otherwise = TlsDemand.plain(ours, host) if testing and not ours.is_pkix else None
        return HostDemand(TlsDemand.plain(TlsPolicy.REQUIRED, host), applied, by, otherwise)
    fault = TlsFault(TlsResult.VALIDATION_FAILURE, f"{host} is not one of its mail hosts")
    return HostDemand(TlsDemand.plain(ours, host), applied, by, fault=fault) if testing else Unfit(fault, applied, by)


def _by_dane(host: str, published: DomainTls, tlsa: HostTlsa, ours: TlsPolicy) -> HostDemand | Unfit:
    by = f"DANE for {host}"
    applied = AppliedPolicy(PolicyKind.TLSA, tlsa.base, tuple(map(str, tlsa.records)), (host,))
    if tlsa.error is not None:
        return Unfit(TlsFault(TlsResult.DNSSEC_INVALID, tlsa.error), applied, by)
    if records := dane.usable(tlsa.records):
        names = tuple(dict.fromkeys((tlsa.base, host, published.domain)))
        return HostDemand(TlsDemand(TlsPolicy.DANE, names, records), applied, by)
    return HostDemand(TlsDemand.plain(ours if ours.is_pkix else TlsPolicy.ENCRYPTED, host), applied, by)


def _by_sender(host: str, published: DomainTls, found: HostDemand) -> HostDemand | Unfit:
    """Add what REQUIRETLS demands: a host that the domain is known to have named, and verified (RFC 8689 4.2.1)."""
    if found.demand.policy is TlsPolicy.DANE:
        return found
    if not (published.mx_secure or (published.sts and published.sts.allows(host))):
        text = f"that {host} is a mail host of {published.domain} is vouched for by neither DNSSEC nor MTA-STS"
        return Unfit(TlsFault(TlsResult.VALIDATION_FAILURE, text), found.applied, REQUIRETLS)
    return HostDemand(TlsDemand.plain(TlsPolicy.REQUIRED, host), found.applied, REQUIRETLS)
