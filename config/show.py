"""Settings as a TOML text that reads back to the same settings.

It must never show a secret: what the schema marks ``writeOnly`` appears with its password starred.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

from config.describe import JsonSchema, find, show
from config.types import Section

_UNITS = (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0))
_PASSWORD = re.compile(r"(?<=:)[^:@/]*(?=@)")


def to_toml(section: Section) -> str:
    """``section`` with all its values, whether given or default."""
    return "\n".join(_table(section, type(section).model_json_schema(), ())).strip() + "\n"


def duration(seconds: float) -> str:
    """``300.0`` as ``5m``: the largest unit that needs no fraction."""
    for unit, length in _UNITS:
        if seconds and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"


def _table(section: Section, schema: JsonSchema, path: tuple[str, ...]) -> Iterator[str]:
    tables: list[tuple[str, Section | list[Section]]] = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        part, _ = find(schema, (*path, name))
        if isinstance(value, Section) or (isinstance(value, list) and value and isinstance(value[0], Section)):
            tables.append((name, value))
        elif value is not None:
            yield f"{name} = {_value(value, part)}"
    for name, value in tables:
        for item in value if isinstance(value, list) else [value]:
            here = (*path, name)
            # the schema of a list's items does not depend on which item it is
            inner = (*path, name, 0) if isinstance(value, list) else here
            title = ".".join(step for step in here if isinstance(step, str))
            yield ""
            yield f"[[{title}]]" if isinstance(value, list) else f"[{title}]"
            yield from _table(item, schema, inner)  # type: ignore[arg-type]


def _value(value: Any, part: JsonSchema) -> str:
    match value:
        case list():
            return "[" + ", ".join(_value(item, part.get("items", {})) for item in value) + "]"
        case Enum():
            return show(value.value)
        case float() if part.get("format") == "duration":
            return show(duration(value))
        case bool() | int() | float() | date():
            return show(value)
        case str() if part.get("writeOnly"):
            return _quoted(_PASSWORD.sub("***", value, count=1))
        case Path() | str():
            return _quoted(str(value))
        case _:
            return _quoted(str(value))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04x}", escaped) + '"'
