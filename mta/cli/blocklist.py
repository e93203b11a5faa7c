"""``mta blocklist``: what blocklists say of our addresses and sender domains.

It must never change what is known: that is the service's, which looks twice.
"""

from __future__ import annotations

from typing import Annotated

import typer

from mta.cli import blocklist_steps
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption

JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Blocklists: what those that are configured say of our addresses and domains.", no_args_is_help=True
    )
    group.command("list")(list_)
    group.command("check")(check)
    app.add_typer(group, name="blocklist")


def list_(
    every: Annotated[bool, typer.Option("--all", help="Listings that have ended, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List what was found by the running service, the newest first."""
    found = with_store(load_settings(config), lambda store: store.blocklist_listings.find(ended=every, limit=limit))
    blocklist_steps.print_listings(found, as_json=as_json)


def check(
    subject: Annotated[
        list[str] | None, typer.Argument(metavar="[ADDRESS|DOMAIN]...", help="Else all that is watched.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Ask all configured lists now. Exit status 1 if anything is listed, or a list is not to be believed."""
    settings = load_settings(config)
    checked = with_store(settings, lambda store: blocklist_steps.check(settings, store, subject or []))
    blocklist_steps.print_checked(checked, as_json=as_json)
    if any(each.is_bad for each in checked):
        raise typer.Exit(1)
