"""``mta queue``: what waits, where and why; and to retry, hold, release or bounce it.

It must never change anything that was not asked for: no condition means nothing, not everything, and every change
says how many recipients it concerns before it is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption, operator
from mta.cli.output import fail
from mta.cli.queue_choice import Choice, UnclearError
from mta.cli.queue_print import print_json, print_list, print_message, print_summary
from mta.mail.address import AddressError
from mta.mail.hold import HoldSource
from mta.mail.identity import parse_id
from mta.mail.message import Stream
from mta.observe.labels import QueueState
from mta.store.accounts.accounts import AccountError
from mta.store.queue.holds import QueueChange
from mta.store.queue.queue import By, Group, Queue, QueueEntry, QueueFilter
from mta.store.store import Store

T = TypeVar("T")

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Messages, by id.")]
Destination = Annotated[str | None, typer.Option(help="The recipients' domain.")]
Account = Annotated[str | None, typer.Option(help="Name of the account.")]
InStream = Annotated[Stream | None, typer.Option("--stream", help="What the mail is for.")]
Topic = Annotated[str | None, typer.Option(help="What marketing mail is about.")]
Mailing = Annotated[str | None, typer.Option(help="Id of the mailing, or the account's name for it.")]
Sender = Annotated[str | None, typer.Option(help="Envelope sender; `<>` for notices.")]
Recipient = Annotated[str | None, typer.Option(help="The recipient's address.")]
State = Annotated[QueueState | None, typer.Option(help="`leased` ones are in a worker's hands.")]
OlderThan = Annotated[str | None, typer.Option(help="Accepted so long ago or longer: 90s, 15m, 2h, 5d.")]
Reply = Annotated[str | None, typer.Option(help="Part of the last reply.")]
HeldBy = Annotated[HoldSource | None, typer.Option(help="What holds it, perhaps among others.")]
Everything = Annotated[bool, typer.Option("--all", help="The whole queue.")]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many lines.")]


@dataclass(frozen=True, slots=True)
class Change:
    """One of the four changes. ``make(queue, filter, reason, dry_run)``."""

    name: str
    help: str
    result: str
    make: Callable[[Queue, QueueFilter, str, bool], Awaitable[QueueChange]]


CHANGES = (
    Change(
        "retry",
        "Try now what waits for its next attempt.",
        "due now",
        lambda queue, which, _, dry_run: queue.retry(which, dry_run=dry_run),
    ),
    Change(
        "hold",
        "Keep back until released; what expires meanwhile fails.",
        "held",
        lambda queue, which, reason, dry_run: queue.hold(which, reason, dry_run=dry_run),
    ),
    Change(
        "release",
        "End holds by operators and for review, or those by --held-by; what has no other hold is due now.",
        "released",
        lambda queue, which, reason, dry_run: queue.release(which, reason, dry_run=dry_run),
    ),
    Change(
        "bounce",
        "Give up now: it fails, and senders who want notices get one.",
        "failed",
        lambda queue, which, reason, dry_run: queue.bounce(which, reason, dry_run=dry_run),
    ),
)


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What waits, where and why; retry, hold, release or bounce it.")
    group.callback(invoke_without_command=True)(summary)
    group.command("list")(list_)
    group.command("show")(show)
    for change in CHANGES:
        group.command(change.name, help=change.help)(_command(change))
    app.add_typer(group, name="queue")


def summary(
    context: typer.Context,
    by: Annotated[By, typer.Option(help="What to count by.")] = By.DESTINATION,
    limit: Limit = 20,
    as_json: Json = False,
    config: ConfigOption = None,
) -> None:
    """What waits, where and why; retry, hold, release or bounce it. Without a command: counts."""
    if context.invoked_subcommand:
        return

    async def ask(store: Store) -> tuple[Sequence[Group], Sequence[Group], float]:
        groups, states = await store.queue.summary(by, limit=limit), await store.queue.summary(By.STATE)
        return groups, states, await store.queue.oldest_unexpired_age()

    groups, states, oldest = with_store(load_settings(config), ask)
    if as_json:
        print_json({"by": by, "groups": groups, "states": states, "oldest_seconds": oldest})
    else:
        print_summary(by, groups, states, oldest)


def list_(
    ids: Ids = None,
    destination: Destination = None,
    account: Account = None,
    stream: InStream = None,
    topic: Topic = None,
    mailing: Mailing = None,
    sender: Sender = None,
    recipient: Recipient = None,
    state: State = None,
    older_than: OlderThan = None,
    reply: Reply = None,
    held_by: HeldBy = None,
    limit: Limit = 100,
    as_json: Json = False,
    config: ConfigOption = None,
) -> None:
    """Queued recipients, the oldest message first."""
    choice = Choice(
        ids=tuple(ids or ()), destination=destination, account=account, stream=stream, topic=topic, mailing=mailing,
        sender=sender, recipient=recipient, state=state, older_than=older_than, reply=reply, held_by=held_by,
        everything=True,
    )  # fmt: skip

    async def ask(store: Store) -> list[QueueEntry]:
        filters = await choice.filters(store.accounts, datetime.now(UTC))
        rows = [row for which in filters for row in await store.queue.list(which, limit=limit)]
        return rows[:limit]

    rows = _with_store(config, ask)
    if as_json:
        print_json(rows)
    else:
        print_list(rows, limit)


def show(
    message: Annotated[str, typer.Argument(metavar="ID", help="The message.")],
    as_json: Json = False,
    config: ConfigOption = None,
) -> None:
    """Everything about the recipients of one message that are still queued. Its past: `mta explain`."""

    async def ask(store: Store) -> Sequence[QueueEntry]:
        try:
            wanted = parse_id(message)
        except ValueError as error:
            raise UnclearError(str(error)) from None
        return await store.queue.show(wanted)

    rows = _with_store(config, ask)
    if not rows:
        fail(f"nothing of {message} is queued; what became of it: mta explain {message}")
    if as_json:
        print_json(rows)
    else:
        print_message(rows)


def _command(change: Change) -> Callable[..., None]:
    """The command for one change: they differ in nothing but what is done."""

    def run(
        ids: Ids = None,
        destination: Destination = None,
        account: Account = None,
        stream: InStream = None,
        topic: Topic = None,
        mailing: Mailing = None,
        sender: Sender = None,
        recipient: Recipient = None,
        state: State = None,
        older_than: OlderThan = None,
        reply: Reply = None,
        held_by: HeldBy = None,
        everything: Everything = False,
        reason: Annotated[str, typer.Option(help="Why; kept with each message.")] = "",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        as_json: Json = False,
        config: ConfigOption = None,
    ) -> None:
        choice = Choice(
            ids=tuple(ids or ()), destination=destination, account=account, stream=stream, topic=topic, mailing=mailing,
            sender=sender, recipient=recipient, state=state, older_than=older_than, reply=reply, everything=everything,
        )  # fmt: skip
        why = f"{reason or 'by hand'} ({operator()})"
        _change(change, choice, why, dry_run=dry_run, ask=not yes, as_json=as_json, config=config)

    return run


def _change(
    change: Change, choice: Choice, why: str, *, dry_run: bool, ask: bool, as_json: bool, config: Path | None
) -> None:
    """Count, ask, and make the change."""

    async def make(store: Store, *, only_count: bool) -> QueueChange:
        filters = await choice.filters(store.accounts, datetime.now(UTC))
        parts = [await change.make(store.queue, which, why, only_count) for which in filters]
        return QueueChange(*(sum(column) for column in zip(*map(astuple, parts), strict=True)))

    if dry_run or ask:
        meant = _with_store(config, lambda store: make(store, only_count=True))
        if dry_run or not meant.recipients:
            return _tell(change, meant, made=False, as_json=as_json)
        typer.confirm(f"{_count(meant)} will be {change.result}. Go on?", abort=True, err=True)
    changed = _with_store(config, lambda store: make(store, only_count=False))
    return _tell(change, changed, made=True, as_json=as_json)


def _tell(change: Change, changed: QueueChange, *, made: bool, as_json: bool) -> None:
    if as_json:
        return print_json({"change": change.name, "made": made, "changed": changed})
    print(f"{_count(changed)} {'' if made else 'would be '}{change.result}")
    if changed.still_held:
        print(f"{changed.still_held} of them have other holds and are not sent before these end")
    if changed.leased:
        print(f"{changed.leased} of them are in a worker's hands: for those it counts once the worker lets go")
    return None


def _count(changed: QueueChange) -> str:
    return "1 recipient" if changed.recipients == 1 else f"{changed.recipients} recipients"


def _with_store(config: Path | None, work: Callable[[Store], Awaitable[T]]) -> T:
    try:
        return with_store(load_settings(config), work)
    except (UnclearError, AccountError, AddressError) as error:
        fail(f"mta queue: {error}", status=2)
