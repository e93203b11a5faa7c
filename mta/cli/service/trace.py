"""``mta trace``: live SMTP sessions, with clients and with receivers.

Invariants: no control character that a peer sent is printed, and no credential: ``mta.observe.trace`` removes both.
"""

from __future__ import annotations

import os
from datetime import datetime
from enum import Enum
from typing import Annotated

import typer

from mta.cli.context import load_settings
from mta.cli.options import ConfigOption, JsonLinesOption
from mta.cli.output import fail, print_json_line


class TraceSide(Enum):
    """Whose sessions: those of clients, or those with receivers."""

    IN = "in"
    OUT = "out"


def register(app: typer.Typer) -> None:
    app.command("trace")(trace)


def trace(
    side: Annotated[TraceSide | None, typer.Option(help="`in`: with clients; `out`: with receivers.")] = None,
    peer: Annotated[str | None, typer.Option(help="Part of the peer's name or address.")] = None,
    session: Annotated[str | None, typer.Option(help="One session, by its id.")] = None,
    contains: Annotated[
        str | None, typer.Option(help="Sessions from the first line that contains this, e.g. an address.")
    ] = None,
    as_json: JsonLinesOption = False,
    config: ConfigOption = None,
) -> None:
    """Show live SMTP sessions of this machine's workers until Ctrl-C.

    `→` is sent by this service, `←` by the peer. Passwords and message content are left out.
    """
    import asyncio
    import contextlib

    import msgspec
    from rich.console import Console

    from mta.observe.trace import TraceFilter, watch

    run_dir = load_settings(config).server.data_dir / "run"
    if not run_dir.is_dir():
        fail(f"no service runs here: there is no {run_dir}")
    if not os.access(run_dir, os.R_OK | os.X_OK):
        fail(f"{run_dir}: permission denied; run this as the service's user or root")
    wanted = TraceFilter(side=side.value if side else None, peer=peer, session=session, contains=contains)
    console = Console(highlight=False, soft_wrap=True)

    async def follow() -> None:
        async for line in watch(run_dir, wanted):
            if as_json:
                print_json_line(msgspec.to_builtins(line), flush=True)
                continue
            if line.dropped:
                console.print(f"... {line.dropped} lines were missed here", style="yellow")
            at = datetime.fromtimestamp(line.at).strftime("%H:%M:%S.%f")[:-3]
            head = f"{at} {line.side:3} {line.session} {line.peer} {'→' if line.sent else '←'} "
            console.print(head, style="dim", end="", markup=False)
            console.print(line.text, style=_style(line.text, reply=line.sent == (line.side == "in")), markup=False)

    try:
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            asyncio.run(follow())
    except PermissionError as error:
        fail(f"{error}; run this as the service's user or root")


def _style(text: str, *, reply: bool) -> str:
    if not reply:
        return "cyan"
    return {"4": "yellow", "5": "red"}.get(text[:1], "green")
