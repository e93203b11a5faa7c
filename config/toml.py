"""Read TOML into a model and report all errors at once, with file, line and key.

A line that is no TOML is repaired, and a wrong key removed, to validate the rest: one error does not hide others. Later
checks, of several keys or of the files that are named, add what they find to the same ``ConfigDraft``.

Invariants: raises nothing but ConfigError; a value that the schema marks ``writeOnly`` (a password) is never shown.
"""

from __future__ import annotations

import codecs
import copy
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from config.describe import JsonSchema, allowed, find, schema_of, show
from config.toml_positions import KeyPath, locate, nearest
from config.toml_repair import SyntaxMistake, parse
from config.types import Section

DEFAULTS = Path(__file__).parent / "defaults"
FONTS = Path(__file__).parent / "fonts"
LANGUAGES = Path(__file__).parent / "languages"
PROFILES = Path(__file__).parent / "profiles"

MAX_TEXT = 2_000_000  # characters; a configuration has a few kB

Model = TypeVar("Model", bound=Section)


class ConfigError(Exception):
    """All errors of a configuration, one line each: ``file:line: key: what is wrong and how to fix it``."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class MistakeLevel(Enum):
    """How much a mistake matters."""

    ERROR = "error"
    """Nothing starts with it, and a reload is refused."""
    WARNING = "warning"
    """Something will not work, on this machine or at all; the rest does, so that the service starts."""
    NOTE = "note"
    """It works and may surprise."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """An error at ``path``; ``text`` says how to fix it. ``about``: other keys of the same table that it depends on."""

    path: KeyPath
    text: str
    about: tuple[str, ...] = ()
    level: MistakeLevel = MistakeLevel.ERROR


Check = Callable[[Any], Iterable[Mistake]]


@dataclass(slots=True)
class ConfigDraft(Generic[Model]):
    """What a text holds. ``value``: its valid part, None if there is none. ``text`` is repaired, to find lines in.

    ``syntax``, ``foreign``: lines of errors that belong to no key of the text, and to other files.
    """

    name: str
    text: str
    value: Model | None
    syntax: list[str] = field(default_factory=list)
    found: list[Mistake] = field(default_factory=list)
    removed: list[KeyPath] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    is_empty: bool = False

    def add(self, found: Iterable[Mistake]) -> None:
        """Add what checks of ``value`` have found, except what follows from a key that is wrong itself."""
        wrong = {each.path for each in self.found if each.level is MistakeLevel.ERROR}
        self.found += [each for each in found if each.path not in wrong and not _is_touched(each, self.removed)]

    def lines(self, level: MistakeLevel = MistakeLevel.ERROR) -> list[str]:
        """Return a line for each mistake of ``level``, by line number."""
        of_keys = placed([mistake for mistake in self.found if mistake.level is level], self.text, self.name)
        return [*self.syntax, *of_keys, *self.foreign] if level is MistakeLevel.ERROR else of_keys

    def require(self) -> Model:
        """Return the value. Raises ConfigError if there is any error."""
        lines = self.lines()
        if lines or self.value is None:
            raise ConfigError(lines)
        return self.value


def read(text: str, name: str, model: type[Model], check: Check) -> Model:
    """Return ``text`` as a ``model``; ``name`` is the file's, for messages. Raises ConfigError."""
    return draft(text, name, model, check).require()


def draft(text: str, name: str, model: type[Model], check: Check) -> ConfigDraft[Model]:
    """Return what ``text`` holds, with every mistake in it. Raises ConfigError if it cannot be read at all."""
    if len(text) > MAX_TEXT:
        raise ConfigError([f"{name}: file too large: more than {MAX_TEXT} characters"])
    try:
        parsed = parse(text, lambda: schema_of(model))
        made = ConfigDraft[Model](name, parsed.text, None, [_syntax_line(each, name) for each in parsed.mistakes])
        if parsed.data is not None:
            made.is_empty = not parsed.data
            made.value, made.found, made.removed = _validate(parsed.data, model)
            if made.value is not None:
                made.add(check(made.value))
        made.lines()  # positions, too, may lie too deep
    except RecursionError:
        raise ConfigError([f"{name}: lists or tables are nested too deeply"]) from None
    return made


def _syntax_line(found: SyntaxMistake, name: str) -> str:
    line = "" if found.line is None else f":{found.line}"
    column = "" if found.column is None else f" at column {found.column}"
    return f"{name}{line}: invalid TOML{column}: {found.text}"


def placed(mistakes: Iterable[Mistake], text: str, name: str) -> list[str]:
    """Return the lines of a ConfigError for ``mistakes``, by line number. ``text`` must be valid TOML."""
    mistakes = list(mistakes)
    lines = locate(text) if mistakes else {}
    found = sorted(((nearest(lines, mistake.path) or 1, mistake) for mistake in mistakes), key=lambda pair: pair[0])
    return [f"{name}:{line}: {dotted(mistake.path)}: {mistake.text}" for line, mistake in found]


