"""``mta lint``: would this message be accepted, and if not, why? And: what would a changed profile change?

It must never send, queue or record anything.

*Limits.* Exit status 2 also stands for "cannot be judged": no such account, no database.
"""

from __future__ import annotations

from typing import Annotated

import typer

from mta.cli.options import ConfigOption
from mta.cli.output import fail

JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


def register(app: typer.Typer) -> None:
    app.command("lint")(lint)


def lint(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE.eml", help="The message as an application would submit it; - reads standard input."
        ),
    ] = None,
    account: Annotated[str | None, typer.Option("--account", "-a", help="Who would send it.")] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", "-r", help="To whom; may be repeated. Else the To field's one address."),
    ] = None,
    sender: Annotated[
        str | None, typer.Option("--sender", help="Envelope sender; else the From field's address.")
    ] = None,
    credential: Annotated[
        str | None, typer.Option("--credential", help="Judge what this user name may do, too.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Another profile than the account's: its name, or a file.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Judge recorded messages under --profile FILE: what would it change?")
    ] = False,
    last: Annotated[
        int, typer.Option("--last", min=1, max=1_000_000, help="With --replay: the newest so many.")
    ] = 1000,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Run the whole chain on a message without sending it. Exit status 0: it would be accepted, 1: refused, 2: the
    input cannot be read. With --replay, 1 if the changed profile would change what became of any message."""
    from mta.cli import lint_print, lint_steps
    from mta.cli.context import load_settings, with_store

    settings = load_settings(config)
    try:
        profiles = lint_steps.profiles_with(settings, profile)
    except lint_steps.CannotLint as error:
        fail(str(error), status=2)
    if replay:
        from mta.cli import replay_print, replay_steps

        if file or recipient or sender or credential or not profile:
            fail("mta lint --replay takes --profile FILE, --last and --account, and nothing else", status=2)
        replayed = with_store(
            settings, lambda store: replay_steps.replay(store, settings, profiles, account, last), status=2
        )
        replay_print.show(replayed, as_json=as_json)
        raise typer.Exit(1 if any(each.changed for each in replayed) else 0)
    if file is None or account is None:
        fail("mta lint needs a file and --account", status=2)
    try:
        subject = lint_steps.read(file, recipient or [], sender)
    except lint_steps.CannotLint as error:
        fail(str(error), status=2)
    linted = with_store(
        settings, lambda store: lint_steps.lint(store, settings, profiles, subject, account, credential), status=2
    )
    lint_print.show(linted, subject, as_json=as_json)
    raise typer.Exit(1 if linted.refusal else 0)
