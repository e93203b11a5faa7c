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

from mta.cli.context import load_profiles, load_settings, with_store
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
from policy.accounts.account import Account, Grant, Stream
from policy.accounts.purpose import Purpose, PurposeError
from policy.permission.marketing_signs import MailingSign

if TYPE_CHECKING:
    from mta.store.accounts.account_cache import AccountDetails, CredentialDetails
    from mta.store.store import Store
    from policy.profile import Profiles


class StreamName(Enum):
    """A stream, as operators write it."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"


UsernameArgument = Annotated[str, typer.Argument(metavar="USERNAME", help="User name of the credential.")]
UsernameOption = Annotated[str | None, typer.Option(help="User name; default: made from the account's name.")]
StreamOption = Annotated[
    list[StreamName] | None, typer.Option("--stream", help="Only this stream; repeatable. Default: the profile's.")
]
PurposeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--purpose",
        metavar="WHAT: SUBJECT",
        help='What its transactional mail is for, with a sample: "order: Your order *"; repeatable.',
    ),
]
SignOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-sign",
        metavar="SIGN",
        help="A mark of a mailing that its transactional mail may show, such as list_id; repeatable.",
    ),
]
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
    purpose: PurposeOption = None,
    allow_sign: SignOption = None,
    domain: DomainOption = None,
    rate: RateOption = None,
    burst: BurstOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Create another credential. Its secret is shown once and not stored.

    Without --stream it may send what the account's profile is for. Transactional mail of an account with a marketing
    profile is granted after a review, which --purpose and --reason record:
    `mta account credential add shop --stream transactional --purpose "order: Your order *" --reason "samples seen"`
    """
    grant, profiles = _grant(stream, purpose, allow_sign, domain, rate, burst), load_profiles(config)

    async def work(store: Store) -> NewLogin:
        _require_review(grant, (await store.accounts.find(name)).account, profiles, reason)
        return await create(store, name, username, grant, reason)

    print_login(with_store(load_settings(config), work), as_json=as_json)


def scope(
    username: UsernameArgument,
    stream: StreamOption = None,
    purpose: PurposeOption = None,
    allow_sign: SignOption = None,
    domain: DomainOption = None,
    rate: RateOption = None,
    burst: BurstOption = None,
    reason: ReasonOption = "",
    config: ConfigOption = None,
) -> None:
    """Replace what a credential may do. Limits that are not given are removed, or become the service's defaults."""
    grant, profiles = _grant(stream, purpose, allow_sign, domain, rate, burst), load_profiles(config)

    async def work(store: Store) -> None:
        owner, _ = await _found(store, username)
        _require_review(grant, owner.account, profiles, reason)
        await store.credentials.set_grant(username, grant, by=operator(), reason=reason)

    with_store(load_settings(config), work)
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


async def create(
    store: Store, name: str, username: str | None, grant: Grant | None = None, reason: str = ""
) -> NewLogin:
    """Give an account a credential with a new secret. Raises AccountError."""
    details = await store.accounts.find(name)
    login = await new_login(username or free_username(details, await store.accounts.list()))
    await store.credentials.add(
        details.account.id,
        login.username,
        argon2=login.argon2,
        scram=login.scram,
        grant=grant,
        by=operator(),
        reason=reason,
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
    streams = "what the profile is for"
    if grant.streams is not None:
        streams = " and ".join(stream.value for stream in Stream if stream in grant.streams)
    purposes = f" ({'; '.join(map(str, grant.purposes))})" if grant.purposes else ""
    domains = f" for {', '.join(sorted(grant.domains))}" if grant.domains is not None else ""
    rate = f", {grant.rate:g}/s" if grant.rate is not None else ""
    burst = f", {grant.burst} at once" if grant.burst is not None else ""
    signs = f", may show {', '.join(sorted(grant.signs))}" if grant.signs else ""
    return f"{streams}{purposes}{signs}{domains}{rate}{burst}"


def fields(credential: CredentialDetails) -> dict[str, Any]:
    """Return what machines get of a credential."""
    from mta.store.accounts.credentials import fields as scope

    return {"username": credential.username, "revoked_at": credential.revoked_at} | scope(credential.grant)


async def _found(store: Store, username: str) -> tuple[AccountDetails, CredentialDetails]:
    return _find(await store.accounts.list(), username)


def _find(known: Iterable[AccountDetails], username: str) -> tuple[AccountDetails, CredentialDetails]:
    """Return a credential that was not revoked, with its account; else end the command with status 1."""
    valid = ((owner, each) for owner in known for each in owner.credentials if each.revoked_at is None)
    found = next(((owner, each) for owner, each in valid if each.username == username), None)
    if found is None:
        fail(f"there is no credential {username!r}, or it was revoked before")
    return found


def _grant(
    streams: list[StreamName] | None,
    purposes: list[str] | None,
    signs: list[str] | None,
    domains: list[str] | None,
    rate: float | None,
    burst: int | None,
) -> Grant:
    wanted = frozenset(Stream(each.value) for each in streams) if streams else None
    try:
        reviewed = tuple(map(Purpose.parse, purposes or ()))
    except PurposeError as error:
        fail(str(error), status=2)
    scope = frozenset(parse_domain(each) for each in domains) if domains else None
    known = [sign.value for sign in MailingSign]
    if unknown := next((sign for sign in signs or () if sign not in known), None):
        fail(f"there is no sign {unknown!r}; there are {', '.join(known)}", status=2)
    return Grant(wanted, scope, rate, burst, reviewed, frozenset(signs or ()))


def _require_review(grant: Grant, account: Account, profiles: Profiles, reason: str) -> None:
    """End the command with status 2 if a sign is allowed without a reason, or transactional mail is granted beside
    marketing without saying for what."""
    if grant.signs and not reason:
        fail("a sign is allowed for a reason: add --reason TEXT", status=2)
    if grant.streams is None or Stream.TRANSACTIONAL not in grant.streams:
        return
    marketing = Stream.MARKETING in (profiles.settled(account.profile, Grant()).streams or ())
    if marketing and not (grant.purposes and reason):
        fail(
            f"{account.name} has the marketing profile {account.profile}; transactional mail is granted there after a "
            'review: add --purpose "order: Your order *" (what, and a sample subject) and --reason TEXT',
            status=2,
        )


def _state(credential: CredentialDetails) -> str:
    if credential.revoked_at is None:
        return "active"
    return f"{'expires' if is_valid(credential) else 'revoked'} {minute(credential.revoked_at)}"


def _overlap(text: str) -> timedelta:
    return timedelta() if text.strip() == "0" else require_span(text, "--overlap")
