"""All accounts at one moment, indexed so that each question is one or two dictionary look-ups.

Invariants: never changed; a fresh copy replaces it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mta.mail.message import IPAddress
from policy.accounts.account import Account, Grant

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Credential:
    """``argon2`` and ``scram`` verify the secret (see ``mta.smtp_server.auth.authenticator``); the secret itself is
    nowhere. ``ends_at``:
    when it works no more, or since when."""

    username: str
    account: Account
    argon2: str = field(repr=False)
    scram: str = field(repr=False)
    grant: Grant = field(default_factory=Grant)
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CredentialDetails:
    """A credential as operators see it, working or not. ``revoked_at`` may be a moment to come."""

    username: str
    created_at: datetime
    revoked_at: datetime | None
    grant: Grant


@dataclass(frozen=True, slots=True)
class DomainDetails:
    """A sender domain as operators see it. ``report``: what the last look into the DNS found, by subject."""

    domain: str
    token: str
    verified_at: datetime | None
    checked_at: datetime | None
    receives: bool
    report: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ListSource:
    """Where a list comes from, in its owner's words; ``approved_by`` None: no reviewer has approved of that."""

    name: str
    origin: str
    created_at: datetime
    approved_at: datetime | None
    approved_by: str | None


@dataclass(frozen=True, slots=True)
class AccountDetails:
    """An account as operators see it."""

    account: Account
    created_at: datetime
    networks: tuple[IPNetwork, ...] = ()
    credentials: tuple[CredentialDetails, ...] = ()
    domains: tuple[DomainDetails, ...] = ()
    sources: tuple[ListSource, ...] = ()


class Copy:
    """All accounts at one moment, arranged for looking up. ``by_username`` has ended credentials, too."""

    def __init__(self, details: Sequence[AccountDetails], credentials: Iterable[Credential]) -> None:
        self.details = details
        self.by_id = {each.account.id: each.account for each in details}
        self.by_username = {each.username: each for each in credentials}
        networks = {network: each.account for each in details for network in each.networks}
        lengths = {(network.version, network.prefixlen) for network in networks}
        self._lengths = sorted(lengths, key=lambda length: length[1], reverse=True)
        self._networks = {(each.version, each.prefixlen, _prefix(each)): account for each, account in networks.items()}

    def by_network(self, address: IPAddress) -> Account | None:
        """The account of the narrowest network that ``address`` is in."""
        number, bits = int(address), address.max_prefixlen
        for version, length in self._lengths:
            if version == address.version and (found := self._networks.get((version, length, number >> bits - length))):
                return found
        return None


def _prefix(network: IPNetwork) -> int:
    """The bits that all addresses of the network share."""
    return int(network.network_address) >> network.max_prefixlen - network.prefixlen
