"""``mta trace``: the SMTP dialogue as it is spoken, with clients and with receivers.

It must never print a control character that a peer sent, nor a credential: ``mta.observe.trace`` sees to both.
"""

from __future__ import annotations

import os
from datetime import datetime
from enum import Enum
from typing import Annotated

import typer

from mta.cli.context import load_settings
from mta.cli.options import ConfigOption
from mta.cli.output import fail


class Side(Enum):
    """Whose dialogue: our clients', or the receivers'."""

    IN = "in"
    OUT = "out"


def register(app: typer.Typer) -> None:
    app.command("trace")(trace)


def trace(
    side: Annotated[Side | None, typer.Option(help="`in`: with clients; `out`: with receivers.")] = None,
    peer: Annotated[str | None, typer.Option(help="Part of the peer's name or address.")] = None,
    session: Annotated[str | None, typer.Option(help="One session, by its id.")] = None,
    contains: Annotated[
        str | None, typer.Option(help="Sessions from the first line on that contains this, e.g. an address.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show the live SMTP dialogue of this machine's workers until Ctrl-C.

    `→` is what we said, `←` what the peer said. Passwords and messages are left out.
    """
    import asyncio
    import contextlib

    import msgspec
    from rich.console import Console

    from mta.observe.trace import TraceFilter, watch

    run_dir = load_settings(config).server.data_dir / "run"
    if not run_dir.is_dir():
        fail(f"mta trace: nothing is running here: there is no {run_dir}")
    if not os.access(run_dir, os.R_OK | os.X_OK):
        fail(f"mta trace: {run_dir}: permission denied; run this as the service's user or root")
    wanted = TraceFilter(side=side.value if side else None, peer=peer, session=session, contains=contains)
    console = Console(highlight=False, soft_wrap=True)

    async def show() -> None:
        async for line in watch(run_dir, wanted):
            if as_json:
                print(msgspec.json.encode(line).decode(), flush=True)
                continue
            if line.dropped:
                console.print(f"... {line.dropped} lines were missed here", style="yellow")
            at = datetime.fromtimestamp(line.at).strftime("%H:%M:%S.%f")[:-3]
            head = f"{at} {line.side:3} {line.session} {line.peer} {'→' if line.sent else '←'} "
            console.print(head, style="dim", end="", markup=False)
            console.print(line.text, style=_style(line.text, reply=line.sent == (line.side == "in")), markup=False)

    try:
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            asyncio.run(show())
    except PermissionError as error:
        fail(f"mta trace: {error}; run it as the user of the service, or as root")


def _style(text: str, *, reply: bool) -> str:
    if not reply:
        return "cyan"
    return {"4": "yellow", "5": "red"}.get(text[:1], "green")
