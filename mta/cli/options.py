"""Options and endings that commands share; nothing that takes time to import.

It must never read the configuration: ``mta classify`` starts at once because of this.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Configuration file; else $MTA_CONFIG, ./mta.toml or /etc/imprimatur/mta.toml."
    ),
]


def find_config(given: Path | None) -> Path | None:
    """The configuration file to use, or None for the shipped defaults."""
    if given is not None:
        return given
    if named := os.environ.get("MTA_CONFIG"):
        return Path(named)
    return next((path for path in (Path("mta.toml"), Path("/etc/imprimatur/mta.toml")) if path.is_file()), None)


def operator() -> str:
    """The name of whoever runs this command, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry for this user
        return f"user {os.getuid()}"


def fail(text: str, *, status: int = 1) -> NoReturn:
    print(text, file=sys.stderr)
    raise typer.Exit(status)
