"""The picture that ``mta top`` shows: one frame of it, from what was read at one moment.

It must never ask anything: what is shown was fetched before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.columns import Columns
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from mta.cli.output import relative, size, span
from mta.mail.identity import format_id
from mta.observe.exposition import Totals
from mta.observe.labels import QueueState
from mta.store.journal.events import Event
from mta.store.queue.queue import Group

STALE = 10.0  # seconds after which the supervisor's state is old

_RATES = (
    ("messages accepted", "messages_accepted", "cyan"),
    ("recipients delivered", "recipients_delivered", "green"),
    ("deferred", "recipients_deferred", "yellow"),
    ("failed", "recipients_failed", "red"),
    ("rejections", "rejections", "magenta"),
)


@dataclass(frozen=True, slots=True)
class Counts:
    """Two readings of the counters, ``seconds`` apart, and the longest reading so far to take quantiles from."""

    now: Totals
    before: Totals
    first: Totals
    seconds: float


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says. ``problem``: why it says nothing."""

    states: Sequence[Group] = ()
    destinations: Sequence[Group] = ()
    oldest: float = 0.0
    troubles: Sequence[tuple[str, Event]] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """``state``: what the supervisor last wrote, {} if nothing."""

    hostname: str
    at: datetime
    counts: Counts
    stored: Stored
    state: dict[str, Any] = field(default_factory=dict)


def draw(frame: Frame) -> RenderableType:
    """The whole screen."""
    boxes = [_rates(frame.counts), _now(frame.counts), _queue(frame.stored), _workers(frame)]
    return Stack(_title(frame), Columns(boxes), _destinations(frame.stored, frame.at), _troubles(frame.stored))


def _title(frame: Frame) -> str:
    written = float(frame.state.get("at", 0.0))
    age = frame.at.timestamp() - written
    if not written:
        health = "[red]nothing runs here[/]"
    elif age > STALE:
        health = f"[red]the supervisor has been silent for {span(age)}[/]"
    else:
        health = "[green]running[/]"
    if frame.stored.problem:
        health += f", [red]{escape(frame.stored.problem)}[/]"
    return f"[bold]{escape(frame.hostname)}[/]  {frame.at:%Y-%m-%d %H:%M:%S} UTC  {health}"


def _rates(counts: Counts) -> Panel:
    table = Table.grid(padding=(0, 2))
    for title, name, style in _RATES:
        total = counts.now.sum(name)
        rate = max(0.0, total - counts.before.sum(name)) / counts.seconds
        table.add_row(title, f"[{style}]{rate:,.1f}/s[/]", f"{total:,.0f}")
    return Panel(table, title="Mail, now and in all", title_align="left")


def _now(counts: Counts) -> Panel:
    now = counts.now
    delivered = now.sum("recipients_delivered")
    encrypted = f"{now.sum('recipients_delivered', 'yes') / delivered:.0%}" if delivered else "-"
    backoff = now.sum("ready_queues_in_backoff")
    table = Table.grid(padding=(0, 2))
    table.add_row("clients", f"{now.sum('sessions_open'):,.0f} sessions")
    table.add_row("receivers", f"{now.sum('connections_open'):,.0f} connections")
    in_backoff = f", [yellow]{backoff:,.0f} in backoff[/]" if backoff else ""
    table.add_row("ready queues", f"{now.sum('ready_queues'):,.0f}{in_backoff}")
    table.add_row("to our 250", _quantiles(counts, "accept_seconds"))
    table.add_row("to delivery", _quantiles(counts, "delivery_seconds"))
    table.add_row("delivered by TLS", encrypted)
    return Panel(table, title="At this moment", title_align="left")


def _quantiles(counts: Counts, name: str) -> str:
    """Half and 95%, over the time that we have been looking."""
    shown = [counts.now.quantile(name, share, counts.first) for share in (0.5, 0.95)]
    return " / ".join("-" if value is None else _brief(value) for value in shown)


def _brief(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else span(seconds)


def _queue(stored: Stored) -> Panel:
    counts = {group.key: group.recipients for group in stored.states}
    table = Table.grid(padding=(0, 2))
    for state in QueueState:
        table.add_row(state.value, f"{counts.get(state.value, 0):,}")
    table.add_row("oldest", span(stored.oldest) if stored.oldest else "-")
    return Panel(table, title="Queue (recipients)", title_align="left")


def _workers(frame: Frame) -> Panel:
    table = Table.grid(padding=(0, 2))
    for child in frame.state.get("children", ()):
        seen = float(child.get("seen_at") or 0.0)
        age = frame.at.timestamp() - seen
        health = f"[green]{max(0.0, age):.0f} s ago[/]" if seen and age <= STALE else "[red]silent[/]"
        restarts = f", {child['restarts']} restarts" if child.get("restarts") else ""
        table.add_row(escape(str(child["name"])), str(child.get("pid") or "-"), health + restarts)
    lag = frame.counts.now.sum("loop_lag_seconds")
    memory = size(frame.counts.now.sum("resident_bytes"))
    cores = (frame.counts.now.sum("cpu_seconds") - frame.counts.before.sum("cpu_seconds")) / frame.counts.seconds
    table.add_row("all", f"{max(0.0, cores):.2f} cores", f"{memory}, lag {_brief(lag)}")
    return Panel(table, title="Processes", title_align="left")


def _destinations(stored: Stored, at: datetime) -> Panel:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for name in ("destination", "recipients", "due", "with workers", "held", "tried", "oldest", "next due"):
        table.add_column(name, justify="left" if name in ("destination", "oldest", "next due") else "right")
    for group in stored.destinations:
        table.add_row(
            escape(group.key),
            *(f"{count:,}" for count in (group.recipients, group.due, group.leased, group.held, group.attempted)),
            relative(group.oldest, at),
            relative(group.next_due, at) if group.next_due else "",
        )
    return Panel(table, title="Where most waits", title_align="left")


def _troubles(stored: Stored) -> Panel:
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    for name in ("at", "id", "kind", "recipient"):
        table.add_column(name, no_wrap=True)
    table.add_column("reply", no_wrap=True, overflow="ellipsis", ratio=1)
    for recipient, event in stored.troubles:
        reply = " ".join(str(event.data[key]) for key in ("code", "status", "text") if event.data.get(key))
        table.add_row(
            event.at.astimezone(UTC).strftime("%H:%M:%S"),
            format_id(event.message_id) if event.message_id else "",
            f"[yellow]{event.kind}[/]" if event.kind == "deferred" else f"[red]{event.kind}[/]",
            escape(recipient or ""),
            escape(reply.replace("\n", " / ")),
        )
    return Panel(table, title="What went wrong of late", title_align="left")
