"""``mta account credential``: how an account logs in, and what each login may do.

Invariants: a secret is shown once, when it is made; only what verifies it is kept.

Limitations: a change reaches open sessions at their next MAIL.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.options import (
    AccountArgument,
    ConfigOption,
    DryRunOption,
    JsonOption,
    ReasonOption,
    YesOption,
    confirm,
    group,
    operator,
    parse_domain,
    require_span,
)
from mta.cli.output import Column, fail, minute, print_json, print_table
from policy.accounts.account import Grant, Stream

if TYPE_CHECKING:
    from mta.store.accounts.account_cache import AccountDetails, CredentialDetails
    from mta.store.store import Store


class StreamName(Enum):
    """A stream, as operators write it."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"


UsernameArgument = Annotated[str, typer.Argument(metavar="USERNAME", help="User name of the credential.")]
UsernameOption = Annotated[str | None, typer.Option(help="User name; default: made from the account's name.")]
StreamOption = Annotated[list[StreamName] | None, typer.Option("--stream", help="Only this stream; repeatable.")]
DomainOption = Annotated[
    list[str] | None, typer.Option("--domain", help="Only this domain of the account; repeatable.")
]
RateOption = Annotated[
    float | None, typer.Option("--rate", help="Messages per second; default: rate_limits.credential_rate.")
]
BurstOption = Annotated[
    int | None, typer.Option("--burst", help="Messages at once; default: rate_limits.credential_burst.")
]


@dataclass(frozen=True, slots=True)
class NewLogin:
    """A new credential; the secret is nowhere else. ``argon2`` and ``scram`` verify it."""

    username: str
    secret: str = field(repr=False)
    argon2: str = field(repr=False)
    scram: str = field(repr=False)


def register(accounts: typer.Typer) -> None:
    commands = group(
        "User names and secrets of an account, and what each may do.",
        ("add", add),
        ("scope", scope),
        ("rotate", rotate),
        ("revoke", revoke),
        ("list", list_),
    )
    accounts.add_typer(commands, name="credential")


