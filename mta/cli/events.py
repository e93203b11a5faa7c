"""``mta events``: what an account is told, as lines of JSON; and telling a webhook again.

It must never change anything but where a webhook continues, and that only backwards.

*Limits.* Events are kept for accounts with a webhook only (one that is paused will do), for as long as ``retention``
says.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from mta.cli import events_steps
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption, operator

FROM = "An event's id; or a time: 2026-03-01T12:00 (UTC), or 2h, which is so long ago."


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Events of an account, as its webhooks get them.", no_args_is_help=True)
    for name, command in (("list", list_), ("replay", replay)):
        group.command(name)(command)
    app.add_typer(group, name="events")


def list_(
    account: Annotated[str, typer.Option("--account", "-a", help="Whose events.")],
    start: Annotated[str | None, typer.Option("--from", metavar="ID|TIME", help=f"{FROM} Else all there are.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only of this kind; may be repeated.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, as webhooks get them.")] = False,
    config: ConfigOption = None,
) -> None:
    """Print an account's events in order."""
    settings = load_settings(config)
    wanted = events_steps.Wanted(account, start, tuple(kind or ()), follow, as_json)
    with suppress(KeyboardInterrupt, BrokenPipeError):
        with_store(settings, lambda store: events_steps.show(store, wanted))


def replay(
    webhook: Annotated[int, typer.Option("--webhook", min=1, help="Its number, as `mta webhook list` shows it.")],
    start: Annotated[str, typer.Option("--from", metavar="ID|TIME", help=f"{FROM} The event itself is included.")],
    by: Annotated[str | None, typer.Option("--by", help="Who says so; else the user of this shell.")] = None,
    config: ConfigOption = None,
) -> None:
    """Send a webhook everything from an event on again, with the same ids."""
    told = with_store(load_settings(config), lambda store: events_steps.replay(store, webhook, start, by or operator()))
    print(told)
