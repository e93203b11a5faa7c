"""``mta account``: who may submit mail, how they log in, and for which domains they may send.

It must never show a secret but once, when it is made: only what verifies it is kept.

*Limits.* A change reaches the workers within moments; sessions that are open may keep what they had.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated

import typer

from mta.cli import (
    account_domains,
    account_life,
    account_logins,
    account_papers,
    account_print,
    account_steps,
)
from mta.cli.account_options import JsonOption, NameArgument, NetworkArgument, UsernameOption, group
from mta.cli.account_steps import parse_network
from mta.cli.context import load_profiles, load_settings, with_store
from mta.cli.options import ConfigOption, operator
from mta.cli.output import fail
from mta.store.accounts.reviews import Setting
from mta.store.store import Store

HELP = """Accounts: who may submit mail, how they log in, for which domains they may send.

For an application of your own one line is enough; you vouch for it and for its domains:

    mta account add shop --domain shop.example --approve "our own shop" --verified

Somebody else's account is made, completed, reviewed and approved:

1. mta account add shop --domain shop.example    prints the DNS record that proves the domain
2. mta account set, terms, identity, source      what a reviewer goes by
3. mta account check shop                        what is still missing, and which command mends it
4. mta account review shop                       hands it in
5. mta account approve shop                      from now on it may send
"""


class Notices(Enum):
    """What the failure of a message causes: a notice by mail, an event only, nothing."""

    DSN = "dsn"
    EVENT = "event"
    NONE = "none"


def register(app: typer.Typer) -> None:
    accounts = group(HELP)
    for name, command in (("add", add), ("list", list_), ("show", show), ("set", set_), ("notices", notices)):
        accounts.command(name)(command)
    account_life.register(accounts)
    account_papers.register(accounts)
    account_domains.register(accounts)
    networks = group("Client networks that may submit for an account without logging in.")
    networks.command("add")(add_network)
    networks.command("remove")(remove_network)
    accounts.add_typer(networks, name="network")
    account_logins.register(accounts)
    app.add_typer(accounts, name="account")


def add(
    name: NameArgument,
    domain: Annotated[
        list[str] | None, typer.Option(help="Domain that it may send for; may be given several times.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="Client network that needs no login; may be given several times.")
    ] = None,
    notices: Annotated[
        Notices, typer.Option(help="What a failure causes: a notice to the sender, an event only, nothing.")
    ] = Notices.DSN,
    username: UsernameOption = None,
    profile: Annotated[
        str | None, typer.Option(help="The policies that its mail must pass; else policy.default_profile.")
    ] = None,
    approve: Annotated[
        str | None, typer.Option(metavar="WHY", help="It may send at once, without a review; the reason is kept.")
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="You vouch for its domains: no DNS record is asked for.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make an account with its first credential. The secret is shown once and kept nowhere.

    It is pending, and sends nothing, until it is approved. For an application of your own:
    `mta account add shop --domain shop.example --approve "our own shop" --verified`
    """
    if not domain:
        fail("an account needs a domain that it may send for: --domain example.com", status=2)
    networks = tuple(parse_network(text) for text in network or ())
    domains = tuple(account_steps.parse_sender_domain(text) for text in domain)
    settings = load_settings(config)
    named = profile or settings.policy.default_profile
    account_steps.require_profile(named, load_profiles(config).names)
    wanted = account_steps.Wanted(name, domains, networks, notices.value, username, named, approve, verified)
    made = with_store(settings, lambda store: account_steps.add(settings, store, wanted), new=True)
    account_print.print_made(made, as_json=as_json)


def list_(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the accounts."""
    account_print.print_list(with_store(load_settings(config), lambda store: store.accounts.list()), as_json=as_json)


def show(name: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show everything of one account, but no secrets."""
    account_print.print_shown(
        with_store(load_settings(config), lambda store: account_steps.find(store, name)), as_json=as_json
    )


def set_(
    name: NameArgument,
    profile: Annotated[str | None, typer.Option(help="The policies that its mail must pass.")] = None,
    contact: Annotated[str | None, typer.Option(help="Whom to reach about it: a name, an address.")] = None,
    quota_day: Annotated[int | None, typer.Option(help="Most recipients a day (UTC); -1 for no limit.")] = None,
    quota_month: Annotated[int | None, typer.Option(help="Most recipients a month (UTC); -1 for no limit.")] = None,
    adult: Annotated[bool | None, typer.Option("--adult/--no-adult", help="Whether adult content is agreed.")] = None,
    config: ConfigOption = None,
) -> None:
    """Change settings of an account; what is not given stays."""
    if profile is not None:
        account_steps.require_profile(profile, load_profiles(config).names)
    given = {
        Setting.PROFILE: profile,
        Setting.CONTACT: contact,
        Setting.QUOTA_DAY: quota_day,
        Setting.QUOTA_MONTH: quota_month,
        Setting.ADULT_AGREED: adult,
    }
    quotas = (Setting.QUOTA_DAY, Setting.QUOTA_MONTH)
    wanted = {
        setting: None if setting in quotas and value == -1 else value
        for setting, value in given.items()
        if value is not None
    }
    if not wanted:
        fail("nothing to change; see mta account set --help", status=2)
    _set(name, wanted, config)
    print("\n".join(f"{name}: {setting.value} is {value}" for setting, value in wanted.items()))


def notices(name: NameArgument, wanted: Annotated[Notices, typer.Argument()], config: ConfigOption = None) -> None:
    """Change what a failure causes."""
    _set(name, {Setting.BOUNCE_NOTIFICATIONS: wanted.value}, config)
    print(f"Failures of {name}'s messages now cause: {wanted.value}.")


def add_network(name: NameArgument, network: NetworkArgument, config: ConfigOption = None) -> None:
    """Let clients in a network submit for an account without logging in."""
    with_store(load_settings(config), lambda store: account_steps.add_network(store, name, parse_network(network)))
    print(f"Clients in {network} now submit for {name} without logging in.")


def remove_network(name: NameArgument, network: NetworkArgument, config: ConfigOption = None) -> None:
    """Ask clients in a network to log in again."""
    with_store(load_settings(config), lambda store: account_steps.remove_network(store, name, parse_network(network)))
    print(f"Clients in {network} must log in from now on.")


def _set(name: str, settings: Mapping[Setting, object], config: ConfigOption) -> None:
    async def work(store: Store) -> None:
        details = await account_steps.find(store, name)
        await account_steps.refusable(store.reviews.set(details.account.id, settings, by=operator()))

    with_store(load_settings(config), work)
