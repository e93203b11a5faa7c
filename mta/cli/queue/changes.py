"""``mta queue retry``, ``hold``, ``release`` and ``bounce``.

Invariants: a change never means the whole queue unless --all is given, and the number of recipients is shown before it
is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mta.admin.backoffs import end as end_backoffs
from mta.cli.context import load_settings, with_store
from mta.cli.options import AccountOption, ConfigOption, DryRunOption, JsonOption, YesOption, confirm, operator
from mta.cli.output import fail, print_json
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
    from mta.store.queue.holds import QueueChange
    from mta.store.queue.queue import Queue, QueueFilter
    from mta.store.store import Store


@dataclass(frozen=True, slots=True)
class QueueCommand:
    """One of the four changes. ``make(queue, filter, reason, dry_run)``. ``note``: what it does not do."""

    name: str
    help: str
    result: str
    make: Callable[[Queue, QueueFilter, str, bool], Awaitable[QueueChange]]
    note: str = ""


COMMANDS = (
    QueueCommand(
        "retry",
        "Make deferred recipients due now, and end the backoffs of their sites in all workers.",
        "due now",
        lambda queue, which, _, dry_run: queue.retry(which, dry_run=dry_run),
    ),
    QueueCommand(
        "hold",
        "Hold recipients that are queued now until they are released; what expires meanwhile fails.",
        "held",
        lambda queue, which, reason, dry_run: queue.hold(which, reason, dry_run=dry_run),
        "Mail that is accepted from now on is not held: suspend the account, stop the mailing, or hold again.",
    ),
    QueueCommand(
        "release",
        "End holds by operators and for review, or those by --held-by; what has no other hold is due now.",
        "released",
        lambda queue, which, reason, dry_run: queue.release(which, reason, dry_run=dry_run),
    ),
    QueueCommand(
        "bounce",
        "Give up now: recipients fail, and senders get a DSN if they want one.",
        "bounced",
        lambda queue, which, reason, dry_run: queue.bounce(which, reason, dry_run=dry_run),
    ),
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
        from mta.store.queue.holds import QueueChange
        from mta.store.queue.queue import QueueFilter

        selection = QueueSelection(
            ids or (), destination, account, stream, topic, mailing, sender, recipient, state, older_than, reply,
            held_by,
        )  # fmt: skip
        why, settings = f"{reason or 'by hand'} ({operator()})", load_settings(config)
        backoffs: int | None = None

        async def make(store: Store, *, count: bool) -> QueueChange:
            nonlocal backoffs
            filters = await selection.filters(store)
            if filters == [QueueFilter()] and not everything:
                fail("no recipients selected: give an ID, --destination, --account, ... or --all", status=2)
            if change.name == "retry" and not count:  # first: what is due is claimed at once
                backoffs = await end_backoffs(settings, store, filters)
            parts = [await change.make(store.queue, each, why, count) for each in filters]
            return QueueChange(*(sum(column) for column in zip(*map(astuple, parts), strict=True)))

        if dry_run or not yes:
            meant = with_store(settings, lambda store: make(store, count=True))
            if dry_run or not meant.recipients:
                _print(change, meant, made=False, as_json=as_json)
                return
            confirm(f"{_count(meant)} will be {change.result}. Continue?", yes=yes)
        changed = with_store(settings, lambda store: make(store, count=False))
        _print(change, changed, made=True, as_json=as_json, backoffs=backoffs)

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
