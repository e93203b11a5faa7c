"""Files of consents: CSV and JSON lines, read record by record with every mistake and its line, and written again.

Invariants: a file of any length is read in a bounded amount of memory. A bad record never hides the next one. A file
with unknown columns is not used, nor is half of a record.

Limitations: those of ``mta.admin.files.table_file``.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from io import StringIO
from typing import TYPE_CHECKING

import orjson

from mta.admin.files import consent_fields as fields
from mta.admin.files.consent_fields import COLUMNS, REQUIRED, FieldError, ImportDefaults
from mta.admin.files.json_lines import json_lines
from mta.admin.files.table_file import BadRow, TableFile, UnusableFile, column_names, without_empty_end
from mta.mail.characters import hidden
from policy.permission.evidence import Evidence

if TYPE_CHECKING:
    from mta.store.permission.ledger import Given

_EVIDENCE = tuple(field.name for field in dataclasses.fields(Evidence))


def read(source: TableFile, defaults: ImportDefaults, *, skip: int = 0) -> Iterator[Given | BadRow]:
    """Yield every record after the first ``skip``, of CSV with a header line or JSON lines. Raises UnusableFile."""
    found = json_lines(source, COLUMNS) if source.begins_with(b"{") else _csv(source, defaults)
    for n, (line, record) in enumerate(found):
        if n < skip:
            continue
        if isinstance(record, BadRow):
            yield record
            continue
        try:
            yield fields.read(record, defaults)
        except FieldError as error:
            yield BadRow(line, str(error))


_Numbered = tuple[int, Mapping[str, str] | BadRow]


def _csv(source: TableFile, defaults: ImportDefaults) -> Iterator[_Numbered]:
    rows = source.rows()
    first = next(rows, (1, list[str]()))
    if isinstance(first, BadRow):
        raise UnusableFile(f"line {first.line} {first.text}")
    names = _names(column_names(first[1]), defaults)
    for row in rows:
        if isinstance(row, BadRow):
            yield row.line, row
            continue
        line, cells = row
        cells = without_empty_end(cells, len(names))
        if len(cells) != len(names):
            cut = (
                "; is the file cut off here?" if len(cells) < len(names) else "; quote texts that contain the separator"
            )
            yield line, BadRow(line, f"has {len(cells)} fields instead of {len(names)}{cut}")
        else:
            yield line, dict(zip(names, cells, strict=True))


def _names(names: list[str], defaults: ImportDefaults) -> list[str]:
    """The columns of the first line, checked. Raises UnusableFile."""
    if not set(names) & set(COLUMNS):
        raise UnusableFile(f"the first line does not name the columns; known: {', '.join(COLUMNS)}")
    for name in names:
        if name not in COLUMNS:
            if unseen := hidden(name):
                raise UnusableFile(f"column {name[:40]!r}: {unseen} is not allowed; take it out")
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


async def encoded(pages: AsyncIterator[list[Given]], *, as_json: bool) -> AsyncIterator[tuple[int, str]]:
    """Yield consents, page by page, in a format that ``read`` reads, each with how many it has."""
    if not as_json:
        yield 0, ",".join(COLUMNS) + "\n"
    async for page in pages:
        if as_json:
            yield len(page), "".join(orjson.dumps(as_fields(each)).decode() + "\n" for each in page)
        else:
            file = StringIO()
            writer = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
            writer.writerows({name: _cell(value) for name, value in as_fields(each).items()} for each in page)
            yield len(page), file.getvalue()


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
