"""``mta dkim``: DKIM keys, from creation to retirement.

Invariants: no private key is printed. A key's state changes only after a look: an activation asks the DNS first, a
retirement whether another key is left that signs; --force skips both.

Limitations: the configured resolvers are asked; other parts of the world may still see an older record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from mta.admin.context import AdminContext
from mta.admin.errors import Refused
from mta.admin.senders import keys
from mta.admin.senders.keys import CheckedKey
from mta.cli.context import load_settings, with_admin
from mta.cli.options import (
    ConfigOption,
    JsonOption,
    group,
    parse_domain,
)
from mta.cli.output import Column, Styled, fail, minute, print_json, print_lines, print_table
from mta.cli.service import dkim_records
from mta.delivery.mx import Resolver
from mta.dkim.keys import Algorithm
from mta.dkim.records import record_name
from mta.store.accounts.dkim_keys import KeyState

T = TypeVar("T")

HELP = """DKIM keys: create, publish, check, activate, retire.

To replace a key without a gap:

1. mta dkim new example.com           creates a pending key; the old one still signs
2. publish the TXT record it prints
3. mta dkim check example.com         until the DNS shows it
4. mta dkim activate example.com NEW  from now on both sign
5. mta dkim retire example.com OLD    when NEW has proved itself
6. remove the record of OLD           once no queued mail carries its signatures

Keys may also be kept in files, named under `signing.keys` in the configuration; they are listed and checked here, too.
A domain without keys of its own is signed for by its nearest parent domain that has some.
"""

DomainArgument = Annotated[str, typer.Argument(metavar="DOMAIN", help="The signing domain (d=).")]
SelectorArgument = Annotated[str, typer.Argument(metavar="SELECTOR", help="The selector (s=).")]

_STYLES = {KeyState.PENDING: "yellow", KeyState.ACTIVE: "green", KeyState.RETIRED: "dim"}


class NewKeys(Enum):
    """Keys to create."""

    RSA = "rsa"
    ED25519 = "ed25519"
    BOTH = "both"


def register(app: typer.Typer) -> None:
    commands = group(
        HELP,
        ("new", new),
        ("check", check),
        ("activate", activate),
        ("retire", retire),
        ("list", list_),
        ("show", show),
    )
    app.add_typer(commands, name="dkim")


def new(
    domain: DomainArgument,
    selector: Annotated[
        str | None, typer.Option(help="Its name in the DNS; default: made from algorithm and date.")
    ] = None,
    algorithm: Annotated[
        NewKeys, typer.Option(help="RSA (2048 bits) is verified everywhere; Ed25519 is shorter, but less supported.")
    ] = NewKeys.RSA,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Create a key (with `both`, two) in the database and print the DNS record to publish. It does not sign yet."""
    algorithms = [each for each in Algorithm if algorithm.value in (each.key_type, NewKeys.BOTH.value)]
    made = _run(config, lambda context: keys.create(context, parse_domain(domain), algorithms, selector))
    if as_json:
        print_json([dkim_records.fields(each) for each in made])
        return
    for each in made:
        print(f"Key {each.key.selector} created for {each.key.domain} ({dkim_records.kind(each)}), pending.\n")
        dkim_records.print_record(each)
    name = made[0].key.domain
    print("Publish the record, then:" if len(made) == 1 else "Publish the records, then:")
    print(f"  mta dkim check {name}")
    for each in made:
        print(f"  mta dkim activate {name} {each.key.selector}")


