"""``mta queue retry``, ``hold``, ``release`` and ``bounce``.

Invariants: a change never means the whole queue unless --all is given, and the number of recipients is shown before it
is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import AccountOption, ConfigOption, DryRunOption, JsonOption, YesOption, confirm
from mta.cli.output import print_json
from mta.cli.queue.selection import (
    DestinationOption,
    HeldByOption,
    IdsArgument,
    MailingOption,
    OlderThanOption,
    QueueSelection,
    RecipientOption,
    ReplyOption,
    SenderOption,
    StateOption,
    StreamOption,
    TopicOption,
)

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.admin.queue import QueueChanged
    from mta.store.queue.holds import QueueChange


@dataclass(frozen=True, slots=True)
class QueueCommand:
    """One of the four changes (``mta.admin.queue.QueueAction``). ``note``: what it does not do."""

    name: str
    help: str
    result: str
    note: str = ""


COMMANDS = (
    QueueCommand(
        "retry", "Make deferred recipients due now, and end the backoffs of their sites in all workers.", "due now"
    ),
    QueueCommand(
        "hold",
        "Hold recipients that are queued now until they are released; what expires meanwhile fails.",
        "held",
        "Mail that is accepted from now on is not held: suspend the account, stop the mailing, or hold again.",
    ),
    QueueCommand(
        "release",
        "End holds by operators and for review, or those by --held-by; what has no other hold is due now.",
        "released",
    ),
    QueueCommand("bounce", "Give up now: recipients fail, and senders get a DSN if they want one.", "bounced"),
)


def register(commands: typer.Typer) -> None:
    for each in COMMANDS:
        commands.command(each.name, help=each.help)(_command(each))


def _command(change: QueueCommand) -> Callable[..., None]:
    """Return the command for one change; they differ only in what is done."""

    def run(
        ids: IdsArgument = None,
        destination: DestinationOption = None,
        account: AccountOption = None,
        stream: StreamOption = None,
        topic: TopicOption = None,
        mailing: MailingOption = None,
        sender: SenderOption = None,
        recipient: RecipientOption = None,
        state: StateOption = None,
        older_than: OlderThanOption = None,
        reply: ReplyOption = None,
        held_by: HeldByOption = None,
        everything: Annotated[bool, typer.Option("--all", help="The whole queue.")] = False,
        reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept with each message.")] = "",
        dry_run: DryRunOption = False,
        yes: YesOption = False,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> None:
        from mta.admin import queue
        from mta.admin.queue import QueueAction

        selection = QueueSelection(
            ids or (), destination, account, stream, topic, mailing, sender, recipient, state, older_than, reply,
            held_by,
        )  # fmt: skip
        settings = load_settings(config)

        async def make(context: AdminContext, *, count: bool) -> QueueChanged:
            which = await selection.chosen(context)
            return await queue.change(
                context,
                QueueAction(change.name),
                which,
                everything=everything,
                reason=reason,
                dry_run=count,
            )

        if dry_run or not yes:
            meant = with_admin(settings, lambda context: make(context, count=True)).change
            if dry_run or not meant.recipients:
                _print(change, meant, made=False, as_json=as_json)
                return
            confirm(f"{_count(meant)} will be {change.result}. Continue?", yes=yes)
        done = with_admin(settings, lambda context: make(context, count=False))
        _print(
            change, done.change, made=True, as_json=as_json, backoffs=done.backoffs if change.name == "retry" else None
        )

    return run


def _print(
    change: QueueCommand, changed: QueueChange, *, made: bool, as_json: bool, backoffs: int | None = None
) -> None:
    """``backoffs``: how many were ended; None: that is not what this change does."""
    if as_json:
        ended = {} if backoffs is None else {"backoffs_ended": backoffs}
        print_json({"change": change.name, "made": made, "changed": changed, **ended})
        return
    print(f"{_count(changed)} {'' if made else 'would be '}{change.result}.")
    if backoffs is not None:
        print("1 backoff ended." if backoffs == 1 else f"{backoffs} backoffs ended.")
    if made and change.note:
        print(change.note)
    if changed.still_held:
        print(f"{changed.still_held} of them have other holds and are not sent before these end.")
    if changed.leased:
        print(f"{changed.leased} of them are leased: a delivery attempt in progress is not stopped.")


def _count(changed: QueueChange) -> str:
    return "1 recipient" if changed.recipients == 1 else f"{changed.recipients} recipients"
