"""``mta suppress``: who must not be mailed.

It must never lift a suppression without a reason, nor use half of a list that has mistakes unless told to.

*Limits.* A suppression holds for one account or for everybody, and for all mail, all marketing or one topic of it;
there is nothing between.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from mta.cli import suppress_csv, suppress_print, suppress_steps
from mta.cli.context import load, with_store
from mta.cli.options import ConfigOption, fail
from policy.permission.suppression import Reason

AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS", help="Such as ann@example.com.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
ScopeOption = Annotated[str | None, typer.Option("--account", help="Only for this account; else for everybody.")]

TopicOption = Annotated[str, typer.Option("--topic", help="Only marketing about this topic, `*`: all marketing.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Suppressions: who must not be mailed, by one account or by anybody. They are asked before a message is "
        "taken and before each attempt; adding one takes queued copies out.",
        no_args_is_help=True,
    )
    for name, command in (
        ("list", list_),
        ("show", show),
        ("add", add),
        ("remove", remove),
        ("import", import_),
        ("export", export),
    ):
        group.command(name)(command)
    app.add_typer(group, name="suppress")


def list_(
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Only those that hold for everybody.")] = False,
    reason: Annotated[Reason | None, typer.Option("--as", help="Only those with this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the newest suppressions. `mta suppress export` writes them all."""
    if account and everybody:
        fail("--account and --everybody exclude each other", status=2)
    listed = with_store(
        load(config),
        lambda store: suppress_steps.find_all(store, account, everybody=everybody, limit=limit, reason=reason),
    )
    suppress_print.print_list(listed, limit=limit, as_json=as_json)


def show(address: AddressArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show why an address is suppressed, for whom, since when. Exit status 1 if it is not."""
    listed = with_store(load(config), lambda store: suppress_steps.find(store, address))
    suppress_print.print_shown(address, listed, as_json=as_json)
    if not listed.recorded:
        raise typer.Exit(1)


def add(
    address: AddressArgument,
    reason: Annotated[str, typer.Option(help="Why, in words; shown to senders.")] = "suppressed by the operator",
    kind: Annotated[
        Reason, typer.Option("--as", help="What it is; an unsubscription, objection or complaint ends consents too.")
    ] = Reason.MANUAL,
    account: ScopeOption = None,
    topic: TopicOption = "",
    days: Annotated[int | None, typer.Option("--for", min=1, help="Days after which it ends; else never.")] = None,
    config: ConfigOption = None,
) -> None:
    """Suppress an address, and take queued copies to it out."""
    until = datetime.now(UTC) + timedelta(days=days) if days else None
    print(
        with_store(
            load(config),
            lambda store: suppress_steps.add(store, address, account, kind, reason, topic, until),
            new=True,
        )
    )


def remove(
    address: AddressArgument,
    reason: Annotated[str, typer.Option(help="Why it may be mailed again; kept as evidence.")],
    account: ScopeOption = None,
    topic: TopicOption = "",
    config: ConfigOption = None,
) -> None:
    """Lift a suppression, for one account or that for everybody. The removal is recorded. The account's profile may
    keep what a person has said for good."""
    settings = load(config)
    print(with_store(settings, lambda store: suppress_steps.remove(store, settings, address, account, reason, topic)))


def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.csv", help="Columns: address, account, topic, reason, detail, until; or one."),
    ],
    account: Annotated[
        str | None, typer.Option(help="For lines that name no account; else those hold for everybody.")
    ] = None,
    reason: Annotated[str, typer.Option(help="For lines without a reason.")] = "imported",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Use the good lines of a file with bad ones.")] = False,
    config: ConfigOption = None,
) -> None:
    """Suppress every address of a CSV file. A file with mistakes is refused whole, with the numbers of its bad lines.

    The first line may name the columns; without that, the first column is the address. Addresses that are suppressed
    already keep the stronger reason, so a file may be imported again; one that was cut off goes on where it stopped.
    """
    try:
        entries, mistakes = suppress_csv.read(file, reason)
        digest = suppress_csv.digest(file, reason, account)
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}", status=2)
    settings = load(config)
    with_store(
        settings,
        lambda store: suppress_steps.import_all(store, file, digest, entries, mistakes, account, skip_bad=skip_bad),
        new=True,
    )


def export(
    file: Annotated[Path | None, typer.Argument(metavar="FILE.csv", help="Standard output if not given.")] = None,
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    config: ConfigOption = None,
) -> None:
    """Write suppressions as CSV, in a form that `import` reads."""
    listed = with_store(load(config), lambda store: suppress_steps.find_all(store, account, everybody=False))
    if file is None:
        suppress_csv.write(sys.stdout, listed.suppressions, listed.accounts)
        return
    try:
        with open(file, "w", encoding="utf-8", newline="") as opened:
            count = suppress_csv.write(opened, listed.suppressions, listed.accounts)
    except OSError as error:
        fail(f"{file}: cannot be written: {error.strerror}", status=2)
    print(f"{count} suppressions written to {file}.")
