"""What ``mta queue`` prints: tables for people, JSON for machines.

*Limits.* On a wide terminal long replies are cut to its width; elsewhere, and in JSON, nothing is cut.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mta.cli.output import moment, relative, span
from mta.mail.hold import HoldSource
from mta.mail.identity import MessageId, format_id
from mta.mail.message import Stream
from mta.observe.labels import QueueState
from mta.store.queue.queue import By, Group, QueueEntry

UNCUT = 10_000  # columns where nobody looks
WIDE = 120  # columns that the list needs; in fewer, the reply goes below the recipient


def console() -> Console:
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=UNCUT)


def print_json(data: object) -> None:
    print(orjson.dumps(_plain(data), option=orjson.OPT_INDENT_2).decode())


def print_summary(by: By, groups: Sequence[Group], states: Sequence[Group], oldest: float) -> None:
    counts = {group.key: group.recipients for group in states}
    total = ", ".join(f"{counts.get(state.value, 0)} {state.value}" for state in QueueState)
    out = console()
    out.print(f"{sum(counts.values())} recipients: {total}; the oldest waits for {span(oldest)}")
    if not groups:
        return
    now = datetime.now(UTC)
    table = _table(by.value, "recipients", "due", "with workers", "held", "tried", "oldest", "next due")
    for group in groups:
        table.add_row(
            escape(group.key) or "(none)",
            *(str(count) for count in (group.recipients, group.due, group.leased, group.held, group.attempted)),
            relative(group.oldest, now),
            relative(group.next_due, now) if group.next_due else "",
        )
    out.print(table)


def print_list(rows: Sequence[QueueEntry], limit: int) -> None:
    out = console()
    if not rows:
        out.print("nothing is queued that fits")
        return
    out.print(_wide(rows, datetime.now(UTC)) if out.width >= WIDE else _narrow(rows, datetime.now(UTC)))
    if len(rows) == limit:
        out.print(f"the first {limit}; --limit shows more", style="dim")


def _wide(rows: Sequence[QueueEntry], now: datetime) -> Table:
    table = _table("id", "recipient", "state", "tries", "next", "accepted", "account", "stream", "last reply")
    for row in rows:
        table.add_row(
            format_id(row.message_id),
            escape(row.address),
            _state(row),
            str(row.attempts),
            _next(row, now),
            relative(row.queued_at, now),
            escape(row.account or str(row.account_id)),
            row.stream.value,
            escape(_reason(row)),
        )
    return table


def _narrow(rows: Sequence[QueueEntry], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "recipient and last reply", "state", "next"):
        table.add_column(name, overflow="fold", no_wrap=name == "id", min_width=26 if name == "id" else None)
    for row in rows:
        about = "\n".join(filter(None, (row.address, _reason(row))))
        table.add_row(format_id(row.message_id), escape(about), _state(row), _next(row, now))
    return table


def _state(row: QueueEntry) -> str:
    return "bouncing" if row.bounce else row.state.value


def _next(row: QueueEntry, now: datetime) -> str:
    return relative(row.due_at, now) if row.state is QueueState.READY else ""


def _reason(row: QueueEntry) -> str:
    return (row.bounce or " / ".join(map(str, row.holds)) or row.last_reply or "").replace("\n", " / ")


def print_message(rows: Sequence[QueueEntry]) -> None:
    """Everything about each queued recipient of one message."""
    out = console()
    for row in rows:
        out.print(f"{format_id(row.message_id)} to {escape(row.address)}", style="bold")
        worker = f"{row.worker[0]}, process {row.worker[1]}" if row.worker else ""
        for name, value in (
            ("state", row.state.value),
            ("held by", "; ".join(map(str, row.holds))),
            ("to be failed", row.bounce),
            ("with worker", worker),
            ("sender", row.sender or "<>"),
            ("account", row.account or str(row.account_id)),
            ("stream", row.stream.value),
            ("topic", row.topic),
            ("mailing", row.mailing),
            ("attempts", str(row.attempts)),
            ("accepted", f"{moment(row.queued_at)} UTC"),
            ("next attempt", f"{moment(row.due_at)} UTC"),
            ("expires", f"{moment(row.expires_at)} UTC"),
            ("last reply", row.last_reply),
        ):
            if value:
                out.print(f"  {name:13} {escape(value)}")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        counts = name in ("recipients", "due", "with workers", "held", "tried", "tries")
        cut = name == "last reply"
        table.add_column(
            name,
            justify="right" if counts else "left",
            no_wrap=True,
            overflow="ellipsis" if cut else "fold",
            ratio=1 if cut and sys.stdout.isatty() else None,
        )
    return table


def _plain(data: Any) -> Any:
    """Dataclasses as objects, ids as we write them, enums by value."""
    if is_dataclass(data) and not isinstance(data, type):
        return _plain(asdict(data))
    match data:
        case dict():
            return {key: _plain(value) for key, value in data.items()}
        case list() | tuple():
            return [_plain(value) for value in data]
        case MessageId():
            return format_id(data)
        case QueueState() | By() | Stream() | HoldSource():
            return data.value
        case _:
            return data
