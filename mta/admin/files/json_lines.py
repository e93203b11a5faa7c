"""Files of JSON lines: one object each, whose fields have the names of columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import orjson

from mta.admin.files.table_file import BadRow, RowError, TableFile


class JsonLineError(ValueError):
    """What is wrong with a line."""


def json_lines(source: TableFile, columns: Collection[str]) -> Iterator[tuple[int, dict[str, str] | BadRow]]:
    """Yield every line that has text, with its number: texts by column. Raises UnusableFile."""
    lines, number = source.lines(), 0
    while True:
        number += 1
        try:
            text = next(lines)
            if text.strip():
                yield number, _record(text, columns)
        except StopIteration:
            return
        except (JsonLineError, RowError) as error:
            yield number, BadRow(number, str(error))


def _record(text: str, columns: Collection[str]) -> dict[str, str]:
    try:
        record = orjson.loads(text.encode("utf-8", "surrogateescape"))
    except ValueError as error:
        cut = "" if text.endswith("\n") else "; is the file cut off here?"
        raise JsonLineError(f"is not JSON in UTF-8: {str(error)[:100]}{cut}") from None
    if not isinstance(record, dict):
        raise JsonLineError("is not a JSON object")
    if unknown := [name for name in record if name not in columns]:
        raise JsonLineError(f"{unknown[0][:40]!r} is not known; known: {', '.join(columns)}")
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
            raise JsonLineError(f"{name}: must be a string, a list of strings, true, false or null")
