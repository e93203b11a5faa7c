"""``mta top``: the service of this machine at a glance, every two seconds.

Invariants: drawing asks nothing: what is shown was read before.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from config.schema import Settings
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption
from mta.cli.output import fail, on_terminal, relative, size
from mta.mail.identity import format_id
from mta.mail.spans import span
from mta.observe.labels import QueueState
from mta.observe.metric_files import Totals, totals
from mta.store.journal.events import Event
from mta.store.queue.queue import By, Group
from mta.store.store import Store, StoreUnavailable

EVERY = 2.0  # seconds
ONCE = 1.0  # seconds over which --once takes its rates
SHARE = 20  # the database is asked so many times longer apart than its answer took
DESTINATIONS, TROUBLES = 12, 12
STALE = 10.0  # seconds after which the supervisor's state is old

_RATES = (
    ("messages accepted", "messages_accepted", "cyan"),
    ("recipients delivered", "recipients_delivered", "green"),
    ("deferred", "recipients_deferred", "yellow"),
    ("failed", "recipients_failed", "red"),
    ("rejections", "rejections", "magenta"),
)


@dataclass(frozen=True, slots=True)
class CounterReadings:
    """Two readings of the counters, ``seconds`` apart, and the longest reading so far to take quantiles from."""

    now: Totals
    before: Totals
    first: Totals
    seconds: float


@dataclass(frozen=True, slots=True)
class StoreReading:
    """What the database says. ``problem``: why it says nothing."""

    states: Sequence[Group] = ()
    destinations: Sequence[Group] = ()
    oldest: float = 0.0
    troubles: Sequence[tuple[str, Event]] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TopFrame:
    """``state``: what the supervisor last wrote, {} if nothing."""

    hostname: str
    at: datetime
    counts: CounterReadings
    stored: StoreReading
    state: dict[str, Any] = field(default_factory=dict)


def register(app: typer.Typer) -> None:
    app.command("top")(top)


def top(
    once: Annotated[bool, typer.Option("--once", help="Print once and exit.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show live rates, queue, destinations, processes and recent errors until Ctrl-C."""
    settings = load_settings(config)
    console = Console(highlight=False) if on_terminal() else Console(highlight=False, width=160)

    async def watch(store: Store) -> None:
        screen = TopReader(settings, store, since_start=once)
        if once:
            await asyncio.sleep(ONCE)
            return console.print(draw(await screen.read()))
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(draw(await screen.read()), refresh=True)
                await asyncio.sleep(EVERY)

    try:
        with contextlib.suppress(KeyboardInterrupt):
            with_store(settings, watch)
    except PermissionError as error:
        fail(f"{error}; run this as the service's user or root")


class TopReader:
    """Reads what a frame needs, and remembers what rates are taken from.

    ``since_start``: quantiles are those of all mail since the service started, not since the command began.
    """

    def __init__(self, settings: Settings, store: Store, *, since_start: bool) -> None:
        self._hostname = settings.server.hostname
        self._run_dir = settings.server.data_dir / "run"
        self._store = store
        self._before = totals(self._run_dir)
        self._first = Totals.of(self._before.families) if since_start else self._before
        self._before_at = time.monotonic()
        self._stored = StoreReading()
        self._ask_again = 0.0

    async def read(self) -> TopFrame:
        now, at = totals(self._run_dir), time.monotonic()
        if _restarted(now, self._before):
            self._first = self._before = now
        counts = CounterReadings(now, self._before, self._first, max(0.001, at - self._before_at))
        self._before, self._before_at = now, at
        if at >= self._ask_again:
            self._stored = await self._ask()
            self._ask_again = time.monotonic() + SHARE * (time.monotonic() - at)
        return TopFrame(self._hostname, datetime.now(UTC), counts, self._stored, _state(self._run_dir / "state.json"))

    async def _ask(self) -> StoreReading:
        queue = self._store.queue
        try:
            return StoreReading(
                await queue.summary(By.STATE),
                await queue.summary(By.DESTINATION, limit=DESTINATIONS),
                await queue.oldest_unexpired_age(),
                await self._store.events.troubles(TROUBLES),
            )
        except StoreUnavailable:
            return StoreReading(problem="the database does not answer")


