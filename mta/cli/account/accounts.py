"""``mta account add``, ``list``, ``show``, ``set`` and ``network``.

Invariants: what can be refused is asked before an account is created, or in the same transaction.

Limitations: an account and its first credential are two transactions: if the database goes away between them, the
account has no credential (`mta account credential add` creates one). A change reaches the workers within moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.account import credentials, domains, identity, life
from mta.cli.account.credentials import UsernameOption
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
)
from mta.cli.output import Cell, Column, fail, minute, print_details, print_json, print_table
from policy.accounts.account import AccountStatus

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.admin.senders.credentials import NewLogin
    from mta.store.accounts.account_cache import AccountDetails

HELP = """Accounts: who may submit mail, how they log in, for which domains they may send.

For an application of your own one line is enough; it skips the review and the domain checks on your authority:

    mta account add shop --domain shop.example --approve "our own shop" --verified

A customer's account is created, completed, reviewed and approved:

1. mta account add shop --domain shop.example    prints the DNS record that proves the domain
2. mta account set, terms, identity, source      what a reviewer goes by
3. mta account check shop                        what is missing, and the command that fixes it
4. mta account review shop                       submits it for review
5. mta account approve shop                      from now on it may send
"""


class BounceNotification(Enum):
    """What happens when a message fails: a DSN by mail (RFC 3464), an event only, nothing."""

    DSN = "dsn"
    EVENT = "event"
    NONE = "none"


NetworkArgument = Annotated[str, typer.Argument(metavar="NETWORK", help="Such as 10.1.2.0/24, or one IP address.")]
_NOTIFICATIONS = "When mail fails: a DSN to the sender, an event only, or nothing."
_UNLIMITED = -1


def register(app: typer.Typer) -> None:
    accounts = group(HELP, ("add", add), ("list", list_), ("show", show), ("set", set_))
    life.register(accounts)
    identity.register(accounts)
    domains.register(accounts)
    networks = group(
        "Client networks that may submit for an account without logging in.",
        ("add", add_network),
        ("remove", remove_network),
    )
    accounts.add_typer(networks, name="network")
    credentials.register(accounts)
    app.add_typer(accounts, name="account")


def add(
    name: AccountArgument,
    domain: Annotated[list[str] | None, typer.Option(help="Domain that it may send for; repeatable.")] = None,
    network: Annotated[list[str] | None, typer.Option(help="Client network that needs no login; repeatable.")] = None,
    bounce_notifications: Annotated[BounceNotification, typer.Option(help=_NOTIFICATIONS)] = BounceNotification.DSN,
    username: UsernameOption = None,
    profile: Annotated[
        str | None, typer.Option(help="Rules that its mail must pass; default: policy.default_profile.")
    ] = None,
    approve: Annotated[
        str | None, typer.Option(metavar="REASON", help="Approve it at once, without a review; the reason is kept.")
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Accept its domains without checks, on your authority.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Create an account with its first credential. The secret is shown once and not stored.

    It is pending, and sends nothing, until it is approved. For an application of your own:
    `mta account add shop --domain shop.example --approve "our own shop" --verified`
    """
    if not domain:
        fail("an account needs a domain that it may send for: --domain example.com", status=2)
    from mta.admin.senders import accounts
    from mta.admin.senders import domains as sender_domains
    from mta.admin.senders.accounts import NewAccount

    settings = load_settings(config)
    new = NewAccount(
        name=name,
        domains=[parse_domain(text) for text in domain],
        networks=network or (),
        profile=profile,
        bounce_notifications=bounce_notifications.value,
        username=username,
        approve=approve,
        verified=verified,
    )

    async def work(context: AdminContext) -> tuple[AccountDetails, NewLogin, list[str]]:
        details, login = await accounts.add(context, new)
        known = sorted(details.account.domains | details.account.unverified)
        return details, login, await sender_domains.without_key(context, known)

    details, login, unsigned = with_admin(settings, work, new=True)
    if as_json:
        secrets = {"username": login.username, "secret": login.secret, "unsigned_domains": unsigned}
        print_json(_fields(details) | secrets)
    else:
        _print_new(details, login, unsigned)


