"""``mta account terms``, ``identity``, ``source`` and ``role``: what a reviewer goes by, and what was agreed.

It must never approve anything by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from mta.cli import account_print
from mta.cli.account_options import JsonOption, NameArgument, group
from mta.cli.account_steps import find, refusable
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption, operator
from mta.cli.output import fail
from mta.mail.address import Address, AddressError
from mta.store.accounts.account_copy import AccountDetails
from mta.store.store import Store
from policy.accounts.account import Identity

LanguageArgument = Annotated[str, typer.Argument(metavar="LANGUAGE", help="nl, de, fr, es or en.")]
ListArgument = Annotated[str, typer.Argument(metavar="LIST", help="The list's name.")]
RoleArgument = Annotated[str, typer.Argument(metavar="ADDRESS", help="Such as invoices@example.net.")]


def register(parent: typer.Typer) -> None:
    parent.command("terms")(terms)
    identities = group("Who stands behind an account, by language: what its imprint must show.")
    identities.command("set")(set_identity)
    identities.command("remove")(remove_identity)
    identities.command("list")(list_identities)
    sources = group("Where an account's lists come from, and who has approved of that.")
    sources.command("add")(add_source)
    sources.command("approve")(approve_source)
    sources.command("list")(list_sources)
    roles = group("Role addresses that may get an account's transactional mail all the same.")
    roles.command("add")(add_role)
    roles.command("remove")(remove_role)
    for name, part in (("identity", identities), ("source", sources), ("role", roles)):
        parent.add_typer(part, name=name)


def terms(
    name: NameArgument,
    person: Annotated[str, typer.Option("--by", metavar="PERSON", help="Who accepted them for the account.")],
    version: Annotated[str | None, typer.Option(help="The version; the one in force if not given.")] = None,
    config: ConfigOption = None,
) -> None:
    """Write down that somebody has accepted the terms and anti-spam rules for an account."""
    settings = load_settings(config)
    accepted = version or settings.policy.terms.version
    _do(
        config,
        name,
        lambda store, account_id: store.reviews.accept_terms(account_id, accepted, person=person, by=operator()),
    )
    print(f"Version {accepted} of the terms is accepted for {name}, by {person}.")
    if accepted != settings.policy.terms.version:
        print(f"Note that version {settings.policy.terms.version} is in force (policy.terms).")


def set_identity(
    name: NameArgument,
    language: LanguageArgument,
    names: Annotated[list[str], typer.Option("--name", help="Legal or trade name; any of several will do.")],
    street: Annotated[str, typer.Option(help="Street and number.")] = "",
    postcode: Annotated[str, typer.Option(help="Postal code.")] = "",
    city: Annotated[str, typer.Option(help="City.")] = "",
    country: Annotated[str, typer.Option(help="Country.")] = "",
    phone: Annotated[str, typer.Option(help="Telephone number.")] = "",
    email: Annotated[str, typer.Option(help="E-mail address.")] = "",
    register: Annotated[str, typer.Option(help="The register: KvK, HRB Aachen, Companies House.")] = "",
    number: Annotated[str, typer.Option(help="The number in it.")] = "",
    vat: Annotated[str, typer.Option(help="VAT id.")] = "",
    representative: Annotated[str, typer.Option(help="Who represents it.")] = "",
    config: ConfigOption = None,
) -> None:
    """Register the legal identity behind an account, in one language; replaces what was registered in that."""
    identity = Identity(
        language, tuple(names), street, postcode, city, country, phone, email, register, number, vat, representative
    )
    _do(config, name, lambda store, account_id: store.reviews.set_identity(account_id, identity, by=operator()))
    print(f"The identity of {name} in {language} is registered.")


def remove_identity(name: NameArgument, language: LanguageArgument, config: ConfigOption = None) -> None:
    """Forget an account's identity in one language."""
    _do(config, name, lambda store, account_id: store.reviews.remove_identity(account_id, language, by=operator()))
    print(f"The identity of {name} in {language} is removed.")


def list_identities(name: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show an account's identities."""
    account_print.print_identities(_details(config, name), as_json=as_json)


def add_source(
    name: NameArgument,
    list_name: ListArgument,
    origin: Annotated[str, typer.Option(help="Where its addresses come from, and how they agreed.")],
    config: ConfigOption = None,
) -> None:
    """Tell where a list comes from; told anew, it is to be approved anew."""
    _do(
        config,
        name,
        lambda store, account_id: store.reviews.add_source(account_id, list_name, origin, by=operator()),
    )
    print(f"The origin of {list_name} is written down, and waits for: mta account source approve {name} {list_name}")


def approve_source(name: NameArgument, list_name: ListArgument, config: ConfigOption = None) -> None:
    """Approve of where a list comes from."""
    _do(config, name, lambda store, account_id: store.reviews.approve_source(account_id, list_name, by=operator()))
    print(f"The origin of {list_name} is approved.")


def list_sources(name: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List where an account's lists come from."""
    account_print.print_sources(_details(config, name), as_json=as_json)


def add_role(name: NameArgument, address: RoleArgument, config: ConfigOption = None) -> None:
    """Let one role address get an account's transactional mail, as when a customer's invoices go there."""
    _change_roles(config, name, add=_address(address))
    print(f"{address} may get transactional mail of {name}.")


def remove_role(name: NameArgument, address: RoleArgument, config: ConfigOption = None) -> None:
    """Take that back."""
    _change_roles(config, name, remove=_address(address))
    print(f"{address} gets no mail of {name} any more, if it is a role address.")


def _change_roles(
    config: ConfigOption, name: str, *, add: Address | None = None, remove: Address | None = None
) -> None:
    async def work(store: Store) -> None:
        account = (await find(store, name)).account
        roles = {Address.parse(each).key: Address.parse(each) for each in account.role_exceptions}
        if remove and roles.pop(remove.key, None) is None:
            fail(f"{remove} is not among the role addresses of {name}")
        if add:
            roles[add.key] = add
        await refusable(store.reviews.set_roles(account.id, roles.values(), by=operator()))

    with_store(load_settings(config), work)


def _do(config: ConfigOption, name: str, change: Callable[[Store, int], Awaitable[object]]) -> None:
    async def work(store: Store) -> None:
        details = await find(store, name)
        await refusable(change(store, details.account.id))

    with_store(load_settings(config), work)


def _details(config: ConfigOption, name: str) -> AccountDetails:
    return with_store(load_settings(config), lambda store: find(store, name))


def _address(text: str) -> Address:
    """Else exit status 2."""
    try:
        return Address.parse(text)
    except AddressError as error:
        fail(f"{text!r}: {error}", status=2)
