"""``mta top``: the service of this machine at a glance, every two seconds."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.live import Live

from config.schema import Settings
from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption
from mta.cli.output import fail
from mta.cli.top_screen import Counts, Frame, Stored, draw
from mta.observe.exposition import Totals, totals
from mta.store.queue.queue import By
from mta.store.store import Store, StoreUnavailable

EVERY = 2.0  # seconds
ONCE = 1.0  # seconds over which --once takes its rates
SHARE = 20  # the database is asked so many times longer apart than its answer took
DESTINATIONS, TROUBLES = 12, 12


def register(app: typer.Typer) -> None:
    app.command("top")(top)


def top(
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    config: ConfigOption = None,
) -> None:
    """Rates, queue, destinations, processes and what went wrong of late; live, until Ctrl-C."""
    settings = load_settings(config)
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=160)

    async def watch(store: Store) -> None:
        screen = Screen(settings, store, since_start=once)
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
        fail(f"mta top: {error}; run it as the user of the service, or as root")


class Screen:
    """Reads what a frame needs, and remembers what rates are taken from.

    ``since_start``: quantiles are those of all mail since the service started, not since we began to look.
    """

    def __init__(self, settings: Settings, store: Store, *, since_start: bool) -> None:
        self._hostname = settings.server.hostname
        self._run_dir = settings.server.data_dir / "run"
        self._store = store
        self._before = totals(self._run_dir)
        self._first = Totals.of(self._before.families) if since_start else self._before
        self._before_at = time.monotonic()
        self._stored = Stored()
        self._ask_again = 0.0

    async def read(self) -> Frame:
        now, at = totals(self._run_dir), time.monotonic()
        if _restarted(now, self._before):
            self._first = self._before = now
        counts = Counts(now, self._before, self._first, max(0.001, at - self._before_at))
        self._before, self._before_at = now, at
        if at >= self._ask_again:
            self._stored = await self._ask()
            self._ask_again = time.monotonic() + SHARE * (time.monotonic() - at)
        return Frame(self._hostname, datetime.now(UTC), counts, self._stored, _state(self._run_dir / "state.json"))

    async def _ask(self) -> Stored:
        queue = self._store.queue
        try:
            return Stored(
                await queue.summary(By.STATE),
                await queue.summary(By.DESTINATION, limit=DESTINATIONS),
                await queue.oldest_unexpired_age(),
                await self._store.events.troubles(TROUBLES),
            )
        except StoreUnavailable:
            return Stored(problem="the database does not answer")


def _restarted(now: Totals, before: Totals) -> bool:
    """The service began anew: its counts are lower than they were."""
    return now.sum("sessions") < before.sum("sessions") or now.sum("cpu_seconds") < before.sum("cpu_seconds")


def _state(path: Path) -> dict[str, Any]:
    try:
        state = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