def list_(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the accounts."""
    accounts = with_store(load_settings(config), lambda store: store.accounts.list())
    if as_json:
        print_json([_fields(each) for each in accounts])
        return
    columns = (
        Column("account", whole=True),
        "status",
        Column("domains", whole=True),
        Column("user names", optional=True),
        Column("networks", optional=True),
    )
    rows: list[Sequence[Cell]] = [
        (
            each.account.name,
            each.account.status.value,
            [known.domain if known.verified_at else f"{known.domain} (unverified)" for known in each.domains],
            [login.username for login in each.credentials if credentials.is_valid(login)],
            [str(network) for network in each.networks],
        )
        for each in accounts
    ]
    print_table(columns, rows, empty="No accounts; create one with `mta account add NAME --domain example.com`.")


def show(name: AccountArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show everything about one account except secrets."""
    details = with_store(load_settings(config), lambda store: store.accounts.find(name))
    if as_json:
        print_json(_fields(details))
    else:
        _print_details(details)


def set_(
    name: AccountArgument,
    profile: Annotated[str | None, typer.Option(help="Rules that its mail must pass.")] = None,
    contact: Annotated[str | None, typer.Option(help="Who to reach about it: a name, an address.")] = None,
    bounce_notifications: Annotated[BounceNotification | None, typer.Option(help=_NOTIFICATIONS)] = None,
    quota_day: Annotated[int | None, typer.Option(help="Recipients per day (UTC); -1 for no limit.")] = None,
    quota_month: Annotated[int | None, typer.Option(help="Recipients per month (UTC); -1 for no limit.")] = None,
    adult: Annotated[
        bool | None, typer.Option("--adult/--no-adult", help="Whether adult content was agreed upon.")
    ] = None,
    pool: Annotated[str | None, typer.Option(help="Pool of egress sources, unless a rule in [egress] applies.")] = None,
    weight: Annotated[
        int | None, typer.Option(metavar="N", help="Its share where others' mail waits, too: 1 to 1000; usually 10.")
    ] = None,
    max_priority: Annotated[
        int | None,
        typer.Option(metavar="N", help="Highest priority that its messages may ask for, -9 to 9 (RFC 6710)."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Change settings of an account; those that are not given stay."""
    from mta.admin.senders import accounts
    from mta.store.accounts.reviews import Setting

    given = {
        Setting.PROFILE: profile,
        Setting.CONTACT: contact,
        Setting.BOUNCE_NOTIFICATIONS: bounce_notifications.value if bounce_notifications else None,
        Setting.QUOTA_DAY: quota_day,
        Setting.QUOTA_MONTH: quota_month,
        Setting.ADULT_AGREED: adult,
        Setting.POOL: pool,
        Setting.WEIGHT: weight,
        Setting.MAX_PRIORITY: max_priority,
    }
    quotas = (Setting.QUOTA_DAY, Setting.QUOTA_MONTH)
    changed = {
        setting: None if setting in quotas and value == _UNLIMITED else value
        for setting, value in given.items()
        if value is not None
    }
    if not changed:
        fail("nothing to change; see `mta account set --help`", status=2)

    with_admin(load_settings(config), lambda context: accounts.change_settings(context, name, changed))
    for setting, value in changed.items():
        print(f"{name}: {setting.value} set to {'no limit' if value is None else value}")


def add_network(name: AccountArgument, network: NetworkArgument, config: ConfigOption = None) -> None:
    """Let clients in a network submit for an account without logging in."""
    from mta.admin.senders import accounts

    parsed = accounts.parse_network(network)
    with_admin(load_settings(config), lambda context: accounts.add_network(context, name, network))
    print(f"Network {parsed} added; its clients may submit for {name} without logging in.")


def remove_network(
    name: AccountArgument,
    network: NetworkArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Require clients in this network to log in again."""
    from mta.admin.senders import accounts

    parsed, settings = accounts.parse_network(network), load_settings(config)
    if dry_run:
        details = with_store(settings, lambda store: store.accounts.find(name))
        if parsed not in details.networks:
            fail(f"{parsed} is not a network of {name}")
        print(f"Network {parsed} of {name} would be removed.")
        return
    confirm(f"Remove {parsed} from {name}? Its clients are rejected until they log in.", yes=yes)
    with_admin(settings, lambda context: accounts.remove_network(context, name, network, reason=reason))
    print(f"Network {parsed} removed; its clients must log in.")


def _print_new(details: AccountDetails, login: NewLogin, unsigned: Sequence[str]) -> None:
    name = details.account.name
    print(f"Account {name} created.\n")
    _print_details(details)
    print()
    credentials.print_login(login, as_json=False)
    for domain in details.domains:
        if domain.verified_at is None:
            print("\n" + "\n".join(domains.proof_wanted(name, domain)))
    for each in unsigned:
        print(domains.no_key(each))
    if details.account.status is not AccountStatus.ACTIVE:
        print(f"It may not send yet; `mta account check {name}` shows what is missing.")


def _print_details(details: AccountDetails) -> None:
    account = details.account
    terms, quotas = account.terms, ((account.quotas.day, "day"), (account.quotas.month, "month"))
    valid = {login.username: credentials.is_valid(login) for login in details.credentials}
    print_details(
        f"{account.name} (number {account.id}, created {minute(details.created_at)} UTC)",
        (
            ("status", f"{account.status.value}: {account.reason}" if account.reason else account.status.value),
            ("case", account.case),
            ("profile", account.profile),
            ("contact", account.contact),
            ("terms", f"version {terms.version}, {terms.at:%Y-%m-%d} by {terms.by}" if terms else None),
            ("identity", [each.language for each in account.identities]),
            ("lists", sorted(account.lists)),
            ("quotas", [f"{n} recipients per {span}" for n, span in quotas if n is not None]),
            ("roles", sorted(account.role_exceptions)),
            ("sends for", sorted(account.domains)),
            ("unverified", sorted(account.unverified)),
            ("logs in as", [username for username, is_valid in valid.items() if is_valid]),
            ("revoked", [username for username, is_valid in valid.items() if not is_valid]),
            ("networks", [str(network) for network in details.networks]),
            ("bounce notifications", account.bounce_notifications),
            ("pool", account.pool),
            ("weight", str(account.weight)),
            ("highest priority", str(account.max_priority)),
        ),
    )


def _fields(details: AccountDetails) -> dict[str, Any]:
    account = details.account
    return {
        "id": account.id,
        "name": account.name,
        "bounce_notifications": account.bounce_notifications,
        "status": account.status,
        "reason": account.reason,
        "case": account.case,
        "profile": account.profile,
        "pool": account.pool,
        "weight": account.weight,
        "max_priority": account.max_priority,
        "contact": account.contact,
        "terms": account.terms,
        "quota_day": account.quotas.day,
        "quota_month": account.quotas.month,
        "role_exceptions": sorted(account.role_exceptions),
        "lists": sorted(account.lists),
        "domains": sorted(account.domains),
        "unverified_domains": sorted(account.unverified),
        "networks": details.networks,
        "credentials": [credentials.fields(each) for each in details.credentials],
        "created_at": details.created_at,
    }