def check(domain: DomainArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Compare the keys of DOMAIN with the DNS. Exit status 1 if signatures of one of them would not verify."""

    async def work(context: AdminContext) -> list[CheckedKey]:
        listed = await keys.list_all(context, parse_domain(domain))
        if not listed:
            fail(f"there is no key of {domain}; create one with `mta dkim new {domain}`")
        resolver = Resolver(context.settings)
        return [await keys.examine(each, resolver) for each in listed]

    checked = _run(config, work)
    if as_json:
        print_json([dkim_records.fields(each.listed) | dkim_records.verdict(each) for each in checked])
    for each in () if as_json else checked:
        title = f"{record_name(each.listed.key)} ({dkim_records.kind(each.listed)}, {each.listed.state.value})"
        print_lines([(title, ""), *dkim_records.findings(each)])
    if any(each.fails for each in checked):
        raise typer.Exit(1)


def activate(
    domain: DomainArgument,
    selector: SelectorArgument,
    force: Annotated[bool, typer.Option("--force", help="Whatever the DNS says.")] = False,
    config: ConfigOption = None,
) -> None:
    """Let a key sign from now on, beside the others of DOMAIN, if the DNS has its record. Workers follow at once."""

    async def work(context: AdminContext) -> str:
        listed = await keys.find(context, parse_domain(domain), selector)
        if listed.signs and not listed.in_file:
            return f"Key {listed.key.selector} of {listed.key.domain} is already active."
        try:
            listed = await keys.activate(context, parse_domain(domain), selector, force=force)
        except Refused as error:
            fail(f"{error}; --force activates it all the same." if "stays" in str(error) else str(error))
        others = [each.key.selector for each in await keys.others_that_sign(context, listed)]
        beside = f", beside {', '.join(others)}" if others else ""
        return f"Key {listed.key.selector} active for {listed.key.domain}{beside}."

    print(_run(config, work))


def retire(
    domain: DomainArgument,
    selector: SelectorArgument,
    force: Annotated[bool, typer.Option("--force", help="Even if no key signs for DOMAIN then.")] = False,
    config: ConfigOption = None,
) -> None:
    """Stop signing with a key. Its record must stay until no queued mail carries its signatures."""

    async def work(context: AdminContext) -> str:
        listed = await keys.find(context, parse_domain(domain), selector)
        key = listed.key
        if listed.state is KeyState.RETIRED:
            return f"Key {key.selector} of {key.domain} is already retired."
        try:
            await keys.retire(context, parse_domain(domain), selector, force=force)
        except Refused as error:
            fail(f"{error}, or use --force" if "last active" in str(error) else str(error))
        return (
            f"Key {key.selector} of {key.domain} retired. Queued mail may still carry its signatures: "
            f"leave {record_name(key)} in the DNS for {context.settings.queue.expire_after / 86400:g} days, "
            "then remove it."
        )

    print(_run(config, work))


def list_(
    domain: Annotated[str | None, typer.Argument(metavar="DOMAIN", help="Only keys of this domain.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the keys, in the database and in files."""
    wanted = parse_domain(domain) if domain is not None else None
    found = _run(config, lambda context: keys.list_all(context, wanted))
    if as_json:
        print_json([dkim_records.fields(each) for each in found])
        return
    columns = (
        Column("domain", whole=True),
        Column("selector", whole=True),
        "key",
        "state",
        "since",
        Column("kept in", optional=True),
    )
    rows = [
        (
            each.key.domain,
            each.key.selector,
            dkim_records.kind(each),
            Styled(each.state.value, _STYLES[each.state]),
            minute(each.since),
            each.key.source,
        )
        for each in found
    ]
    print_table(columns, rows, empty="No keys; create one with `mta dkim new DOMAIN`.")
    for each in found:
        if each.signs and (warning := each.key.warning()):
            print(warning)


def show(
    domain: DomainArgument, selector: SelectorArgument, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show a key and the DNS record to publish for it."""
    listed = _run(config, lambda context: keys.find(context, parse_domain(domain), selector))
    if as_json:
        print_json(dkim_records.fields(listed))
        return
    since = f"since {minute(listed.since)} UTC" if listed.since else f"in the file {listed.key.source}"
    print(f"{listed.key.selector} of {listed.key.domain}: {dkim_records.kind(listed)}, {listed.state.value}, {since}\n")
    dkim_records.print_record(listed)
    if warning := listed.key.warning():
        print(warning)


def _run(config: Path | None, work: Callable[[AdminContext], Awaitable[T]]) -> T:
    """Return what ``work`` returns; each of these commands may be the first of all: keys are kept in files, too."""
    return with_admin(load_settings(config), work, new=True)
