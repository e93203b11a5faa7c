"""Files of consents: CSV and JSON lines, read record by record with every mistake and its line, and written again.

Invariants: a file of any length is read in a bounded amount of memory. A bad record never hides the next one. A file
with unknown columns is not used, nor is half of a record.

Limitations: a quotation mark that is not closed takes lines with it, up to 128 kB; they are one mistake.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

import orjson

from mta.cli.consent import fields
from mta.cli.consent.fields import COLUMNS, REQUIRED, FieldError, ImportDefaults
from policy.permission.evidence import Evidence

if TYPE_CHECKING:
    from mta.store.permission.ledger import Given

LONGEST = 1 << 20  # octets of a line
_DELIMITERS = ",;\t"
_EVIDENCE = tuple(field.name for field in dataclasses.fields(Evidence))


class UnusableFile(Exception):
    """Why a file cannot be used at all."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be used. ``line``: where it begins, 1 for the first."""

    line: int
    text: str


@dataclass(slots=True)
class ConsentFile:
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

    def digest(self, defaults: ImportDefaults) -> bytes:
        """Return the hash of the file and of how it is read; rewind it."""
        found = hashlib.file_digest(self.file, "sha256")
        found.update(f"{defaults.zone} {defaults.topics} {defaults.basis}".encode())
        self.file.seek(0)
        return found.digest()

    def lines(self) -> Iterator[str]:
        """Yield its lines; octets that are not UTF-8 are kept as surrogates, for the field to report."""
        while raw := self.file.readline(LONGEST):
            self.octets += len(raw)
            yield raw.decode("utf-8", "surrogateescape")


def read(source: ConsentFile, defaults: ImportDefaults, *, skip: int = 0) -> Iterator[Given | BadRecord]:
    """Yield every record after the first ``skip``, of CSV with a header line or JSON lines. Raises UnusableFile."""
    start = source.file.read(4)
    source.file.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start:
        raise UnusableFile("is UTF-16 or not text; save it as UTF-8")
    found = _json_lines(source) if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else _csv(source, defaults)
    for n, (line, record) in enumerate(found):
        if n < skip:
            continue
        if isinstance(record, BadRecord):
            yield record
            continue
        try:
            yield fields.read(record, defaults)
        except FieldError as error:
            yield BadRecord(line, str(error))


_Numbered = tuple[int, Mapping[str, str] | BadRecord]


def _csv(source: ConsentFile, defaults: ImportDefaults) -> Iterator[_Numbered]:
    lines = source.lines()
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    names = _names(next(csv.reader([first], delimiter=delimiter), []), defaults)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 2  # the first line is the names'
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, BadRecord(line, _csv_mistake(str(error), line, reader.line_num + 1))
            continue
        if not row or row == [""]:
            continue
        if len(row) != len(names):
            cut = "; is the file cut off here?" if len(row) < len(names) else "; quote texts that contain the separator"
            yield line, BadRecord(line, f"has {len(row)} fields instead of {len(names)}{cut}")
        else:
            yield line, dict(zip(names, row, strict=True))


def _csv_mistake(text: str, first: int, last: int) -> str:
    through = f" (through line {last})" if last > first else ""
    if "unexpected end of data" in text:
        return f"a quotation mark is not closed before the end of the file{through}; is it cut off here?"
    return f"is not CSV: {text}{through}"


def _names(cells: list[str], defaults: ImportDefaults) -> list[str]:
    """The columns of the first line, checked. Raises UnusableFile."""
    names = [cell.strip().lower() for cell in cells]
    if not set(names) & set(COLUMNS):
        raise UnusableFile(f"the first line does not name the columns; known: {', '.join(COLUMNS)}")
    for name in names:
        if name not in COLUMNS:
            close = get_close_matches(name, COLUMNS, 1)
            raise UnusableFile(
                f"column {name[:40]!r} is not known; "
                + (f"did you mean {close[0]}?" if close else f"known: {', '.join(COLUMNS)}")
            )
        if names.count(name) > 1:
            raise UnusableFile(f"column {name} appears twice")
    for name in REQUIRED:
        if name not in names and not (name == "basis" and defaults.basis):
            raise UnusableFile(f"column {name} is missing ({COLUMNS[name]})")
    return names


def _json_lines(source: ConsentFile) -> Iterator[_Numbered]:
    for line, text in enumerate(source.lines(), 1):
        if not text.strip():
            continue
        try:
            yield line, _json_record(text)
        except FieldError as error:
            yield line, BadRecord(line, str(error))


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
            raise FieldError(f"{name}: must be a string, a list of strings, true, false or null")


async def write(file: TextIO, pages: AsyncIterator[list[Given]], *, as_json: bool) -> int:
    """Write consents in a format that ``read`` reads; return how many."""
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
    """Return the fields that are not empty, by their names."""
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
