"""``mta demo``: a self-contained demonstration of the service on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from mta.cli.output import fail, on_terminal


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Verify all results and exit: status 0 if they are as expected, else 1.")
    ] = False,
) -> None:
    """Run the service and a test receiver, send a few messages, and show a live table of the results.

    Receiver, DNS and database are the demo's own. No mail leaves the machine, and no file is left behind.
    """
    import asyncio

    from rich.console import Console

    from mta.demo.run import run
    from mta.demo.service import DemoError

    console = Console(highlight=False) if on_terminal() else Console(highlight=False, width=160)
    try:
        good = asyncio.run(run(once=once, console=console))
    except (asyncio.CancelledError, KeyboardInterrupt):
        console.print("Stopped; temporary files removed.")
        good = not once
    except (DemoError, OSError) as error:
        fail(str(error))
    if once:
        console.print("All results as expected." if good else "[red]Some results are not as expected, see above.[/]")
    raise typer.Exit(0 if good else 1)
