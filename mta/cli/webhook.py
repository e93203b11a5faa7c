"""``mta webhook``: where an account's events go.

It must never show a secret but once, when it is made.

*Limits.* A change reaches whoever sends within a second; a request that is under way at that moment ends as it began.
"""

from __future__ import annotations

from typing import Annotated

import typer

from mta.cli import webhook_print, webhook_steps
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption, operator
from mta.cli.output import fail

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Whose events.")]
NumberArgument = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="Of the webhook, as `list` shows it.")]
AccountOption = Annotated[str | None, typer.Option("--account", "-a", help="Only those of this account.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who says so; else the user of this shell.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Webhooks: URLs that are told what becomes of an account's mail, in signed batches.", no_args_is_help=True
    )
    for name, command in (
        ("add", add),
        ("list", list_),
        ("show", show),
        ("test", try_),
        ("pause", pause),
        ("resume", resume),
        ("rotate", rotate),
        ("remove", remove),
    ):
        group.command(name)(command)
    app.add_typer(group, name="webhook")


def add(
    account: AccountArgument,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to, such as https://example.com/events.")],
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only events of this kind; may be repeated. Else all.")
    ] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Keep events, but send nothing before `resume`.")] = False,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a webhook for what happens from now on. Its secret is shown this once."""
    settings = load_settings(config)
    wanted = webhook_steps.Wanted(account, url, tuple(kind or ()), paused, by or operator())
    made = with_store(settings, lambda store: webhook_steps.add(settings, store, wanted))
    webhook_print.print_secret(made, as_json=as_json)


def list_(account: AccountOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List webhooks, with what waits for each."""
    found = with_store(load_settings(config), lambda store: webhook_steps.find_all(store, account))
    webhook_print.print_list(found, as_json=as_json)


def show(number: NumberArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show how far a webhook has come, and what went wrong last."""
    webhook_print.print_one(
        with_store(load_settings(config), lambda store: webhook_steps.find(store, number)), as_json=as_json
    )


def try_(number: NumberArgument, config: ConfigOption = None) -> None:
    """Send one signed event of the kind `test` from here, now; exit status 1 if it is not taken."""
    settings = load_settings(config)
    if why := with_store(settings, lambda store: webhook_steps.test(settings, store, number)):
        fail(f"webhook {number} did not take it: {why}")
    print(f"Webhook {number} took it.")


def pause(number: NumberArgument, by: ByOption = None, config: ConfigOption = None) -> None:
    """Send nothing until `resume`. Events are kept for it."""
    with_store(load_settings(config), lambda store: webhook_steps.pause(store, number, by or operator()))
    print(f"Webhook {number} is paused; its events are kept.")


def resume(number: NumberArgument, by: ByOption = None, config: ConfigOption = None) -> None:
    """Go on where it was, at once; also the way not to wait for the next try."""
    with_store(load_settings(config), lambda store: webhook_steps.resume(store, number, by or operator()))
    print(f"Webhook {number} goes on.")


def rotate(
    number: NumberArgument, by: ByOption = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Make a new secret, shown this once. For a day requests are signed with both."""
    made = with_store(load_settings(config), lambda store: webhook_steps.rotate(store, number, by or operator()))
    webhook_print.print_secret(made, as_json=as_json)


def remove(
    number: NumberArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove a webhook. What it has not taken is lost to it."""
    if not yes and not typer.confirm(f"Remove webhook {number}?"):
        fail("Nothing is changed.")
    with_store(load_settings(config), lambda store: webhook_steps.remove(store, number, by or operator()))
    print(f"Webhook {number} is removed.")
