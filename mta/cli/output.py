"""What commands print: JSON, tables, details, times and sizes; and how errors end a command.

Standard output carries the result, standard error everything else. Exit status 0: done; 1: refused or not found; 2: a
mistake in the command line or the configuration.

Invariants: a pipe gets whole values, tab-separated, under one line of names; no value is cut on a terminal either.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NoReturn, TextIO

import typer

from mta.mail.spans import span

FOLDED = 12  # characters that a folded text needs on a line to be readable
GAP = 2  # characters between two cells


def fail(text: str, *, status: int = 1) -> NoReturn:
    """End the command with ``text`` on standard error."""
    print(text, file=sys.stderr)
    raise typer.Exit(status)


@contextmanager
def errors_reported(status: int | None = None) -> Iterator[None]:
    """Turn an expected error into its text on standard error and its exit status, or ``status`` if given."""
    try:
        yield
    except Exception as error:
        if (known := _status(error)) is None:
            raise
        lines = getattr(error, "lines", None)  # every mistake of a configuration
        fail("\n".join(lines) if lines else str(error), status=status or known)


def _status(error: Exception) -> int | None:
    """Return the exit status for an error that commands expect, None for any other."""
    if type(error).__module__.partition(".")[0] not in ("config", "mta", "policy"):
        return None
    from mta.admin.errors import MISTAKES, REFUSALS, InvalidValue

    if isinstance(error, (InvalidValue, *MISTAKES)):
        return 2
    if isinstance(error, REFUSALS):
        return 1
    from mta.store.postgres.embedded import EmbeddedError
    from mta.store.postgres.errors import SchemaError, StoreUnavailable
    from mta.store.postgres.secrets import SecretError

    return 1 if isinstance(error, EmbeddedError | SchemaError | SecretError | StoreUnavailable) else None


# JSON


def print_json(value: object) -> None:
    """Print ``value`` as one indented JSON document."""
    print(to_json(value))


def print_json_line(value: object, *, flush: bool = False) -> None:
    """Print ``value`` as JSON on one line."""
    print(to_json(value, indent=False), flush=flush)


def to_json(value: object, *, indent: bool = True) -> str:
    """Return ``value`` as JSON, on several lines or on one."""
    import orjson

    return orjson.dumps(plain(value), option=orjson.OPT_INDENT_2 if indent else None).decode()


def plain(value: Any) -> Any:
    """Return ``value`` in JSON's types (``mta.admin.json_values``)."""
    from mta.admin.json_values import plain

    return plain(value)


# Tables and details


def on_terminal() -> bool:
    """Return whether standard output is a terminal, read by people, and not a pipe or a file."""
    return sys.stdout.isatty()


@dataclass(frozen=True, slots=True)
class Styled:
    """A text with a style of rich, which only terminals show."""

    text: str
    style: str


@dataclass(frozen=True, slots=True)
class Column:
    """``whole``: never folded, for ids and addresses. ``optional``: left out first where a terminal is too narrow."""

    name: str
    whole: bool = False
    numeric: bool = False
    optional: bool = False


Cell = str | int | Styled | Sequence[str] | None  # a sequence: one value a line on terminals


def print_table(
    columns: Sequence[Column | str], rows: Iterable[Sequence[Cell]], *, empty: str, limit: int | None = None
) -> None:
    """Print a table for people, or tab-separated lines where standard output is no terminal.

    On standard error: ``empty`` if there are no rows, a note if there are ``limit``, so that there may be more.
    """
    named = [column if isinstance(column, Column) else Column(column) for column in columns]
    cells = [[_styled(cell) for cell in row] for row in rows]
    if not cells:
        print(empty, file=sys.stderr)
    elif on_terminal():
        _print_grid(named, cells)
    else:
        print("\t".join(column.name for column in named))
        for row in cells:
            print("\t".join(_one_line(cell.text) for cell in row))
    if len(cells) == limit:
        print(f"Showing {limit}; there may be more (--limit).", file=sys.stderr)


def _styled(cell: Cell) -> Styled:
    match cell:
        case Styled():
            return cell
        case None:
            return Styled("", "")
        case str() | int():
            return Styled(str(cell), "")
        case _:
            return Styled("\n".join(cell), "")


