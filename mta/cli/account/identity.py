"""``mta account terms``, ``identity``, ``source`` and ``role``: what a reviewer goes by, and what was agreed.

Invariants: nothing here approves anything by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.account.domains import day
from mta.cli.context import load_settings, with_admin, with_store
from mta.cli.options import (
    AccountArgument,
    AddressArgument,
    ConfigOption,
    DryRunOption,
    JsonOption,
    ReasonOption,
    YesOption,
    confirm,
    group,
    parse_address,
)
from mta.cli.output import Column, fail, print_details, print_json, print_table
from mta.mail.address import Address
from policy.accounts.account import Identity

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.accounts.account_cache import AccountDetails

LanguageArgument = Annotated[str, typer.Argument(metavar="LANGUAGE", help="nl, de, fr, es or en.")]
ListArgument = Annotated[str, typer.Argument(metavar="LIST", help="Name of the list.")]


def register(accounts: typer.Typer) -> None:
    accounts.command("terms")(terms)
    identities = group(
        "Legal identity behind an account, by language: what its imprint must show.",
        ("set", set_identity),
        ("remove", remove_identity),
        ("list", list_identities),
    )
    sources = group(
        "Where an account's lists come from, and who approved that.",
        ("add", add_source),
        ("approve", approve_source),
        ("list", list_sources),
    )
    roles = group(
        "Role addresses that may get an account's transactional mail.",
        ("add", add_role),
        ("remove", remove_role),
        ("list", list_roles),
    )
    for name, commands in (("identity", identities), ("source", sources), ("role", roles)):
        accounts.add_typer(commands, name=name)


def terms(
    name: AccountArgument,
    person: Annotated[str, typer.Option("--by", metavar="PERSON", help="Who accepted them for the account.")],
    version: Annotated[str | None, typer.Option(help="The version that was read; must be the one in force.")] = None,
    config: ConfigOption = None,
) -> None:
    """Record that a person has accepted the terms and anti-spam rules for an account."""
    from mta.admin.senders import accounts

    accepted = version or load_settings(config).policy.terms.version
    _change(config, lambda context: accounts.accept_terms(context, name, accepted, person=person))
    print(f"Version {accepted} of the terms accepted for {name} by {person}.")


def set_identity(
    name: AccountArgument,
    language: LanguageArgument,
    names: Annotated[list[str], typer.Option("--name", help="Legal or trade name; repeatable, any of them will do.")],
    street: Annotated[str, typer.Option(help="Street and number.")] = "",
    postcode: Annotated[str, typer.Option(help="Postal code.")] = "",
    city: Annotated[str, typer.Option(help="City.")] = "",
    country: Annotated[str, typer.Option(help="Country.")] = "",
    phone: Annotated[str, typer.Option(help="Telephone number.")] = "",
    email: Annotated[str, typer.Option(help="E-mail address.")] = "",
    register: Annotated[str, typer.Option(help="Company register: KvK, HRB Aachen, Companies House.")] = "",
    number: Annotated[str, typer.Option(help="Number in that register.")] = "",
    vat: Annotated[str, typer.Option(help="VAT ID.")] = "",
    representative: Annotated[str, typer.Option(help="Legal representative.")] = "",
    config: ConfigOption = None,
) -> None:
    """Register the legal identity behind an account in one language; replaces the previous one in that language."""
    from mta.admin.senders import accounts

    email = str(parse_address(email)) if email else ""
    identity = Identity(
        language, tuple(names), street, postcode, city, country, phone, email, register, number, vat, representative
    )
    _change(config, lambda context: accounts.set_identity(context, name, identity))
    print(f"Identity of {name} in {language} registered.")


def remove_identity(
    name: AccountArgument,
    language: LanguageArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Remove an account's identity in one language."""
    from mta.admin.senders import accounts

    if dry_run:
        if language not in {each.language for each in _details(config, name).account.identities}:
            fail(f"{name} has no identity in {language!r}")
        print(f"Identity of {name} in {language} would be removed.")
        return
    confirm(f"Remove the identity of {name} in {language}?", yes=yes)
    _change(config, lambda context: accounts.remove_identity(context, name, language, reason=reason))
    print(f"Identity of {name} in {language} removed.")


