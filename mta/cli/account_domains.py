"""``mta account domain``: the domains that an account may send for, and the proof that they are its own.

It must never let an account use a domain without that proof, unless an operator vouches for it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from config.schema import Settings
from mta.cli import account_check, account_print
from mta.cli.account_options import DomainArgument, JsonOption, NameArgument, group
from mta.cli.account_steps import find, no_key, parse_sender_domain, refusable, to_publish, unsigned
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption, operator
from mta.cli.output import fail
from mta.delivery.mx import Resolver
from mta.store.accounts.account_copy import DomainDetails
from mta.store.store import Store
from policy.accounts.sender_domain import is_fit

VouchOption = Annotated[
    str | None, typer.Option("--vouch", metavar="WHY", help="You vouch for it, whatever the DNS says; this is kept.")
]


def register(parent: typer.Typer) -> None:
    domains = group("Domains that an account may send for: envelope sender and From must be in one of them.")
    domains.command("add")(add)
    domains.command("remove")(remove)
    domains.command("verify")(verify)
    domains.command("list")(list_)
    parent.add_typer(domains, name="domain")


def add(name: NameArgument, domain: DomainArgument, vouch: VouchOption = None, config: ConfigOption = None) -> None:
    """Give an account a domain, and print the DNS record that proves it to be its own."""
    settings, wanted = load_settings(config), parse_sender_domain(domain)
    print(with_store(settings, lambda store: _add(settings, store, name, wanted, vouch)))


def remove(name: NameArgument, domain: DomainArgument, config: ConfigOption = None) -> None:
    """Let an account send for a domain no more. What is queued still goes."""

    async def work(store: Store) -> None:
        details = await find(store, name)
        await refusable(store.domains.remove(details.account.id, domain, by=operator()))

    with_store(load_settings(config), work)
    print(f"{name} may send for {domain} no more.")


def verify(name: NameArgument, domain: DomainArgument, vouch: VouchOption = None, config: ConfigOption = None) -> None:
    """Look for a domain's proof, SPF, DKIM, DMARC and MX in the DNS. Exit status 1 if it may not be used yet."""
    settings, wanted = load_settings(config), parse_sender_domain(domain)
    if not with_store(settings, lambda store: _verify(settings, store, name, wanted, vouch)):
        raise typer.Exit(1)


def list_(name: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List an account's domains, with what the last look into the DNS found."""
    details = with_store(load_settings(config), lambda store: find(store, name))
    account_print.print_domains(details, as_json=as_json)


async def _add(settings: Settings, store: Store, name: str, domain: str, vouch: str | None) -> str:
    """Says what was done, and what is left to do."""
    account_id = (await find(store, name)).account.id
    await refusable(store.domains.add(account_id, domain, by=operator()))
    if vouch is not None:
        await refusable(store.domains.vouch(account_id, domain, by=operator(), reason=vouch))
        said = [f"{name} may send for {domain}."]
    else:
        said = to_publish(name, await _one(store, name, domain))
    return "\n".join([*said, no_key(domain)] if await unsigned(settings, store, [domain]) else said)


async def _verify(settings: Settings, store: Store, name: str, domain: str, vouch: str | None) -> bool:
    """Whether the domain may be used, after having said why."""
    account_id = (await find(store, name)).account.id
    known = await _one(store, name, domain)
    ring = await account_check.ring_of(settings, store)
    judged = await account_check.look_at(store, Resolver(settings), ring, account_id, known)
    for each in judged:
        account_check.show_judged(each)
    if vouch is not None:
        await refusable(store.domains.vouch(account_id, domain, by=operator(), reason=vouch))
    verified = (await _one(store, name, domain)).verified_at is not None
    if verified and is_fit(judged, proved=True):
        print(f"\n{name} may send for {domain}.")
    elif verified:
        print(f"\n{name} may send for {domain}; mend what is bad.")
    else:
        print(f"\n{name} may not send for {domain} yet.")
    return verified


async def _one(store: Store, name: str, domain: str) -> DomainDetails:
    details = await find(store, name)
    found = next((each for each in details.domains if each.domain == domain), None)
    if found is None:
        fail(f"{domain} is not a domain of {name}; `mta account domain add {name} {domain}` makes it one")
    return found
