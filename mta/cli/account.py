"""``mta account``: who may submit mail, how they log in, and for which domains they may send.

It must never show a secret but once, when it is made: only what verifies it is kept.

*Limits.* A change reaches the workers within moments; sessions that are open may keep what they had.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from mta.cli import account_print, account_steps
from mta.cli.account_steps import parse_network
from mta.cli.context import load, with_store
from mta.cli.options import ConfigOption, fail


class Notices(Enum):
    """What the failure of a message causes: a notice by mail, an event only, nothing."""

    NOTICE = "notice"
    EVENT = "event"
    NONE = "none"


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The account.")]
DomainArgument = Annotated[str, typer.Argument(metavar="DOMAIN", help="A sender domain; subdomains are not included.")]
NetworkArgument = Annotated[str, typer.Argument(metavar="NETWORK", help="Such as 10.1.2.0/24, or one address.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
UsernameOption = Annotated[str | None, typer.Option(help="User name; made from NAME if not given.")]


def register(app: typer.Typer) -> None:
    group = _group("Accounts: who may submit mail, how they log in, for which domains they may send.")
    group.command("add")(add)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("notices")(notices)
    domains = _group("Domains that an account may send for: envelope sender and From must be in one of them.")
    domains.command("add")(add_domain)
    domains.command("remove")(remove_domain)
    networks = _group("Client networks that may submit for an account without logging in.")
    networks.command("add")(add_network)
    networks.command("remove")(remove_network)
    credentials = _group("User names and secrets of an account.")
    credentials.command("add")(add_credential)
    credentials.command("revoke")(revoke_credential)
    credentials.command("list")(list_credentials)
    for name, part in (("domain", domains), ("network", networks), ("credential", credentials)):
        group.add_typer(part, name=name)
    app.add_typer(group, name="account")


def _group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True)


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
    ] = Notices.NOTICE,
    username: UsernameOption = None,
    profile: Annotated[str, typer.Option(help="The policies that its mail must pass.")] = "transactional",
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
    wanted = account_steps.Wanted(name, domains, networks, notices.value, username, profile, approve, verified)
    settings = load(config)
    made = with_store(settings, lambda store: account_steps.add(settings, store, wanted), new=True)
    account_print.print_made(made, as_json=as_json)


def list_(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the accounts."""
    account_print.print_list(with_store(load(config), lambda store: store.accounts.list()), as_json=as_json)


def show(name: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show everything of one account, but no secrets."""
    account_print.print_shown(with_store(load(config), lambda store: account_steps.find(store, name)), as_json=as_json)


def notices(name: NameArgument, wanted: Annotated[Notices, typer.Argument()], config: ConfigOption = None) -> None:
    """Change what a failure causes."""
    with_store(load(config), lambda store: account_steps.set_notices(store, name, wanted.value))
    print(f"Failures of {name}'s messages now cause: {wanted.value}.")


def add_domain(name: NameArgument, domain: DomainArgument, config: ConfigOption = None) -> None:
    """Let an account send for a domain."""
    settings, wanted = load(config), account_steps.parse_sender_domain(domain)
    print(with_store(settings, lambda store: account_steps.add_domain(settings, store, name, wanted)))


def remove_domain(name: NameArgument, domain: DomainArgument, config: ConfigOption = None) -> None:
    """Let an account send for a domain no more. What is queued still goes."""
    with_store(load(config), lambda store: account_steps.remove_domain(store, name, domain))
    print(f"{name} may send for {domain} no more.")


def add_network(name: NameArgument, network: NetworkArgument, config: ConfigOption = None) -> None:
    """Let clients in a network submit for an account without logging in."""
    with_store(load(config), lambda store: account_steps.add_network(store, name, parse_network(network)))
    print(f"Clients in {network} now submit for {name} without logging in.")


def remove_network(name: NameArgument, network: NetworkArgument, config: ConfigOption = None) -> None:
    """Ask clients in a network to log in again."""
    with_store(load(config), lambda store: account_steps.remove_network(store, name, parse_network(network)))
    print(f"Clients in {network} must log in from now on.")


def add_credential(
    name: NameArgument, username: UsernameOption = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Make another credential. The secret is shown once and kept nowhere."""
    login = with_store(load(config), lambda store: account_steps.add_credential(store, name, username))
    account_print.print_login(login, as_json=as_json)


def revoke_credential(
    username: Annotated[str, typer.Argument(metavar="USERNAME", help="The user name.")], config: ConfigOption = None
) -> None:
    """Let a credential log in no more. Its user name is never given again."""
    with_store(load(config), lambda store: account_steps.revoke_credential(store, username))
    print(f"{username} can log in no more.")


def list_credentials(name: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List an account's user names, revoked ones included."""
    details = with_store(load(config), lambda store: account_steps.find(store, name))
    account_print.print_credentials(details, as_json=as_json)