def list_identities(name: AccountArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show an account's identities."""
    identities = _details(config, name).account.identities
    if as_json:
        print_json(identities)
        return
    if not identities:
        print(f"No identity; register one with `mta account identity set {name}`.", file=sys.stderr)
    for each in identities:
        print_details(f"{each.language}:", ((key, said) for key, said in asdict(each).items() if key != "language"))


def add_source(
    name: AccountArgument,
    list_name: ListArgument,
    origin: Annotated[str, typer.Option(help="Where its addresses come from, and how they agreed.")],
    config: ConfigOption = None,
) -> None:
    """Record where a list comes from. Changing it requires a new approval."""
    from mta.admin.senders import accounts

    _change(config, lambda context: accounts.add_list(context, name, list_name, origin))
    print(f"Origin of {list_name} recorded; it waits for `mta account source approve {name} {list_name}`.")


def approve_source(name: AccountArgument, list_name: ListArgument, config: ConfigOption = None) -> None:
    """Approve where a list comes from."""
    from mta.admin.senders import accounts

    _change(config, lambda context: accounts.approve_list(context, name, list_name))
    print(f"Origin of {list_name} approved.")


def list_sources(name: AccountArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List where an account's lists come from."""
    sources = _details(config, name).sources
    if as_json:
        print_json(sources)
        return
    rows = [
        (each.name, each.origin, f"{day(each.approved_at)} by {each.approved_by}" if each.approved_by else "no")
        for each in sources
    ]
    empty = f"No lists; record one with `mta account source add {name} LIST --origin TEXT`."
    print_table((Column("list", whole=True), "origin", "approved"), rows, empty=empty)


def add_role(name: AccountArgument, address: AddressArgument, config: ConfigOption = None) -> None:
    """Allow transactional mail to one role address, for example where a customer's invoices go."""
    _change_roles(config, name, add=parse_address(address))
    print(f"Role address {address} allowed for transactional mail of {name}.")


def remove_role(
    name: AccountArgument,
    address: AddressArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Remove the exception for one role address."""
    parsed = parse_address(address)
    if dry_run:
        if parsed.key not in _details(config, name).account.role_exceptions:
            fail(f"{parsed} is not among the role addresses of {name}")
        print(f"Role address {parsed} of {name} would be removed.")
        return
    confirm(f"Remove {parsed} from {name}? Transactional mail to it is rejected.", yes=yes)
    _change_roles(config, name, remove=parsed, reason=reason)
    print(f"Role address {address} no longer allowed for {name}.")


def list_roles(name: AccountArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the role addresses that may get an account's transactional mail."""
    found = sorted(_details(config, name).account.role_exceptions)
    if as_json:
        print_json(found)
        return
    print_table((Column("address", whole=True),), [(each,) for each in found], empty="No role addresses.")


def _change_roles(
    config: Path | None, name: str, *, add: Address | None = None, remove: Address | None = None, reason: str = ""
) -> None:
    from mta.admin.senders import accounts

    async def change(context: AdminContext) -> None:
        account = (await context.account(name)).account
        roles = {Address.parse(each).key: Address.parse(each) for each in account.role_exceptions}
        if remove and roles.pop(remove.key, None) is None:
            fail(f"{remove} is not among the role addresses of {name}")
        if add:
            roles[add.key] = add
        await accounts.set_role_exceptions(context, name, list(roles.values()), reason=reason)

    _change(config, change)


def _change(config: Path | None, change: Callable[[AdminContext], Awaitable[object]]) -> None:
    with_admin(load_settings(config), change)


def _details(config: Path | None, name: str) -> AccountDetails:
    return with_store(load_settings(config), lambda store: store.accounts.find(name))