def _restarted(now: Totals, before: Totals) -> bool:
    """The service began anew: its counts are lower than they were."""
    return now.sum("sessions") < before.sum("sessions") or now.sum("cpu_seconds") < before.sum("cpu_seconds")


def _state(path: Path) -> dict[str, Any]:
    try:
        state = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def draw(frame: TopFrame) -> RenderableType:
    """The whole screen."""
    boxes = [_rates(frame.counts), _now(frame.counts), _queue(frame.stored), _workers(frame)]
    return Stack(_title(frame), Columns(boxes), _destinations(frame.stored, frame.at), _troubles(frame.stored))


def _title(frame: TopFrame) -> str:
    written = float(frame.state.get("at", 0.0))
    age = frame.at.timestamp() - written
    if not written:
        health = "[red]not running[/]"
    elif age > STALE:
        health = f"[red]the supervisor has been silent for {span(age)}[/]"
    else:
        health = "[green]running[/]"
    if frame.stored.problem:
        health += f", [red]{escape(frame.stored.problem)}[/]"
    return f"[bold]{escape(frame.hostname)}[/]  {frame.at:%Y-%m-%d %H:%M:%S} UTC  {health}"


def _rates(counts: CounterReadings) -> Panel:
    table = Table.grid(padding=(0, 2))
    for title, name, style in _RATES:
        total = counts.now.sum(name)
        rate = max(0.0, total - counts.before.sum(name)) / counts.seconds
        table.add_row(title, f"[{style}]{rate:,.1f}/s[/]", f"{total:,.0f}")
    return Panel(table, title="Mail: now, total", title_align="left")


def _now(counts: CounterReadings) -> Panel:
    now = counts.now
    delivered = now.sum("recipients_delivered")
    encrypted = f"{now.sum('recipients_delivered', 'yes') / delivered:.0%}" if delivered else "-"
    backoff = now.sum("ready_queues_in_backoff")
    table = Table.grid(padding=(0, 2))
    table.add_row("clients", f"{now.sum('sessions_open'):,.0f} sessions")
    table.add_row("receivers", f"{now.sum('connections_open'):,.0f} connections")
    in_backoff = f", [yellow]{backoff:,.0f} in backoff[/]" if backoff else ""
    table.add_row("ready queues", f"{now.sum('ready_queues'):,.0f}{in_backoff}")
    table.add_row("time to 250", _quantiles(counts, "accept_seconds"))
    table.add_row("time to delivery", _quantiles(counts, "delivery_seconds"))
    table.add_row("delivered by TLS", encrypted)
    return Panel(table, title="Now", title_align="left")


def _quantiles(counts: CounterReadings, name: str) -> str:
    """Half and 95%, over the time that we have been looking."""
    shown = [counts.now.quantile(name, share, counts.first) for share in (0.5, 0.95)]
    return " / ".join("-" if value is None else _brief(value) for value in shown)


def _brief(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else span(seconds)


def _queue(stored: StoreReading) -> Panel:
    counts = {group.key: group.recipients for group in stored.states}
    table = Table.grid(padding=(0, 2))
    for state in QueueState:
        table.add_row(state.value, f"{counts.get(state.value, 0):,}")
    table.add_row("oldest", span(stored.oldest) if stored.oldest else "-")
    return Panel(table, title="Queue (recipients)", title_align="left")


def _workers(frame: TopFrame) -> Panel:
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


def _destinations(stored: StoreReading, at: datetime) -> Panel:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for name in ("destination", "recipients", "due", "leased", "held", "tried", "oldest", "next due"):
        table.add_column(name, justify="left" if name in ("destination", "oldest", "next due") else "right")
    for group in stored.destinations:
        table.add_row(
            escape(group.key),
            *(f"{count:,}" for count in (group.recipients, group.due, group.leased, group.held, group.attempted)),
            relative(group.oldest, at),
            relative(group.next_due, at) if group.next_due else "",
        )
    return Panel(table, title="Destinations with most queued mail", title_align="left")


def _troubles(stored: StoreReading) -> Panel:
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    for name in ("at", "id", "kind", "recipient"):
        table.add_column(name, overflow="fold", min_width=26 if name == "id" else None)
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
    return Panel(table, title="Recent errors", title_align="left")
