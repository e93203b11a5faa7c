"""``mta account credential``: how an account logs in, and what each login may do.

Invariants: a secret is shown once, when it is made; only what verifies it is kept.

Limitations: a change reaches open sessions at their next MAIL.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_admin, with_store
from mta.cli.options import (
    AccountArgument,
    ConfigOption,
    DryRunOption,
    JsonOption,
    ReasonOption,
    YesOption,
    confirm,
    group,
    parse_domain,
    require_span,
)
from mta.cli.output import Column, fail, minute, print_json, print_table
from policy.accounts.account import Grant, Stream
from policy.accounts.purpose import Purpose, PurposeError
from policy.permission.marketing_signs import MailingSign

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.admin.senders.credentials import NewLogin
    from mta.store.accounts.account_cache import CredentialDetails


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
    from mta.admin.senders import credentials

    grant = _grant(stream, purpose, allow_sign, domain, rate, burst)

    async def work(context: AdminContext) -> NewLogin:
        return await credentials.add(context, name, username, grant, reason=reason)

    print_login(with_admin(load_settings(config), work), as_json=as_json)


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
    from mta.admin.senders import credentials

    grant = _grant(stream, purpose, allow_sign, domain, rate, burst)
    with_admin(load_settings(config), lambda context: credentials.set_grant(context, username, grant, reason=reason))
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
    from mta.admin.senders import credentials

    span = _overlap(overlap)

    async def work(context: AdminContext) -> tuple[NewLogin, datetime]:
        return await credentials.rotate(context, username, overlap=span, new_name=new_name)

    login, until = with_admin(load_settings(config), work)
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
    from mta.admin.senders import credentials

    settings = load_settings(config)
    if dry_run:
        owner, _ = with_admin(settings, lambda context: credentials.find(context, username))
        print(f"Credential {username} of {owner.account.name} would be revoked.")
        return
    confirm(f"Revoke credential {username}?", yes=yes)
    with_admin(settings, lambda context: credentials.revoke(context, username, reason=reason))
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


def _state(credential: CredentialDetails) -> str:
    if credential.revoked_at is None:
        return "active"
    return f"{'expires' if is_valid(credential) else 'revoked'} {minute(credential.revoked_at)}"


def _overlap(text: str) -> timedelta:
    return timedelta() if text.strip() == "0" else require_span(text, "--overlap")
