"""Files of consents: CSV and JSON lines, read record by record with every mistake and its line, and written again.

A file of any length is read in a bounded amount of memory. A bad record never hides the next one.

It must never use a file whose columns it does not know, nor half of a record.

*Limits.* A quotation mark that is not closed takes lines with it, up to 128 kB; they are one mistake.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from difflib import get_close_matches
from io import BufferedReader
from pathlib import Path
from typing import Any, Self, TextIO

import orjson

from mta.cli.consent_fields import COLUMNS, REQUIRED, FieldError, Habits, read
from mta.store.permission.consent_entries import Given
from policy.permission.evidence import Evidence

LONGEST = 1 << 20  # octets of a line
_DELIMITERS = ",;\t"
_EVIDENCE = tuple(field.name for field in fields(Evidence))


class FileError(Exception):
    """Why nothing of a file can be used."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A record that cannot be used. ``line``: where it begins, 1 for the first."""

    line: int
    text: str


@dataclass(slots=True)
class Reading:
    """An open file of ``size`` octets. ``octets``: read so far, for a progress bar."""

    name: str
    file: BufferedReader
    size: int
    octets: int = 0

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Raises OSError."""
        with open(path, "rb") as file:
            yield cls(str(path), file, path.stat().st_size)

    def digest(self, habits: Habits) -> bytes:
        """By which the same file, read in the same way, is known again; it can be read from its beginning then."""
        found = hashlib.file_digest(self.file, "sha256")
        found.update(f"{habits.zone} {habits.topics} {habits.basis}".encode())
        self.file.seek(0)
        return found.digest()

    def lines(self) -> Iterator[str]:
        """Its lines; what is no UTF-8 is marked, for the field that has it to say so."""
        while raw := self.file.readline(LONGEST):
            self.octets += len(raw)
            yield raw.decode("utf-8", "surrogateescape")


def records(reading: Reading, habits: Habits, *, skip: int = 0) -> Iterator[Given | Mistake]:
    """Every record behind the first ``skip``, as CSV with a line of names or as JSON lines. Raises FileError."""
    start = reading.file.read(4)
    reading.file.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start:
        raise FileError("is UTF-16 or no text at all; save it as UTF-8")
    found = _json_lines(reading) if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else _csv(reading, habits)
    for n, (line, record) in enumerate(found):
        if n < skip:
            continue
        if isinstance(record, Mistake):
            yield record
            continue
        try:
            yield read(record, habits)
        except FieldError as error:
            yield Mistake(line, str(error))


_Numbered = tuple[int, Mapping[str, str] | Mistake]


def _csv(reading: Reading, habits: Habits) -> Iterator[_Numbered]:
    lines = reading.lines()
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    names = _names(next(csv.reader([first], delimiter=delimiter), []), habits)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 2  # the first line is the names'
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, Mistake(line, _csv_mistake(str(error), line, reader.line_num + 1))
            continue
        if not row or row == [""]:
            continue
        if len(row) != len(names):
            cut = "; is the file cut off here?" if len(row) < len(names) else "; quote texts that hold the separator"
            yield line, Mistake(line, f"has {len(row)} fields instead of {len(names)}{cut}")
        else:
            yield line, dict(zip(names, row, strict=True))


def _csv_mistake(text: str, first: int, last: int) -> str:
    through = f" (through line {last})" if last > first else ""
    if "unexpected end of data" in text:
        return f"a quotation mark is not closed before the end of the file{through}; is it cut off here?"
    return f"is not CSV: {text}{through}"


def _names(cells: list[str], habits: Habits) -> list[str]:
    """The columns of the first line, checked. Raises FileError."""
    names = [cell.strip().lower() for cell in cells]
    if not set(names) & set(COLUMNS):
        raise FileError(f"the first line does not name the columns; known: {', '.join(COLUMNS)}")
    for name in names:
        if name not in COLUMNS:
            close = get_close_matches(name, COLUMNS, 1)
            raise FileError(
                f"column {name[:40]!r} is not known; "
                + (f"did you mean {close[0]}?" if close else f"known: {', '.join(COLUMNS)}")
            )
        if names.count(name) > 1:
            raise FileError(f"column {name} is there twice")
    for name in REQUIRED:
        if name not in names and not (name == "basis" and habits.basis):
            raise FileError(f"column {name} is missing ({COLUMNS[name]})")
    return names


def _json_lines(reading: Reading) -> Iterator[_Numbered]:
    for line, text in enumerate(reading.lines(), 1):
        if not text.strip():
            continue
        try:
            yield line, _json_record(text)
        except FieldError as error:
            yield line, Mistake(line, str(error))


def _json_record(text: str) -> dict[str, str]:
    try:
        record = orjson.loads(text.encode("utf-8", "surrogateescape"))
    except ValueError as error:
        cut = "" if text.endswith("\n") else "; is the file cut off here?"
        raise FieldError(f"is not JSON in UTF-8: {str(error)[:100]}{cut}") from None
    if not isinstance(record, dict):
        raise FieldError("is not a JSON object")
    if unknown := [name for name in record if name not in COLUMNS]:
        raise FieldError(f"{unknown[0][:40]!r} is not known; known: {', '.join(COLUMNS)}")
    return {name: _plain(name, value) for name, value in record.items()}


def _plain(name: str, value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() if all(isinstance(each, str) for each in value):
            return "|".join(value)
        case _:
            raise FieldError(f"{name}: must be a text, a list of texts, true, false or null")


async def write(file: TextIO, pages: AsyncIterator[list[Given]], *, as_json: bool) -> int:
    """Consents in a form that ``records`` reads; how many."""
    writer = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
    if not as_json:
        writer.writeheader()
    count = 0
    async for page in pages:
        count += len(page)
        if as_json:
            file.writelines(orjson.dumps(as_fields(each)).decode() + "\n" for each in page)
        else:
            writer.writerows({name: _cell(value) for name, value in as_fields(each).items()} for each in page)
    return count


def as_fields(given: Given) -> dict[str, object]:
    """The fields that are not empty, by their names."""
    said = {
        "address": str(given.address),
        "topics": given.topics,
        "basis": given.basis.value,
        "given_at": given.given_at,
        "confirmed_at": given.confirmed_at,
        "revoked_at": given.revoked_at,
        **{name: getattr(given.evidence, name) for name in _EVIDENCE},
    }
    return {name: value for name, value in said.items() if value not in ("", None, ())}


def _cell(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case tuple():
            return "|".join(value)
        case datetime():
            return value.isoformat()
        case _:
            return str(value)
