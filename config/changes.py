"""Which changes of a reload take effect only after a restart, key by key.

The schema says so: "Needs a restart." stands in the description of such a key, and so in ``docs/config.md``.

Invariants: a value that may hold a password is not shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from config.describe import JsonSchema, find, schema_of, show
from config.document import duration
from config.schema import Settings
from config.toml import dotted
from config.toml_positions import KeyPath
from config.types import Section

MARK = "Needs a restart."


def waiting_for_restart(in_use: Settings, wanted: Settings) -> list[str]:
    """Return a line for each key that keeps its old value: ``web.port: 8025 in use, 8026 after a restart``."""
    schema = schema_of(Settings)
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


def described(in_use: Settings, wanted: Settings) -> list[str]:
    """Return a line for each key that differs: ``shaping.default.connections: 20, then 10``.

    Tables with a name are compared by it, others as a whole.
    """
    return list(_described(schema_of(Settings), in_use, wanted, (), ""))


def _described(schema: JsonSchema, old: Section, new: Section, path: KeyPath, shown: str) -> Iterator[str]:
    for name in type(new).model_fields:
        before, after, here = getattr(old, name), getattr(new, name), (*path, name)
        label = f"{shown}.{name}" if shown else name
        if before == after:
            continue
        if isinstance(before, Section) and isinstance(after, Section):
            yield from _described(schema, before, after, here, label)
        elif _holds_sections(before, after):
            yield from _described_list(schema, before, after, here, label)
        elif _part(schema, here).get("writeOnly"):
            yield f"{label}: another value"
        else:
            yield f"{label}: {_shown(schema, here, before)}, then {_shown(schema, here, after)}"


def _described_list(
    schema: JsonSchema, old: list[Section], new: list[Section], path: KeyPath, label: str
) -> Iterator[str]:
    here = (*path, 0)
    named = [{getattr(each, "name", None): each for each in entries} for entries in (old, new)]
    if all(
        None not in by_name and len(by_name) == len(given) for by_name, given in zip(named, (old, new), strict=True)
    ):
        before, after = named
        for name in (*before, *(each for each in after if each not in before)):
            if name not in after:
                yield f"{label} {name}: removed"
            elif name not in before:
                yield f"{label} {name}: new, {_shown(schema, here, after[name])}"
            elif before[name] != after[name]:
                yield from _described(schema, before[name], after[name], here, f"{label} {name}")
        if [*before] != [*after] and set(before) == set(after):
            yield f"{label}: another order, and the first that fits counts: {', '.join(map(str, after))}"
        return
    for each in old:
        if each not in new:
            yield f"{label}: removed, {_shown(schema, here, each)}"
    for each in new:
        if each not in old:
            yield f"{label}: new, {_shown(schema, here, each)}"
