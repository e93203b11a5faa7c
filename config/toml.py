"""Read TOML into a model and report all errors at once, with file, line and key.

A wrong key is removed and the rest is validated again, so that one error does not hide others.

Invariants: raises nothing but ConfigError; a value that the schema marks ``writeOnly`` (a password) is never shown.
Limitations: a TOML syntax error is reported alone, because the rest cannot be read.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from config.describe import JsonSchema, allowed, find, show
from config.toml_positions import KeyPath, locate, nearest
from config.types import Section

DEFAULTS = Path(__file__).parent / "defaults"
PROFILES = Path(__file__).parent / "profiles"

MAX_TEXT = 2_000_000  # characters; a configuration has a few kB

Model = TypeVar("Model", bound=Section)


class ConfigError(Exception):
    """All errors of a configuration, one line each: ``file:line: key: what is wrong and how to fix it``."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Mistake:
    """An error at ``path``; ``text`` says how to fix it. ``about``: other keys of the same table that it depends on."""

    path: KeyPath
    text: str
    about: tuple[str, ...] = ()


Check = Callable[[Any], Iterable[Mistake]]


def read(text: str, name: str, model: type[Model], check: Check) -> Model:
    """Return ``text`` as a ``model``; ``name`` is the file's, for messages. Raises ConfigError."""
    try:
        value, mistakes, taken_out = _validate(_parse(text, name), model)
        if value is not None:
            mistakes += [found for found in check(value) if not _is_touched(found, taken_out)]
            if not mistakes:
                return value
        lines = placed(mistakes, text, name)
    except RecursionError:
        raise ConfigError([f"{name}: lists or tables are nested too deeply"]) from None
    raise ConfigError(lines)


def placed(mistakes: Iterable[Mistake], text: str, name: str) -> list[str]:
    """Return the lines of a ConfigError for ``mistakes``, by line number. ``text`` must be valid TOML."""
    lines = locate(text)
    found = sorted(((nearest(lines, mistake.path) or 1, mistake) for mistake in mistakes), key=lambda pair: pair[0])
    return [f"{name}:{line}: {dotted(mistake.path)}: {mistake.text}" for line, mistake in found]


def read_text(path: Path) -> str:
    """Return the text of ``path``. Raises ConfigError."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 (byte {error.start})"]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([f"{path}: cannot read file: {reason}"]) from None


def dotted(path: KeyPath) -> str:
    """Return ``path`` as ``submission.listeners[0].port``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _parse(text: str, name: str) -> dict[str, Any]:
    if len(text) > MAX_TEXT:
        raise ConfigError([f"{name}: file too large: more than {MAX_TEXT} characters"])
    try:
        return tomllib.loads(text)
    except ValueError as error:
        # "Invalid value (at line 3, column 5)", "... (at end of document)"; no place for a number of 5,000 digits
        match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
        if match is None:
            raise ConfigError([f"{name}: invalid TOML: {error}"]) from None
        line = match[2] or text.count("\n") + 1
        column = f" at column {match[3]}" if match[3] else ""
        raise ConfigError([f"{name}:{line}: invalid TOML{column}: {match[1][:1].lower()}{match[1][1:]}"]) from None


def _validate(data: dict[str, Any], model: type[Model]) -> tuple[Model | None, list[Mistake], list[KeyPath]]:
    """Return a model of the valid part of ``data``, the errors, and the paths removed because of them."""
    mistakes: dict[KeyPath, Mistake] = {}
    taken_out: list[KeyPath] = []
    schema: JsonSchema | None = None
    rest = data
    while True:
        try:
            return model.model_validate(rest), list(mistakes.values()), taken_out
        except ValidationError as error:
            schema, before = schema or model.model_json_schema(), list(taken_out)
            for detail in error.errors(include_url=False, include_context=False):
                path, cut = _place(schema, detail["loc"], detail["type"])
                if not any(path[: len(earlier)] == earlier for earlier in before):
                    mistakes.setdefault(path, Mistake(path, _explain(schema, data, path, detail["type"])))
                taken_out.append(cut)
            if () in taken_out or set(taken_out) == set(before):
                return None, list(mistakes.values()), taken_out
            rest = copy.deepcopy(data)
            for cut in taken_out:
                _remove(rest, cut)


def _place(schema: JsonSchema, location: KeyPath, kind: str) -> tuple[KeyPath, KeyPath]:
    """Return the key that pydantic means (it appends names of union members) and the path to remove."""
    if kind == "extra_forbidden":
        return location, location
    path = location[: find(schema, location)[1]]
    cut = path[:-1] if kind == "missing" else path
    while cut and isinstance(cut[-1], int):
        cut = cut[:-1]  # removing one item would renumber those after it: remove the list
    return path, cut


def _is_touched(found: Mistake, taken_out: list[KeyPath]) -> bool:
    """Tell whether a key that ``found`` depends on was itself removed, so that ``found`` may be wrong."""
    table = found.path if isinstance(found.path[-1], int) else found.path[:-1]
    places = [found.path, *((*table, key) for key in found.about)]
    return any(place[: len(cut)] == cut for place in places for cut in taken_out)


def _remove(data: Any, path: KeyPath) -> None:
    for step in path[:-1]:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(data, dict):
        data.pop(path[-1], None)


def _explain(schema: JsonSchema, data: Any, path: KeyPath, kind: str) -> str:
    part, _ = find(schema, path)
    if kind == "missing":
        return f"required key is missing; expected {allowed(schema, part)}"
    if kind == "extra_forbidden":
        return _unknown(schema, path)
    for step in path:
        data = data[step]
    given = "this value" if part.get("writeOnly") else show(data)
    return f"{given} is not valid; expected {allowed(schema, part)}"


def _unknown(schema: JsonSchema, path: KeyPath) -> str:
    keys = sorted(find(schema, path[:-1])[0].get("properties", {}))
    name = str(path[-1])
    if close := get_close_matches(name, keys, 1, 0.7):
        return f'unknown key; did you mean "{close[0]}"?'
    if places := [place for place in _everywhere(schema, schema, ()) if place[-1] == name]:
        return f"unknown key; did you mean {' or '.join(dotted(place) for place in places[:3])}?"
    return f"unknown key; known keys here: {', '.join(keys)}"


def _everywhere(schema: JsonSchema, part: JsonSchema, path: KeyPath) -> Iterable[KeyPath]:
    part, _ = find({**part, "$defs": schema.get("$defs", {})}, ())
    for key, below in part.get("properties", {}).items():
        yield (*path, key)
        yield from _everywhere(schema, below, (*path, key))
