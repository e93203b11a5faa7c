"""What ``mta account`` does, step by step; ``account_print`` shows the results.

It must never make half an account: what can be refused is asked before, or in the same transaction.

*Limits.* An account and its first credential are two transactions: if the database goes away between them, the account
is there without a credential (`mta account credential add` makes one).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar

from config.schema import Settings
from config.toml import ConfigError
from mta.cli.options import operator
from mta.cli.output import fail
from mta.dkim import KeyRing
from mta.dkim.keys import read_key_files
from mta.mail.address import AddressError, parse_domain
from mta.smtp_server.auth.authenticator import make_verifiers, new_secret
from mta.store.accounts.account_copy import DomainDetails
from mta.store.accounts.accounts import AccountDetails, AccountError
from mta.store.store import Store
from policy.accounts.account import AccountStatus, Grant
from policy.accounts.sender_domain import owner_name, owner_text

Network = IPv4Network | IPv6Network
T = TypeVar("T")

WIDEST = {4: 8, 6: 32}  # shortest prefixes of client networks: 10.0.0.0/8, an organisation's IPv6 allocation


@dataclass(frozen=True, slots=True)
class Wanted:
    """An account to be made. ``username`` None: make one from the name. ``approval``: why it may send at once, None:
    it is to be reviewed first. ``verified``: whether the operator vouches for its domains."""

    name: str
    domains: tuple[str, ...]
    networks: tuple[Network, ...]
    notices: str
    username: str | None
    profile: str = "transactional"
    approval: str | None = None
    verified: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """A new credential; the secret is nowhere else."""

    username: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Made:
    """A new account. ``unsigned``: those of its domains that no DKIM key signs for."""

    details: AccountDetails
    login: Login
    unsigned: tuple[str, ...]


def parse_network(text: str) -> Network:
    """A network, or one address, no wider than one organisation's; else exit status 2."""
    try:
        network = ip_network(text)
    except ValueError as error:
        fail(f"{error}; a network is written as 10.1.2.0/24 or 2001:db8::/48", status=2)
    if network.prefixlen < WIDEST[network.version]:
        fail(f"{network} is too wide: strangers could send without logging in", status=2)
    return network


def parse_sender_domain(text: str) -> str:
    """A domain name in its canonical form; else exit status 2."""
    try:
        return parse_domain(text)
    except AddressError as error:
        fail(f"{text!r}: {error}", status=2)


def require_profile(name: str, known: Sequence[str]) -> None:
    """Exit status 2 if there is no such profile."""
    if name not in known:
        fail(f"there is no profile {name!r}; there are: {', '.join(known)}", status=2)


async def add(settings: Settings, store: Store, wanted: Wanted) -> Made:
    """The account, its domains and networks in one transaction, then its first credential."""
    if wanted.username in _used(await store.accounts.list()):
        fail(f"the user name {wanted.username!r} was used before; names are not given twice")
    account = await refusable(
        store.accounts.add(
            wanted.name,
            domains=wanted.domains,
            networks=wanted.networks,
            bounce_notifications=wanted.notices,
            profile=wanted.profile,
            status=AccountStatus.PENDING if wanted.approval is None else AccountStatus.ACTIVE,
            verified=wanted.verified,
            by=operator(),
            reason=wanted.approval or "",
        )
    )
    login = await add_credential(store, account.name, wanted.username)
    details = await find(store, account.name)
    return Made(details, login, await unsigned(settings, store, sorted(account.domains | account.unverified)))


async def find(store: Store, name: str) -> AccountDetails:
    return await refusable(store.accounts.find(name))


async def add_network(store: Store, name: str, network: Network) -> None:
    details = await find(store, name)
    await refusable(store.accounts.add_network(details.account.id, network, by=operator()))


async def remove_network(store: Store, name: str, network: Network) -> None:
    details = await find(store, name)
    await refusable(store.accounts.remove_network(details.account.id, network, by=operator()))


async def add_credential(store: Store, name: str, username: str | None, grant: Grant | None = None) -> Login:
    """A credential with a new secret."""
    details = await find(store, name)
    login, argon2, scram = await new_login(username or free_username(details, await store.accounts.list()))
    await refusable(
        store.credentials.add(
            details.account.id, login.username, argon2=argon2, scram=scram, grant=grant, by=operator()
        )
    )
    return login


async def new_login(username: str) -> tuple[Login, str, str]:
    """A login with a new secret, and what verifies that (see ``mta.smtp_server.auth.authenticator``)."""
    login = Login(username, new_secret())
    return login, *await asyncio.to_thread(make_verifiers, login.secret)


async def unsigned(settings: Settings, store: Store, domains: Iterable[str]) -> tuple[str, ...]:
    """Those of ``domains`` that no key signs for, as far as can be told."""
    try:
        ring = KeyRing(read_key_files(settings.signing, settings.server.user))
        ring.replace_stored(await store.dkim_keys.list())
    except ConfigError:
        return ()  # not this command's business: `mta check` and `mta dkim` say it
    return tuple(domain for domain in domains if not ring.of(domain.lower()))


def to_publish(name: str, domain: DomainDetails) -> list[str]:
    """What is left to do for a new domain, line by line."""
    return [
        f"{name} may send for {domain.domain} once this record is found in the DNS, beside SPF, DKIM and DMARC:",
        f'  {owner_name(domain.domain)}. IN TXT "{owner_text(domain.token)}"',
        f"It is looked for every ten minutes; mta account domain verify {name} {domain.domain} looks at once.",
    ]


def no_key(domain: str) -> str:
    return f"No DKIM key signs for {domain} yet: mta dkim new {domain}"


def free_username(details: AccountDetails, everybody: Iterable[AccountDetails]) -> str:
    """The account's name without odd characters; with a number if it was used before."""
    taken = _used(everybody)
    plain = re.sub(r"[^A-Za-z0-9._@-]+", "-", details.account.name).strip("-") or "account"
    numbered = (f"{plain}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (plain, *numbered) if name not in taken)


def _used(everybody: Iterable[AccountDetails]) -> set[str]:
    """User names that were ever given."""
    return {credential.username for each in everybody for credential in each.credentials}


async def refusable(work: Awaitable[T]) -> T:
    """The result of ``work``; what the store refuses is one sentence and exit status 1."""
    try:
        return await work
    except (AccountError, AddressError) as error:
        fail(str(error))
