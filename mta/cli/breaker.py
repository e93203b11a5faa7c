"""``mta breaker``: what holds mail because of what came back, and letting go of it.

It must never let go without the name of whoever says so, and why.

*Limits.* A cancellation reaches the workers within moments.
"""

from __future__ import annotations

from typing import Annotated

import typer

from mta.cli import breaker_steps
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption, operator
from mta.cli.output import fail

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As `mta breaker list` shows it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Breakers: mailings, and accounts at a provider, that wait because of complaints, bounces or rejections.",
        no_args_is_help=True,
    )
    for name, command in (("list", list_), ("show", show), ("cancel", cancel), ("trap", trap)):
        group.command(name)(command)
    app.add_typer(group, name="breaker")


def list_(
    every: Annotated[bool, typer.Option("--all", help="Those that were cancelled, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the breakers that are open, the newest first."""
    breaker_steps.print_list(
        with_store(load_settings(config), lambda store: breaker_steps.find_all(store, every, limit)), as_json=as_json
    )


def show(name: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one breaker: the figures, what waits for it, its case, and when it tripped before."""
    breaker_steps.print_one(
        with_store(load_settings(config), lambda store: breaker_steps.find(store, name)), as_json=as_json
    )


def cancel(
    name: NameArgument,
    because: Annotated[str, typer.Option("--because", help="Why the rest may go; kept in the account's history.")],
    by: Annotated[str | None, typer.Option("--by", help="Who says so; else the user of this shell.")] = None,
    config: ConfigOption = None,
) -> None:
    """Let go of what it holds. What was counted until now does not trip it again."""
    if not because.strip():
        fail("a cancellation needs a reason: --because 'the provider has lifted the block'", status=2)
    settings = load_settings(config)
    print(with_store(settings, lambda store: breaker_steps.cancel(store, name, by or operator(), because)))


def trap(
    message: Annotated[str, typer.Argument(metavar="ID", help="The message that hit it, as its X-MTA-ID or log says.")],
    config: ConfigOption = None,
) -> None:
    """Count a spam trap that a blocklist or provider has told us of."""
    print(with_store(load_settings(config), lambda store: breaker_steps.trap(store, message)))
