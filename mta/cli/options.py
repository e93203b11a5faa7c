"""Options and arguments that commands share, and how their texts are read.

Invariants: nothing here takes time to import or reads the configuration.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mta.cli.output import fail, on_terminal

if TYPE_CHECKING:
    from mta.mail.address import Address
    from mta.mail.identity import MessageId

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Configuration file; else $MTA_CONFIG, ./mta.toml or /etc/imprimatur/mta.toml."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Output JSON.")]
JsonLinesOption = Annotated[bool, typer.Option("--json", help="Output one JSON object per line.")]
LimitOption = Annotated[int, typer.Option(min=1, metavar="N", help="Show at most N (newest first).")]
AccountOption = Annotated[str | None, typer.Option("--account", "-a", metavar="NAME", help="Only this account.")]
AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name of the account.")]
AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS", help="E-mail address, e.g. ann@example.com.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the history.")]
ByOption = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides; default: the current user.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]

BOXES_FROM = 72  # columns
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def help_markup() -> Literal["markdown"] | None:
    """Return how help texts are shown: in boxes where a terminal has room, else as plain text, which is never cut."""
    return "markdown" if on_terminal() and get_terminal_size().columns >= BOXES_FROM else None


def help_text(text: str) -> str:
    """Return a help text whose examples and lists keep their lines, in plain text as well."""
    return text if help_markup() else re.sub(r"\n\n(?=    |1\. )", "\n\n\b\n", text)


def group(about: str, *commands: tuple[str, Callable[..., None]]) -> typer.Typer:
    """Return a group of commands, each with its name."""
    made = typer.Typer(help=help_text(about), no_args_is_help=True, rich_markup_mode=help_markup())
    for name, command in commands:
        made.command(name)(command)
    return made


def find_config(given: Path | None) -> Path | None:
    """Return the configuration file to use, or None for the shipped defaults."""
    if given is not None:
        return given
    if named := os.environ.get("MTA_CONFIG"):
        return Path(named)
    for path in (Path("mta.toml"), Path("/etc/imprimatur/mta.toml")):
        with suppress(OSError):  # the current directory may be unreadable
            if path.is_file():
                return path
    return None


def operator() -> str:
    """Return the name of the user that runs this command, for the record.

    Limitations: it is the operating system's, or that of $LOGNAME.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry for this user
        return f"user {os.getuid()}"


def confirm(question: str, *, yes: bool) -> None:
    """Ask on standard error, unless ``yes``; end the command with status 1 for any other answer."""
    if not yes:
        typer.confirm(question, abort=True, err=True)


def require_text(text: str, option: str) -> str:
    """Return ``text`` without surrounding spaces; exit status 2 if nothing is left."""
    if not text.strip():
        fail(f"{option} must not be empty", status=2)
    return text.strip()


def parse_address(text: str) -> Address:
    """Return the address, or end the command with status 2."""
    from mta.mail.address import Address, AddressError

    try:
        return Address.parse(text)
    except AddressError as error:
        fail(f"{text!r}: {error}", status=2)


def parse_message_id(text: str) -> MessageId:
    """Return the id, or end the command with status 2."""
    from mta.mail.identity import parse_id

    try:
        return parse_id(text)
    except ValueError as error:
        fail(str(error), status=2)


def parse_domain(text: str) -> str:
    """Return the domain name in its canonical form, or end the command with status 2."""
    from mta.mail import address

    try:
        return address.parse_domain(text)
    except address.AddressError as error:
        fail(f"{text!r}: {error}", status=2)


def parse_span(text: str) -> timedelta:
    """Read ``500ms``, ``90s``, ``15m``, ``2h`` or ``5d``, as in the configuration. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d+)?)\s*(ms|[smhd])\s*", text)
    if not match:
        raise ValueError(f"{text!r} is not a duration: a number with a unit, such as 90s, 15m, 2h or 5d")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def require_span(text: str, option: str) -> timedelta:
    """Return the duration that ``option`` was given, or end the command with status 2."""
    try:
        return parse_span(text)
    except ValueError as error:
        fail(f"{option}: {error}", status=2)


def parse_endpoint(text: str, default_port: int) -> tuple[str, int]:
    """Read ``127.0.0.1:25``, ``[::1]:25``, ``host:25`` or an address alone; end the command with status 2 otherwise."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:\s]+))(?::(\d{1,5}))?", text)
    if not match or (match[3] and int(match[3]) > 65535):
        fail(f"{text!r} is no address with a port, such as 127.0.0.1:2526 or [::1]:2526", status=2)
    return match[1] or match[2], int(match[3]) if match[3] else default_port
