"""``mta dkim``: DKIM keys, from the making to the retiring.

It must never print a private key, and never let a key sign while receivers cannot find its record, unless told to.

*Limits.* The DNS is asked through the configured resolvers; other parts of the world may still see an older record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Annotated, TypeVar

import typer

from config.schema import Settings
from mta.cli import dkim_keys, dkim_print
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption
from mta.dkim.keys import Algorithm
from mta.store.store import Store

T = TypeVar("T")

HELP = """DKIM keys: make, publish, check, activate, retire.

To replace a key without a gap:

1. mta dkim new example.com           makes a pending key; the old one still signs
2. publish the TXT record it prints
3. mta dkim check example.com         until the DNS shows it
4. mta dkim activate example.com NEW  from now on both sign
5. mta dkim retire example.com OLD    when NEW has proved itself
6. remove the record of OLD           once no queued mail carries its signatures

Keys may also live in files, named under `signing.keys` in the configuration; they are listed and checked here, too.
A domain without keys of its own is signed for by its nearest parent domain that has some.
"""

DomainArgument = Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain that signs (d=).")]
SelectorArgument = Annotated[str, typer.Argument(metavar="SELECTOR", help="The selector (s=).")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


class Which(Enum):
    """Keys to make."""

    RSA = "rsa"
    ED25519 = "ed25519"
    BOTH = "both"


def register(app: typer.Typer) -> None:
    group = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="markdown")
    for name, command in (
        ("new", new),
        ("check", check),
        ("activate", activate),
        ("retire", retire),
        ("list", list_),
        ("show", show),
    ):
        group.command(name)(command)
    app.add_typer(group, name="dkim")


def new(
    domain: DomainArgument,
    selector: Annotated[
        str | None, typer.Option(help="Its name in the DNS; made from algorithm and date if not given.")
    ] = None,
    algorithm: Annotated[
        Which,
        typer.Option(help="RSA (2048 bits) is verified everywhere; Ed25519 is shorter, but not everywhere known."),
    ] = Which.RSA,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a key (with `both`, two) in the database and print the DNS record to publish. It does not sign yet."""
    settings = load_settings(config)
    algorithms = [each for each in Algorithm if algorithm.value in (each.key_type, Which.BOTH.value)]
    made = _with_store(settings, lambda store: dkim_keys.make(settings, store.dkim_keys, domain, selector, algorithms))
    dkim_print.print_made(made, as_json=as_json)


def check(domain: DomainArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Compare the keys of DOMAIN with the DNS. Exit status 1 if signatures of one of them would not verify."""
    settings = load_settings(config)
    checked = _with_store(settings, lambda store: dkim_keys.check(settings, store.dkim_keys, domain))
    dkim_print.print_checked(checked, as_json=as_json)
    if any(each.fails for each in checked):
        raise typer.Exit(1)


def activate(
    domain: DomainArgument,
    selector: SelectorArgument,
    force: Annotated[bool, typer.Option("--force", help="Whatever the DNS says.")] = False,
    config: ConfigOption = None,
) -> None:
    """Let a key sign from now on, beside the others of DOMAIN, if the DNS has its record. Workers follow at once."""
    settings = load_settings(config)
    print(_with_store(settings, lambda s: dkim_keys.activate(settings, s.dkim_keys, domain, selector, force=force)))


def retire(
    domain: DomainArgument,
    selector: SelectorArgument,
    force: Annotated[bool, typer.Option("--force", help="Even if nothing signs for DOMAIN then.")] = False,
    config: ConfigOption = None,
) -> None:
    """Let a key sign no more. Its record must stay until no queued mail carries its signatures."""
    settings = load_settings(config)
    print(_with_store(settings, lambda s: dkim_keys.retire(settings, s.dkim_keys, domain, selector, force=force)))


def list_(
    domain: Annotated[str | None, typer.Argument(metavar="DOMAIN", help="Only keys of this domain.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the keys, in the database and in files."""
    settings = load_settings(config)
    dkim_print.print_list(
        _with_store(settings, lambda store: dkim_keys.find(settings, store.dkim_keys, domain)), as_json=as_json
    )


def show(
    domain: DomainArgument, selector: SelectorArgument, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show a key and the DNS record to publish for it."""
    settings = load_settings(config)
    listed = _with_store(settings, lambda store: dkim_keys.find_one(settings, store.dkim_keys, domain, selector))
    dkim_print.print_shown(listed, as_json=as_json)


def _with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """Each of these commands may be the first of all: keys live in files, too."""
    return with_store(settings, work, new=True)