def add(
    name: AccountArgument,
    username: UsernameOption = None,
    stream: StreamOption = None,
    domain: DomainOption = None,
    rate: RateOption = None,
    burst: BurstOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Create another credential. Its secret is shown once and not stored."""
    grant = _grant(stream, domain, rate, burst)
    print_login(with_store(load_settings(config), lambda store: create(store, name, username, grant)), as_json=as_json)


def scope(
    username: UsernameArgument,
    stream: StreamOption = None,
    domain: DomainOption = None,
    rate: RateOption = None,
    burst: BurstOption = None,
    config: ConfigOption = None,
) -> None:
    """Replace what a credential may do. Limits that are not given are removed, or become the service's defaults."""
    grant = _grant(stream, domain, rate, burst)
    with_store(load_settings(config), lambda store: store.credentials.set_grant(username, grant, by=operator()))
    print(f"Scope of {username} changed: {scope_of(grant)}.")


def rotate(
    username: UsernameArgument,
    overlap: Annotated[
        str, typer.Option(metavar="DURATION", help="How long the old credential still works: 30m, 24h, 7d, or 0.")
    ] = "24h",
    new_name: Annotated[str | None, typer.Option("--username", help="User name of the new one.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Replace a credential by a new one with the same scope. The secret is shown once and not stored."""
    span = _overlap(overlap)

    async def work(store: Store) -> tuple[NewLogin, datetime]:
        known = await store.accounts.list()
        owner, _ = _find(known, username)
        login = await new_login(new_name or free_username(owner, known))
        until = await store.credentials.rotate(
            username, login.username, argon2=login.argon2, scram=login.scram, overlap=span, by=operator()
        )
        return login, until

    login, until = with_store(load_settings(config), work)
    if not as_json:
        print(f"Credential {username} expires at {minute(until)} UTC; its successor:\n")
    print_login(login, as_json=as_json)


def revoke(
    username: UsernameArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Revoke a credential immediately, live sessions included. User names are never reused."""
    settings = load_settings(config)
    if dry_run:
        owner, _ = with_store(settings, lambda store: _found(store, username))
        print(f"Credential {username} of {owner.account.name} would be revoked.")
        return
    confirm(f"Revoke credential {username}?", yes=yes)
    with_store(settings, lambda store: store.credentials.revoke(username, by=operator(), reason=reason))
    print(f"Credential {username} revoked.")


def list_(name: AccountArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List an account's credentials, revoked ones included."""
    details = with_store(load_settings(config), lambda store: store.accounts.find(name))
    if as_json:
        print_json([fields(each) for each in details.credentials])
        return
    print_table(
        (Column("user name", whole=True), "state", "may send"),
        [(each.username, _state(each), scope_of(each.grant)) for each in details.credentials],
        empty=f"No credentials; create one with `mta account credential add {name}`.",
    )


async def create(store: Store, name: str, username: str | None, grant: Grant | None = None) -> NewLogin:
    """Give an account a credential with a new secret. Raises AccountError."""
    details = await store.accounts.find(name)
    login = await new_login(username or free_username(details, await store.accounts.list()))
    await store.credentials.add(
        details.account.id, login.username, argon2=login.argon2, scram=login.scram, grant=grant, by=operator()
    )
    return login


async def new_login(username: str) -> NewLogin:
    """Return a login with a new secret."""
    from mta.smtp_server.auth.authenticator import make_verifiers, new_secret

    secret = new_secret()
    return NewLogin(username, secret, *await asyncio.to_thread(make_verifiers, secret))


def free_username(details: AccountDetails, known: Iterable[AccountDetails]) -> str:
    """Return the account's name without odd characters, with a number if it was used before."""
    used = used_names(known)
    base = re.sub(r"[^A-Za-z0-9._@-]+", "-", details.account.name).strip("-") or "account"
    numbered = (f"{base}-{number}" for number in range(2, len(used) + 3))
    return next(name for name in (base, *numbered) if name not in used)


def used_names(known: Iterable[AccountDetails]) -> set[str]:
    """Return the user names that were ever given."""
    return {credential.username for each in known for credential in each.credentials}


def is_valid(credential: CredentialDetails) -> bool:
    return credential.revoked_at is None or credential.revoked_at > datetime.now(UTC)


def print_login(login: NewLogin, *, as_json: bool) -> None:
    """Show a new credential, the only time its secret is seen."""
    if as_json:
        print_json({"username": login.username, "secret": login.secret})
        return
    print(f"  user name   {login.username}")
    print(f"  secret      {login.secret}\n")
    print("The secret is shown only once and is not stored.")


def scope_of(grant: Grant) -> str:
    """Return what a credential may do, for people."""
    streams = " and ".join(stream.value for stream in Stream if stream in grant.streams)
    domains = f" for {', '.join(sorted(grant.domains))}" if grant.domains is not None else ""
    rate = f", {grant.rate:g}/s" if grant.rate is not None else ""
    burst = f", {grant.burst} at once" if grant.burst is not None else ""
    return f"{streams}{domains}{rate}{burst}"


def fields(credential: CredentialDetails) -> dict[str, Any]:
    """Return what machines get of a credential."""
    grant = credential.grant
    return {
        "username": credential.username,
        "revoked_at": credential.revoked_at,
        "streams": sorted(stream.value for stream in grant.streams),
        "domains": None if grant.domains is None else sorted(grant.domains),
        "rate": grant.rate,
        "burst": grant.burst,
    }


async def _found(store: Store, username: str) -> tuple[AccountDetails, CredentialDetails]:
    return _find(await store.accounts.list(), username)


def _find(known: Iterable[AccountDetails], username: str) -> tuple[AccountDetails, CredentialDetails]:
    """Return a credential that was not revoked, with its account; else end the command with status 1."""
    valid = ((owner, each) for owner in known for each in owner.credentials if each.revoked_at is None)
    found = next(((owner, each) for owner, each in valid if each.username == username), None)
    if found is None:
        fail(f"there is no credential {username!r}, or it was revoked before")
    return found


def _grant(streams: list[StreamName] | None, domains: list[str] | None, rate: float | None, burst: int | None) -> Grant:
    wanted = frozenset(Stream(each.value) for each in streams) if streams else frozenset(Stream)
    return Grant(wanted, frozenset(parse_domain(each) for each in domains) if domains else None, rate, burst)


def _state(credential: CredentialDetails) -> str:
    if credential.revoked_at is None:
        return "active"
    return f"{'expires' if is_valid(credential) else 'revoked'} {minute(credential.revoked_at)}"


def _overlap(text: str) -> timedelta:
    return timedelta() if text.strip() == "0" else require_span(text, "--overlap")
