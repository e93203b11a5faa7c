"""What a key may hold, in words: for messages about mistakes and for ``docs/config.md``.

Everything is read from the JSON Schema of the settings, so that messages, document and schema cannot disagree.

It must never know a key by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

JsonSchema = dict[str, Any]

FORMATS = {
    "duration": 'a duration such as "500ms", "30s", "5m", "2h" or "5d"',
    "size": 'a size such as "64kB", "25MB" or "1GiB", or a number of octets',
    "path": "a path, relative to this file or absolute",
    "network": 'a network such as "192.0.2.0/24" or "2001:db8::/32", without host bits',
    "rule-name": "lower-case letters, digits and hyphens",
    "reply-code": 'a reply code such as "550", "55x" or "5xx"',
    "enhanced-code": 'an enhanced code such as "5.1.1", "5.7.x" or "x.2.2"',
    "date": "a date such as 2026-01-31, without quotes",
    "hostname": "a host name (letters, digits, hyphens and dots; others in their xn-- form)",
}
_PLAIN = {"boolean": "true or false", "object": "a table", "null": "nothing"}


def find(schema: JsonSchema, path: tuple[str | int, ...]) -> tuple[JsonSchema, int]:
    """The part of ``schema`` that ``path`` leads to, and how many steps of the path it knows."""
    here = resolve(schema, schema)
    for steps, step in enumerate(path):
        keyed = here.get("properties", {}).get(step) or here.get("additionalProperties")
        below = here.get("items") if isinstance(step, int) else keyed
        if not below:
            return here, steps
        here = resolve(schema, below)
    return here, len(path)


def resolve(schema: JsonSchema, part: JsonSchema) -> JsonSchema:
    """``part`` with its ``$ref`` followed; its own words (description, default) stay."""
    if "$ref" in part:
        target = schema["$defs"][part["$ref"].rpartition("/")[2]]
        return {**target, **{key: value for key, value in part.items() if key != "$ref"}}
    return part


def allowed(schema: JsonSchema, part: JsonSchema, formats: Mapping[str, str] = FORMATS) -> str:
    """What may stand at ``part`` of ``schema``: ``"none" or "starttls"``, ``a whole number from 1 to 9``."""
    part = resolve(schema, part)
    if "anyOf" in part:
        choices = [allowed(schema, choice, formats) for choice in part["anyOf"] if choice.get("type") != "null"]
        return " or ".join(choices)
    if "enum" in part or "const" in part:
        return _either([show(value) for value in part.get("enum", [part.get("const")])])
    if part.get("format") in formats:
        return formats[part["format"]]
    match part.get("type"):
        case "integer":
            return "a whole number" + _bounds(part)
        case "number":
            return "a number" + _bounds(part)
        case "array":
            return ("a list of at least one; each item: " if part.get("minItems") else "a list; each item: ") + allowed(
                schema, part.get("items", {}), formats
            )
        case "string":
            return "a text in quotes"
        case other:
            return _PLAIN.get(str(other), "a value")


def show(value: Any) -> str:
    """A value as it might stand in the file, short."""
    match value:
        case str():
            return json.dumps(value if len(value) <= 60 else value[:57] + "...", ensure_ascii=False)
        case bool():
            return "true" if value else "false"
        case int() if abs(value) >= 10**18:
            return "so large a number"
        case datetime() | date() | time():
            return value.isoformat()
        case list() if len(value) <= 40 and all(isinstance(item, str | int | float) for item in value):
            return "[" + ", ".join(show(item) for item in value) + "]"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return str(value)


def _either(choices: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))


def _bounds(part: JsonSchema) -> str:
    low, high, above = part.get("minimum"), part.get("maximum"), part.get("exclusiveMinimum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    if high is not None:
        return f" of at most {high}"
    return f" above {above}" if above is not None else ""
