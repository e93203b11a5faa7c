"""``mta mailing``: dispatches, and somebody's word for each of them before it leaves.

It must never let a mailing go without the name of whoever says that it may.

*Limits.* A change reaches the workers within moments; what is being transmitted at that moment is not stopped.
"""

from __future__ import annotations

from typing import Annotated

import typer

from mta.cli import mailing_print, mailing_steps
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption, operator
from mta.cli.output import fail

WhichArgument = Annotated[
    str,
    typer.Argument(
        metavar="MAILING",
        help="Its id, its name, or a pasted header line: X-Mailing-ID, Feedback-ID, List-Unsubscribe, "
        "CFBL-Feedback-ID.",
    ),
]
AccountOption = Annotated[str | None, typer.Option("--account", "-a", help="Whose mailing, if the name is not enough.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who says so; else the user of this shell.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Mailings: one dispatch to one list about one topic, confirmed by somebody before it leaves.",
        no_args_is_help=True,
    )
    for name, command in (
        ("add", add),
        ("list", list_),
        ("show", show),
        ("confirm", confirm),
        ("release", release),
        ("stop", stop),
    ):
        group.command(name)(command)
    app.add_typer(group, name="mailing")


def add(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Who sends it.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The account's name for it; messages give it or the id.")],
    topic: Annotated[str, typer.Option(help="What it is about: recipients must have agreed to that.")],
    list_name: Annotated[str, typer.Option("--list", help="The list that it goes to.")],
    sample: Annotated[
        int | None,
        typer.Option(min=0, help="Only so many go out before `release`; 0: all. Else the profile says, for new lists."),
    ] = None,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a mailing. It leaves once it is confirmed."""
    settings = load_settings(config)
    wanted = mailing_steps.Wanted(account, name, topic, list_name, sample, by or operator())
    made = with_store(settings, lambda store: mailing_steps.add(settings, store, wanted))
    mailing_print.print_made(made, as_json=as_json)


def list_(
    account: Annotated[str | None, typer.Option("--account", "-a", help="Only those of this account.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the newest mailings."""
    listed = with_store(load_settings(config), lambda store: mailing_steps.find_all(store, account, limit))
    mailing_print.print_list(listed, as_json=as_json)


def show(
    which: WhichArgument,
    account: AccountOption = None,
    events: Annotated[int, typer.Option(min=0, max=100_000, help="The newest so many events.")] = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show everything of a mailing: account, list, who answered for it, permission, what became of its messages."""
    settings = load_settings(config)
    story = with_store(settings, lambda store: mailing_steps.story(settings, store, which, account, events))
    mailing_print.print_story(story, as_json=as_json)


def confirm(
    which: WhichArgument, account: AccountOption = None, by: ByOption = None, config: ConfigOption = None
) -> None:
    """Answer for this dispatch: it keeps to the rules, under the terms in force. What waits for that goes."""
    settings = load_settings(config)
    print(with_store(settings, lambda store: mailing_steps.confirm(settings, store, which, account, by or operator())))


def release(
    which: WhichArgument, account: AccountOption = None, by: ByOption = None, config: ConfigOption = None
) -> None:
    """Let the rest go, after a look at the sample, or after a stop. What is not confirmed stays."""
    settings = load_settings(config)
    print(with_store(settings, lambda store: mailing_steps.release(settings, store, which, account, by or operator())))


def stop(
    which: WhichArgument,
    reason: Annotated[str, typer.Option(help="Why; shown to whoever goes on sending it.")],
    bounce: Annotated[
        bool, typer.Option("--bounce/--hold", help="What is queued fails now, with notices; or waits for `release`.")
    ] = False,
    account: AccountOption = None,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Take no more of a mailing, and keep back what is queued of it."""
    if not reason.strip():
        fail("a stop needs a reason: --reason 'wrong price'", status=2)
    settings = load_settings(config)
    wanted = mailing_steps.Stop(reason.strip(), bounce, by or operator())
    print(with_store(settings, lambda store: mailing_steps.stop(settings, store, which, account, wanted)))
