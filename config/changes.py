"""Which changes of a reload take effect only after a restart, key by key.

The schema says so: "Needs a restart." stands in the description of such a key, and so in ``docs/config.md``.

Invariants: a value that may hold a password is not shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from config.describe import JsonSchema, find, show
from config.document import duration
from config.schema import Settings
from config.toml import dotted
from config.toml_positions import KeyPath
from config.types import Section

MARK = "Needs a restart."


def waiting_for_restart(in_use: Settings, wanted: Settings) -> list[str]:
    """Return a line for each key that keeps its old value: ``web.port: 8025 in use, 8026 after a restart``."""
    schema = Settings.model_json_schema()
    lines = []
    for path, old, new in _differences(schema, in_use, wanted, ()):
        if _part(schema, path).get("writeOnly"):
            lines.append(f"{dotted(path)}: the old value in use, the new one after a restart")
        else:
            now, then = _shown(schema, path, old), _shown(schema, path, new)
            lines.append(f"{dotted(path)}: {now} in use, {then} after a restart")
    return lines


def _differences(schema: JsonSchema, old: Section, new: Section, path: KeyPath) -> Iterator[tuple[KeyPath, Any, Any]]:
    for name in type(new).model_fields:
        before, after, here = getattr(old, name), getattr(new, name), (*path, name)
        if before == after:
            continue
        if isinstance(before, Section) and isinstance(after, Section):
            yield from _differences(schema, before, after, here)
        elif _holds_sections(before, after):
            yield from _different_items(schema, before, after, here)
        elif _needs_restart(schema, here):
            yield here, before, after


def _different_items(
    schema: JsonSchema, old: list[Section], new: list[Section], path: KeyPath
) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Yield what differs in a list of tables; one that is new or gone counts if any of its keys needs a restart."""
    for n in range(max(len(old), len(new))):
        here = (*path, n)
        if n < len(old) and n < len(new):
            yield from _differences(schema, old[n], new[n], here)
        elif any(_needs_restart(schema, (*here, name)) for name in type((old + new)[0]).model_fields):
            yield here, old[n] if n < len(old) else None, new[n] if n < len(new) else None


def _holds_sections(old: Any, new: Any) -> bool:
    return isinstance(old, list) and isinstance(new, list) and any(isinstance(each, Section) for each in old + new)


def _needs_restart(schema: JsonSchema, path: KeyPath) -> bool:
    return MARK in " ".join(str(_part(schema, path).get("description", "")).split())


def _part(schema: JsonSchema, path: KeyPath) -> JsonSchema:
    return find(schema, path)[0]


def _shown(schema: JsonSchema, path: KeyPath, value: Any) -> str:
    part = _part(schema, path)
    match value:
        case None:
            return "not set" if isinstance(path[-1], str) else "none"
        case Section():
            keys = [
                f"{name} = {_shown(schema, (*path, name), getattr(value, name))}" for name in value.model_fields_set
            ]
            return "{" + ", ".join(sorted(keys)) + "}"
        case float() if part.get("format") == "duration":
            return duration(value)
        case Enum():
            return show(value.value)
        case Path():
            return str(value)
        case _:
            return show(value)
