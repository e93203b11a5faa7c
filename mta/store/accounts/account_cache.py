"""All accounts at one moment, arranged so that each question is a lookup or two in dictionaries.

Invariants: never changed; a new one takes its place. Everything is read in one snapshot.

Limitations: it reads every account; see ``mta.store.accounts.accounts``.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from mta.mail.message import IPAddress
from mta.store.postgres.database import Connection
from policy.accounts.account import Acceptance, Account, AccountStatus, Grant, Identity, QuotaLimits, Stream
from policy.accounts.purpose import Purpose

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


class AccountCache:
    """All accounts at one moment, arranged for looking up. ``by_username`` has ended credentials, too."""

    def __init__(self, details: Sequence[AccountDetails], credentials: Iterable[Credential]) -> None:
        self.details = details
        self.by_id = {each.account.id: each.account for each in details}
        self.by_name = {each.account.name: each for each in details}
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


_ACCOUNTS = """
select
    id, name, bounce_notifications, created_at, status::text, reason, complaint_case, profile, contact, quota_day,
    quota_month,
    role_exceptions, adult_agreed, pool, weight, max_priority
from account order by name"""

_CREDENTIALS = """
select
    username, account_id, argon2, scram, created_at, revoked_at,
    streams::text[] as streams, domains, rate, burst, purposes, signs
from credential order by username"""

_DOMAINS = """
select account_id, domain, token, verified_at, checked_at, receives, report from sender_domain order by domain"""

_NETWORKS = "select account_id, network from client_network order by network"

_IDENTITIES = "select account_id, language, identity from account_identity order by language"

_SOURCES = """
select account_id, name, origin, created_at, approved_at, approved_by from list_source order by name"""

_TERMS = """
select distinct on (account_id) account_id, version, at, by from terms_acceptance order by account_id, at desc"""


async def read_accounts(connection: Connection) -> AccountCache:
    """All accounts as they are now."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        accounts = await connection.fetch(_ACCOUNTS)
        credentials = await connection.fetch(_CREDENTIALS)
        domains = _by_account(await connection.fetch(_DOMAINS))
        networks = _by_account(await connection.fetch(_NETWORKS))
        identities = _by_account(await connection.fetch(_IDENTITIES))
        sources = _by_account(await connection.fetch(_SOURCES))
        terms = _by_account(await connection.fetch(_TERMS))
    logins = _by_account(credentials)
    details = [
        AccountDetails(
            _account(row, domains[row["id"]], identities[row["id"]], terms[row["id"]], sources[row["id"]]),
            row["created_at"],
            tuple(each["network"] for each in networks[row["id"]]),
            tuple(_credential_details(each) for each in logins[row["id"]]),
            tuple(_domain(each) for each in domains[row["id"]]),
            tuple(_source(each) for each in sources[row["id"]]),
        )
        for row in accounts
    ]
    by_id = {each.account.id: each.account for each in details}
    return AccountCache(
        details,
        [
            Credential(
                row["username"], by_id[row["account_id"]], row["argon2"], row["scram"], _grant(row), row["revoked_at"]
            )
            for row in credentials
        ],
    )


def identity_of(language: str, text: str) -> Identity:
    """An identity from the JSON it is kept as."""
    fields = orjson.loads(text)
    return Identity(language, tuple(fields.pop("names")), **fields)


def _by_account(rows: Iterable[Any]) -> Mapping[int, list[Any]]:
    found: defaultdict[int, list[Any]] = defaultdict(list)
    for row in rows:
        found[row["account_id"]].append(row)
    return found


def _account(row: Any, domains: list[Any], identities: list[Any], terms: list[Any], sources: list[Any]) -> Account:
    verified = [each for each in domains if each["verified_at"] is not None]
    return Account(
        id=row["id"],
        name=row["name"],
        domains=frozenset(each["domain"] for each in verified),
        bounce_notifications=row["bounce_notifications"],
        status=AccountStatus(row["status"]),
        reason=row["reason"],
        case=row["complaint_case"],
        profile=row["profile"],
        contact=row["contact"],
        identities=tuple(identity_of(each["language"], each["identity"]) for each in identities),
        terms=Acceptance(terms[0]["version"], terms[0]["at"], terms[0]["by"]) if terms else None,
        quotas=QuotaLimits(row["quota_day"], row["quota_month"]),
        unverified=frozenset(each["domain"] for each in domains if each["verified_at"] is None),
        tokens={each["domain"]: each["token"] for each in domains if each["verified_at"] is None},
        deaf=frozenset(each["domain"] for each in verified if not each["receives"]),
        lists=frozenset(each["name"] for each in sources if each["approved_at"] is not None),
        role_exceptions=frozenset(row["role_exceptions"]),
        adult_agreed=row["adult_agreed"],
        pool=row["pool"],
        weight=row["weight"],
        max_priority=row["max_priority"],
    )


def _grant(row: Any) -> Grant:
    return Grant(
        streams=None if row["streams"] is None else frozenset(Stream(each) for each in row["streams"]),
        domains=None if row["domains"] is None else frozenset(row["domains"]),
        rate=row["rate"],
        burst=row["burst"],
        purposes=tuple(map(Purpose.parse, row["purposes"])),
        signs=frozenset(row["signs"]),
    )


def _credential_details(row: Any) -> CredentialDetails:
    return CredentialDetails(row["username"], row["created_at"], row["revoked_at"], _grant(row))


def _domain(row: Any) -> DomainDetails:
    return DomainDetails(
        row["domain"],
        row["token"],
        row["verified_at"],
        row["checked_at"],
        row["receives"],
        orjson.loads(row["report"]),
    )


def _source(row: Any) -> ListSource:
    return ListSource(row["name"], row["origin"], row["created_at"], row["approved_at"], row["approved_by"])