def read_text(path: Path) -> str:
    """Return the text of ``path``, without a byte order mark. Raises ConfigError."""
    try:
        octets = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([f"{path}: cannot read file: {reason}"]) from None
    if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError([f'{path}:1: is UTF-16 (some editors call it "Unicode"); save it as UTF-8'])
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        octet = error.object[error.start]
        meant = f", in Latin-1 {chr(octet)!r}" if octet >= 0xA0 else ""
        raise ConfigError(
            [f"{path}:{line}: not UTF-8: octet 0x{octet:02X}{meant} at column {column}; save the file as UTF-8"]
        ) from None


def dotted(path: KeyPath) -> str:
    """Return ``path`` as ``submission.listeners[0].port``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _validate(data: dict[str, Any], model: type[Model]) -> tuple[Model | None, list[Mistake], list[KeyPath]]:
    """Return a model of the valid part of ``data``, the errors, and the paths removed because of them.

    A value that is right but for its form, such as one where a list is expected, is put right, to look inside it.
    """
    mistakes: dict[KeyPath, Mistake] = {}
    taken_out: list[KeyPath] = []
    righted: set[KeyPath] = set()
    schema: JsonSchema | None = None
    whole = rest = data
    while True:
        try:
            return model.model_validate(rest), list(mistakes.values()), taken_out
        except ValidationError as error:
            schema, before, steps = schema or schema_of(model), list(taken_out), len(righted)
            whole = copy.deepcopy(whole)
            for detail in error.errors(include_url=False, include_context=False):
                path, cut = _place(schema, detail["loc"], detail["type"])
                right = _right_form(schema, whole, path, detail["type"])
                if not any(path[: len(earlier)] == earlier for earlier in before):
                    text = right.text if right else _explain(schema, whole, path, detail["type"])
                    mistakes.setdefault(path, Mistake(path, text))
                if right and path not in righted:
                    righted.add(path)
                    _at(whole, path[:-1])[path[-1]] = right.value
                else:
                    taken_out.append(cut)
            if () in taken_out or (set(taken_out) == set(before) and len(righted) == steps):
                return None, list(mistakes.values()), taken_out
            rest = copy.deepcopy(whole)
            for cut in taken_out:
                _remove(rest, cut)


def _at(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = data[step]
    return data


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
    value = _at(data, path)
    formats = {each.get("format") for each in (part, *part.get("anyOf", ()))}
    if "hostname" in formats and isinstance(value, str) and _is_address(value):
        return f"{show(value)} is an address; a host name is expected, such as mail.example.com"
    given = "this value" if part.get("writeOnly") else show(value)
    return f"{given} is not valid; expected {allowed(schema, part)}"


@dataclass(frozen=True, slots=True)
class _RightForm:
    """A value as it is to be written, and how to."""

    text: str
    value: Any


def _right_form(schema: JsonSchema, data: Any, path: KeyPath, problem: str) -> _RightForm | None:
    """Return the right form of the value at ``path``; None if it is more than its form that is wrong."""
    if problem in ("missing", "extra_forbidden") or not path:
        return None
    part, value, key = find(schema, path)[0], _at(data, path), str(path[-1])
    if part.get("writeOnly"):
        return None  # it would be shown
    kinds = {str(each.get("type")) for each in (part, *part.get("anyOf", ()))}
    shown = show(value)
    if "array" in kinds and isinstance(value, dict) and "$ref" in part.get("items", {}):
        return _RightForm(f"there can be several of it; write [[{dotted(path)}]], with two brackets", [value])
    if "array" in kinds and isinstance(value, str | int | float):
        return _RightForm(f"{shown} must be a list, also with one value: {key} = [{shown}]", [value])
    if part.get("properties") and isinstance(value, list) and all(isinstance(item, dict) for item in value):
        merged = {key: item for table in value for key, item in table.items()}
        return _RightForm(f"there is one of it only; write [{dotted(path)}], with one bracket", merged)
    if "array" not in kinds and isinstance(value, list) and len(value) == 1 and not isinstance(value[0], dict):
        return _RightForm(f"one value is expected, without brackets: {key} = {show(value[0])}", value[0])
    for kind, (shape, convert) in _UNQUOTED.items():
        if kind in kinds and isinstance(value, str) and re.fullmatch(shape, value):
            return _RightForm(f"{shown} must be written without quotes: {key} = {value}", convert(value))
    return None


_UNQUOTED: dict[str, tuple[str, Callable[[str], Any]]] = {
    "integer": (r"[+-]?\d{1,18}", int),
    "number": (r"[+-]?\d{1,18}(\.\d+)?", float),
    "boolean": (r"true|false", lambda text: text == "true"),
}


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


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
