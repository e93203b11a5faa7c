"""``mta queue``, ``list`` and ``show``: how much is queued, for whom and why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.admin.backoffs import DELAYS
from mta.cli.context import load_settings, with_admin, with_store
from mta.cli.options import AccountOption, ConfigOption, JsonOption, parse_message_id
from mta.cli.output import Column, fail, moment, print_details, print_json, print_lines, print_table, relative
from mta.cli.queue import changes
from mta.cli.queue.reroute import reroute
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
from mta.mail.identity import LENGTH, format_id
from mta.mail.spans import span
from mta.observe.labels import QueueState
from mta.store.queue.queue import By

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.queue.queue import Group, QueueEntry
    from mta.store.store import Store

HELP = "Queued mail: what waits, where and why; retry, hold, release or bounce it. Without a command: counts."

_COUNTS = ("recipients", "due", "leased", "held", "tried")
_COLUMNS = (
    Column("id", whole=True),
    Column("recipient", whole=True),
    "state",
    Column("next", whole=True, optional=True),
    "reason",
    Column("tries", numeric=True, optional=True),
    Column("accepted", optional=True),
    Column("account", optional=True),
    Column("stream", optional=True),
)


def register(app: typer.Typer) -> None:
    commands = typer.Typer(help=HELP, rich_markup_mode="markdown")
    commands.callback(invoke_without_command=True, help=HELP)(summary)
    commands.command("list")(list_)
    commands.command("show")(show)
    changes.register(commands)
    commands.command("reroute")(reroute)
    app.add_typer(commands, name="queue")


def summary(
    context: typer.Context,
    by: Annotated[By, typer.Option(help="What to count by.")] = By.DESTINATION,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show at most N (largest first).")] = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    if context.invoked_subcommand:
        return

    async def work(store: Store) -> tuple[Sequence[Group], Sequence[Group], float]:
        groups, states = await store.queue.summary(by, limit=limit), await store.queue.summary(By.STATE)
        return groups, states, await store.queue.oldest_unexpired_age()

    groups, states, oldest = with_store(load_settings(config), work)
    if as_json:
        print_json({"by": by, "groups": groups, "states": states, "oldest_seconds": oldest})
        return
    counts = {group.key: group.recipients for group in states}
    total = ", ".join(f"{counts.get(state.value, 0)} {state.value}" for state in QueueState)
    print_lines([(f"{sum(counts.values())} recipients: {total}; oldest {span(oldest)}", "")])
    if not groups:
        return
    now = datetime.now(UTC)
    rows = [
        (
            group.key or "(none)",
            *(str(count) for count in (group.recipients, group.due, group.leased, group.held, group.attempted)),
            relative(group.oldest, now),
            relative(group.next_due, now) if group.next_due else "",
        )
        for group in groups
    ]
    columns = (by.value, *(Column(name, numeric=True) for name in _COUNTS), "oldest", "next due")
    print_table(columns, rows, empty="", limit=limit)


def list_(
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
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show at most N (oldest first).")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List queued recipients, those of the oldest message first."""
    selection = QueueSelection(
        ids or (), destination, account, stream, topic, mailing, sender, recipient, state, older_than, reply, held_by
    )

    async def work(context: AdminContext) -> list[QueueEntry]:
        return list(await context.store.queue.list(await selection.chosen(context), limit=limit))

    found = with_admin(load_settings(config), work)
    if as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    rows = [
        (
            format_id(entry.message_id),
            entry.address,
            "bouncing" if entry.bounce else entry.state.value,
            relative(entry.due_at, now) if entry.state in (QueueState.READY, QueueState.DELAYED) else "",
            _reason(entry),
            entry.attempts,
            relative(entry.queued_at, now),
            entry.account or str(entry.account_id),
            entry.stream.value,
        )
        for entry in found
    ]
    print_table(_COLUMNS, rows, empty="No matching recipients.", limit=limit)


def _reason(entry: QueueEntry) -> str:
    """Return why a recipient is still queued: its bounce, its holds, the time it waits for, or the last reply."""
    delay = DELAYS[entry.delayed_by] if entry.state is QueueState.DELAYED and entry.delayed_by else None
    words = entry.bounce or " / ".join(map(str, entry.holds)) or delay or entry.last_reply or ""
    return words.replace("\n", " / ")


def _show_site(name: str, as_json: bool, config: Path | None) -> None:
    from mta.cli.shaping.site import SiteView, as_fields, look, site_by_name, tell

    settings = load_settings(config)

    async def view() -> SiteView:
        return await look(settings, config, await site_by_name(settings, name), count=True)

    found = asyncio.run(view())
    if as_json:
        print_json(as_fields(found))
    else:
        print_lines(tell(found))


def show(
    name: Annotated[
        str, typer.Argument(metavar="ID|SITE", help="Id of a message; or a site: a provider, a domain, a mail host.")
    ],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the recipients of a message that are still queued (for its past: `mta explain`); or what waits for a site,
    the limits for it, what holds it up now, and its last replies."""
    if "." in name or len(name) != LENGTH:
        _show_site(name, as_json, config)
        return
    message, message_id = name, parse_message_id(name)
    found = with_store(load_settings(config), lambda store: store.queue.show(message_id))
    if not found:
        fail(f"no recipient of {message} is queued; for its past: mta explain {message}")
    if as_json:
        print_json(found)
        return
    for entry in found:
        print_details(
            f"{format_id(entry.message_id)} to {entry.address}",
            (
                ("state", entry.state.value),
                ("held by", "; ".join(map(str, entry.holds))),
                ("bouncing", entry.bounce),
                ("worker", f"{entry.worker[0]}, process {entry.worker[1]}" if entry.worker else None),
                ("sender", entry.sender or "<>"),
                ("account", entry.account or str(entry.account_id)),
                ("stream", entry.stream.value),
                ("topic", entry.topic),
                ("mailing", entry.mailing),
                ("attempts", str(entry.attempts)),
                ("accepted", f"{moment(entry.queued_at)} UTC"),
                ("next attempt", f"{moment(entry.due_at)} UTC"),
                ("waits for", DELAYS[entry.delayed_by] if entry.delayed_by else None),
                ("priority", str(entry.priority) if entry.priority else None),
                ("expires", f"{moment(entry.expires_at)} UTC"),
                ("last reply", entry.last_reply),
            ),
        )
