"""Files of rows as spreadsheets and programs write them: one reader for every command that imports a list.

Read are UTF-8 with or without a byte order mark; commas, semicolons or tabs, also named by Excel's line ``sep=;``; line
ends of Unix, Windows and old Macs; blanks before quotes; empty columns at the end.

Invariants: a file of any length is read in a bounded amount of memory. A bad row never hides the next one, and is told
with its line. Nothing is replaced or dropped: an octet that is not UTF-8 is left for ``text_fault`` to name.

Limitations: a quotation mark that is not closed takes lines with it, up to 128 kB; they are one mistake.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader, TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Self, TextIO

from mta.mail.characters import named

LONGEST = 1 << 20  # characters of a line
_DELIMITERS = ",;\t"
_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?\s*\Z', re.IGNORECASE)
_BAD = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class UnusableFile(Exception):
    """Why a file cannot be used at all."""


class RowError(ValueError):
    """Why a row cannot be read."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used. ``line``: where it begins, 1 for the first."""

    line: int
    text: str


@dataclass(slots=True)
class TableFile:
    """An open file of ``size`` octets. ``text``: the file as ``lines`` reads it."""

    name: str
    file: BufferedReader | BufferedRandom
    size: int
    text: TextIOWrapper | None = None

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Raises OSError."""
        with open(path, "rb") as file:
            yield cls(str(path), file, path.stat().st_size)

    @property
    def octets(self) -> int:
        """How much of it is read, for a progress bar."""
        return self.file.tell()

    def digest(self, *choices: object) -> bytes:
        """Return the hash of the file and of how it is read; rewind it."""
        self.file.seek(0)
        found = hashlib.file_digest(self.file, "sha256")
        found.update(" ".join(map(str, choices)).encode())
        self.file.seek(0)
        return found.digest()

    def begins_with(self, octets: bytes) -> bool:
        """Return whether its text begins so. Raises UnusableFile if it is no text."""
        self.file.seek(0)
        start = self.file.read(64)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start[:4]:
            raise UnusableFile("is UTF-16 or not text; save it as UTF-8")
        start = start.removeprefix(b"\xef\xbb\xbf")
        self.file.seek(0)
        return start.lstrip(b" \t\r\n").startswith(octets)

    def lines(self) -> Iterator[str]:
        """Iterate over its lines; octets that are not UTF-8 become surrogates. The iterator raises RowError for a line
        that is too long, and goes on behind it."""
        self.begins_with(b"")
        if self.text is not None:
            self.text.detach()
        self.text = TextIOWrapper(self.file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        return _Lines(self.text)

    def rows(self) -> Iterator[tuple[int, list[str]] | BadRow]:
        """Yield every row that has any text, with the line it begins in, its cells stripped. Raises UnusableFile."""
        lines, skipped = self.lines(), 0
        try:
            first = next(lines, "")
        except RowError as error:
            raise UnusableFile(f"the first line {error}") from None
        if separator := _SEPARATOR.match(first):
            delimiter, skipped = separator[1], 1
        else:
            delimiter = max(_DELIMITERS, key=first.count)
            lines = chain([first], lines)
        reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
        while True:
            line = reader.line_num + skipped + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(line, _csv_fault(str(error), line, reader.line_num + skipped))
            except RowError as error:
                skipped += 1  # the reader did not count it
                yield BadRow(line, str(error))
            else:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    yield line, cells


class _Lines:
    """The lines of a file, with their ends as they are."""

    def __init__(self, text: TextIO) -> None:
        self._text = text

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LONGEST)
        if not line:
            raise StopIteration
        if len(line) < LONGEST or line.endswith(("\n", "\r")):
            return line
        while (more := self._text.readline(LONGEST)) and not more.endswith(("\n", "\r")):
            pass
        raise RowError(f"has more than {LONGEST} characters")


def column_names(cells: list[str]) -> list[str]:
    """Return the names of columns in lower case, without the empty ones that spreadsheets leave at the end."""
    names = [cell.lower() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names


def without_empty_end(cells: list[str], columns: int) -> list[str]:
    """Return ``cells`` without the empty ones behind the last of ``columns``."""
    while len(cells) > columns and not cells[-1]:
        cells.pop()
    return cells


def text_fault(text: str) -> str | None:
    """Return what is wrong with a cell as text: an octet that is not UTF-8, a control character."""
    found = None if text.isascii() and text.isprintable() else _BAD.search(text)
    if found is None:
        return None
    cure = "save the file as UTF-8" if found[0] >= "\ud800" else "take it out"
    return f"{named(found[0]).removesuffix(',')} at position {found.start() + 1}; {cure}"


def _csv_fault(text: str, first: int, last: int) -> str:
    through = f" (through line {last})" if last > first else ""
    if "unexpected end of data" in text:
        return f"a quotation mark is not closed before the end of the file{through}; is it cut off here?"
    return f"is not CSV: {text}{through}"
