"""What a key accepts, in words: for error messages and ``docs/config.md``.

All of it is read from the JSON Schema of the settings, so that messages, document and schema agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from functools import cache
from typing import Any

from config.types import MAILBOX, Section

JsonSchema = dict[str, Any]

FULL = {
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table",
    "duration": 'a duration such as "500ms", "30s", "5m", "2h" or "5d"',
    "size": 'a size such as "64kB", "25MB" or "1GiB", or a number of bytes',
    "path": "a path",
    "network": 'a network such as "192.0.2.0/24" or "2001:db8::/32", without host bits',
    "rate": 'a rate such as "10/s", "300/m", "5000/h" or "50000/d"',
    "name": "a name of up to 40 lower-case letters, digits, dots, hyphens and underscores",
    "rule-name": "lower-case letters, digits and hyphens",
    "reply-code": 'a reply code such as "550", "55x" or "5xx"',
    "enhanced-code": 'an enhanced code such as "5.1.1", "5.7.x" or "x.2.2"',
    "hours": 'an hour range such as "mon-fri 08:00-20:00" or "sat,sun 10:00-14:00"',
    "date": "a date such as 2026-01-31, without quotes",
    "hostname": "a host name (letters, digits, hyphens and dots; other scripts as xn--)",
}
"""Words of error messages, by type or format."""

SHORT = {name: name for name in FULL} | {
    "boolean": "true or false",
    "array": "list",
    "hostname": "host name",
    "hours": "hour range",
}
"""Words of the tables in ``docs/config.md``."""


@cache
def schema_of(model: type[Section]) -> JsonSchema:
    """Return the JSON Schema of ``model``, which takes a tenth of a second to make; nobody changes it."""
    return model.model_json_schema()


def find(schema: JsonSchema, path: tuple[str | int, ...]) -> tuple[JsonSchema, int]:
    """Return the part of ``schema`` at ``path``, and how many steps of the path exist."""
    here = resolve(schema, schema)
    for steps, step in enumerate(path):
        keyed = here.get("properties", {}).get(step) or here.get("additionalProperties")
        below = here.get("items") if isinstance(step, int) else keyed
        if not below:
            return here, steps
        here = resolve(schema, below)
    return here, len(path)


def resolve(schema: JsonSchema, part: JsonSchema) -> JsonSchema:
    """Follow the ``$ref`` of ``part``; its own description and default win."""
    if "$ref" in part:
        target = schema["$defs"][part["$ref"].rpartition("/")[2]]
        return {**target, **{key: value for key, value in part.items() if key != "$ref"}}
    return part


def allowed(schema: JsonSchema, part: JsonSchema, words: Mapping[str, str] = FULL) -> str:
    """Return what ``part`` of ``schema`` accepts: ``"none" or "starttls"``, ``an integer from 1 to 9``."""
    part = resolve(schema, part)
    if "anyOf" in part:
        choices = [allowed(schema, choice, words) for choice in part["anyOf"] if choice.get("type") != "null"]
        return " or ".join(choices)
    if "enum" in part or "const" in part:
        return _either([show(value) for value in part.get("enum", [part.get("const")])])
    if part.get("format") in words:
        return words[part["format"]]
    if part.get("pattern") == MAILBOX and words is FULL:
        return 'an address such as "postmaster@example.com"'
    name = words.get(str(part.get("type")), "a value")
    if part.get("type") != "array":
        return name + _bounds(part)
    least = " one or more" if part.get("minItems") else ""
    return f"{name} of{least} {_plural(allowed(schema, part.get('items', {}), words))}"


def show(value: Any) -> str:
    """Return ``value`` as it might be written in the file, shortened."""
    match value:
        case str():
            return json.dumps(value if len(value) <= 60 else value[:57] + "...", ensure_ascii=False)
        case bool():
            return "true" if value else "false"
        case int() if abs(value) >= 10**18:
            return "this number"
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


def _plural(name: str) -> str:
    """Return ``durations`` for ``a duration``, ``sizes such as "1MB"`` for ``a size such as "1MB"``."""
    for article in ("a ", "an "):
        name = name.removeprefix(article)
    for ending in (" such as ", " (", " from ", " ≥ "):
        if ending in name:
            return name.replace(ending, "s" + ending, 1)
    return name if name.startswith('"') else name + "s"


def _either(choices: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))


def _bounds(part: JsonSchema) -> str:
    low, high, above = part.get("minimum"), part.get("maximum"), part.get("exclusiveMinimum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" ≥ {low}"
    if high is not None:
        return f" ≤ {high}"
    return f" > {above}" if above is not None else ""
