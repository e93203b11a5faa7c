"""``mta demo``: a whole small world on this machine, to see the service at work."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mta.cli.output import fail


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Compare every outcome with what it should be, and end: status 0, or 1.")
    ] = False,
) -> None:
    """Start everything on this machine, send a dozen messages, and show what became of each and why.

    Receivers, DNS and database are the demo's own; nothing leaves the machine, and nothing stays behind.
    """
    import asyncio

    from rich.console import Console

    from mta.demo.running import DemoError
    from mta.demo.scene import play
    from mta.store.postgres.embedded import EmbeddedError

    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=160)
    try:
        good = asyncio.run(play(once=once, console=console))
    except (asyncio.CancelledError, KeyboardInterrupt):
        console.print("Everything is stopped and put away.")
        good = not once
    except (DemoError, EmbeddedError, OSError) as error:
        fail(f"mta demo: {error}")
    if once:
        console.print("Everything came to what it should." if good else "[red]Something differs, see above.[/]")
    raise typer.Exit(0 if good else 1)
