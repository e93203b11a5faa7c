"""``mta shaping``: its commands."""

from __future__ import annotations

import typer

from mta.cli.options import group
from mta.cli.shaping import actions, path_limits, sources, suspend


def register(app: typer.Typer) -> None:
    commands = group(
        "How mail is shaped: what holds for a destination and why, and what rules and operators have begun.",
        ("explain", path_limits.explain),
        ("sources", sources.sources),
        ("suspend", suspend.suspend),
        ("resume", suspend.resume),
    )
    commands.add_typer(
        group(
            "Actions that automation rules and operators have begun.",
            ("list", actions.list_),
            ("show", actions.show),
            ("cancel", actions.cancel),
        ),
        name="actions",
    )
    app.add_typer(commands, name="shaping")