def _one_line(text: str) -> str:
    """Return the lines of a cell with commas between, without tabs."""
    return ", ".join(re.sub(r"[\t\r]+", " ", line) for line in text.split("\n") if line)


def _print_grid(columns: Sequence[Column], rows: Sequence[Sequence[Styled]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    widths = [_width(column, [row[n] for row in rows]) for n, column in enumerate(columns)]
    least = _least_widths(columns, widths, console.width)
    if least is None:
        _print_blocks(columns, rows)
        return
    spare = console.width - sum(width + GAP for width in least.values()) + GAP
    for n, width in least.items():
        more = max(0, min(widths[n] - width, spare))
        spare -= more
        justify: Literal["left", "right"] = "right" if columns[n].numeric else "left"
        table.add_column(Text(columns[n].name), justify=justify, overflow="fold", width=width + more)
    for row in rows:
        table.add_row(*(Text(row[n].text, style=row[n].style) for n in least))
    console.print(table)


def _print_blocks(columns: Sequence[Column], rows: Sequence[Sequence[Styled]]) -> None:
    """Print a row as a block, a value a line, for terminals too narrow for a table. The terminal breaks long lines,
    and a copied value is whole."""
    width = max(len(column.name) for column in columns)
    for n, row in enumerate(rows):
        print_lines([("", "")] if n else [])
        cells = [(column.name, cell) for column, cell in zip(columns, row, strict=True) if cell.text]
        print_lines((f"{name:{width}}  {_one_line(cell.text)}", cell.style) for name, cell in cells)


def _least_widths(columns: Sequence[Column], widths: Sequence[int], available: int) -> dict[int, int] | None:
    """Return the columns to show, by number, and the width below which none is folded; None if a whole one would be.

    Where a terminal is too narrow, optional columns go, the last first.
    """
    least = {n: width if columns[n].whole else min(width, FOLDED) for n, width in enumerate(widths)}

    def too_wide() -> bool:
        return sum(width + GAP for width in least.values()) - GAP > available

    for n in reversed(range(len(columns))):
        if columns[n].optional and too_wide():
            del least[n]
    return None if too_wide() else least


def _width(column: Column, cells: Iterable[Styled]) -> int:
    return max(len(line) for text in (column.name, *(cell.text for cell in cells)) for line in text.split("\n"))


def print_details(title: str, details: Iterable[tuple[str, Cell]]) -> None:
    """Print a title and a line for each detail that is not empty."""
    said = [(name, _one_line(_styled(value).text)) for name, value in details if value not in (None, "", (), [])]
    width = max((len(name) for name, _ in said), default=0)
    print_lines([(title, "bold"), *((f"  {name:{width}}  {text}", "") for name, text in said)])


def print_lines(lines: Iterable[tuple[str, str]]) -> None:
    """Print lines, each with a style of rich, which only terminals show. Long lines are left to the terminal."""
    if not on_terminal():
        for text, _ in lines:
            print(text)
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for text, style in lines:
        console.print(text, style=style or None, markup=False)


# Files and progress


@contextmanager
def output_file(path: Path | None) -> Iterator[TextIO]:
    """Open ``path`` for writing, or standard output if None; a file that cannot be written is exit status 2."""
    if path is None:
        yield sys.stdout
        return
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        fail(f"{path}: cannot be written: {error.strerror}", status=2)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error, if that is a terminal, while the body runs; call what it gets with what is done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


# Times and sizes


def moment(at: datetime) -> str:
    """``2026-01-31 12:34:56`` in UTC, as in the logs."""
    return at.strftime("%Y-%m-%d %H:%M:%S")


def minute(at: datetime | None) -> str:
    """``2026-01-31 12:34`` in UTC, "" for None."""
    return at.strftime("%Y-%m-%d %H:%M") if at else ""


def relative(at: datetime, now: datetime) -> str:
    """``in 12 min``, ``3 s ago``, ``now``."""
    seconds = (at - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(seconds)} ago"


def size(octets: float) -> str:
    """``812 B``, ``9.8 kB``, ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 1000 or unit == "GB":
            break
        octets /= 1000
    return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
