"""Read TOML that has mistakes: say what is wrong with each line and how to write it, repair it, and read on.

What is repaired is only read, so that one mistake does not hide those behind it: nothing with mistakes is used.

Invariants: a value is never shown, for it may be a password. Lines keep their numbers.

Limitations: what begins on one line and ends on another is not repaired; then the rest is not read.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from config.describe import JsonSchema, find

MAX_REPAIRED = 200_000  # characters: each repair reads the text again
MAX_REPAIRS = 50

_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_PAIR = re.compile(r"\s*(?P<key>[A-Za-z0-9_-]+(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*(?P<sign>[=:]?)\s*(?P<value>.*?)\s*$")
_HEADER = re.compile(
    r"""\s*(?P<open>\[{1,2})\s*(?P<key>[A-Za-z0-9_."' -]+?)\s*(?P<close>\]*)\s*(?:\#.*)?$""", re.VERBOSE
)
_TYPOGRAPHIC = re.compile("[\u2018-\u201f\u00ab\u00bb\u2032\u2033]")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


@dataclass(frozen=True, slots=True)
class SyntaxMistake:
    """``line``, ``column``: from 1; None if they are not known."""

    line: int | None
    column: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """``data``: what the text holds once it is repaired, None if it cannot be. ``text``: repaired, line by line."""

    data: dict[str, Any] | None
    text: str
    mistakes: list[SyntaxMistake]


def parse(text: str, schema: Callable[[], JsonSchema]) -> Parsed:
    """Read ``text``, whose tables are described by ``schema``, which is made only if something is wrong."""
    mistakes: list[SyntaxMistake] = []
    seen: set[int] = set()
    while True:
        try:
            return Parsed(tomllib.loads(text), text, mistakes)
        except ValueError as error:
            place = _PLACE.fullmatch(str(error))
            line = (int(place[2]) if place[2] else text.count("\n") + 1) if place else None
            found = SyntaxMistake(
                line, int(place[3]) if place and place[3] else None, place[1] if place else str(error)
            )
        lines = text.split("\n")
        if (begun := _beginning(lines, found)) is not None:
            line, found = begun + 1, SyntaxMistake(begun + 1, None, found.text)
        hint, repaired = _repair(lines, found, schema)
        if (seen and not hint) or line in seen:
            return Parsed(None, text, mistakes)  # it may follow from a repair
        mistakes.append(SyntaxMistake(found.line, found.column, _sentence(found.text, hint)))
        over = len(text) > MAX_REPAIRED or len(mistakes) > MAX_REPAIRS
        if repaired is None or line is None or over:
            return Parsed(None, text, mistakes)
        seen.add(line)
        text = "\n".join(repaired)


def _sentence(text: str, hint: str) -> str:
    said = text[:1].lower() + text[1:]
    return f"{said}; {hint}" if hint else said


def _beginning(lines: list[str], found: SyntaxMistake) -> int | None:
    """Return the number of the line, from 0, where a list or text begins whose end was looked for and not found."""
    if found.text.startswith("Unclosed array"):
        opened = re.compile(r"[^#]*=\s*\[[^\]]*$")
    elif found.text.startswith('Expected "\'"'):
        opened = re.compile(r"[^#'\"]*=\s*'[^']*$")
    else:
        return None
    last = (found.line or len(lines)) - 1
    if last < len(lines) and re.match(r"""\s*["']""", lines[last]):
        return None  # a comma is missing
    if found.column is not None and "]" in lines[min(last, len(lines) - 1)]:
        return None
    return next((n for n in range(min(last, len(lines) - 1), -1, -1) if opened.match(lines[n])), None)


def _repair(lines: list[str], found: SyntaxMistake, schema: Callable[[], JsonSchema]) -> tuple[str, list[str] | None]:
    """Return how to write the line, "" if unknown, and the lines with it repaired, None if they cannot be."""
    if found.line is None or found.line > len(lines):
        return "", None
    at = found.line - 1
    line = lines[at].rstrip("\r")
    if "\r" in line:
        return "a line ends with CR alone: save the file with the line ends of Unix or Windows", None
    if line.lstrip().startswith("["):
        return _header(lines, at, line, schema, found.text)
    hint, instead = _statement(lines, at, line, found.text)
    if instead is None:
        return hint, None
    return hint, [*lines[:at], instead, *lines[at + 1 :]]


# --- tables


def _header(
    lines: list[str], at: int, line: str, schema: Callable[[], JsonSchema], text: str
) -> tuple[str, list[str] | None]:
    match = _HEADER.match(line)
    if match is None:
        return "", None
    key, opened = match["key"], match["open"]
    if match["close"] != "]" * len(opened):
        right = f"{opened}{key}{']' * len(opened)}"
        return f"write {right}", [*lines[:at], right, *lines[at + 1 :]]
    if not text.startswith(("Cannot declare", "Cannot mutate", "Cannot overwrite")):
        return "", None
    same = [
        n for n, other in enumerate(lines[:at]) if (first := _HEADER.match(other)) and _path(first["key"]) == _path(key)
    ]
    if find(schema(), _path(key))[0].get("type") == "array":
        several = [
            f"[[{key}]]" if (each := _HEADER.match(other)) and _path(each["key"]) == _path(key) else other
            for other in lines
        ]
        return f"there can be several: write [[{key}]], with two brackets, each time", several
    if not same:
        return f"keys of [{key}] stand further up already: put all of them there", None
    end = next((n for n in range(at + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    hint = f"the first [{key}] is in line {same[0] + 1}: put all its keys there"
    return hint, [*lines[:at], *[""] * (end - at), *lines[end:]]


def _path(key: str) -> tuple[str, ...]:
    return tuple(part.strip(" \"'") for part in key.split("."))


# --- keys and values


def _statement(lines: list[str], at: int, line: str, text: str) -> tuple[str, str | None]:
    """Return the hint for a line that is no header, and what to read in its place."""
    if re.match(r"\s*(//|;|--|/\*|!)", line):
        return "a comment begins with #", ""
    if text.startswith("Unclosed array") and re.match(r"""\s*["']""", line):
        return "a comma is missing at the end of the line above", f", {line}"
    match = _PAIR.match(line)
    if match is None:
        return _typographic(line) or ("", None)
    key, value = match["key"], match["value"]
    if text.startswith("Cannot overwrite"):
        return _second(lines, at, key), ""
    if match["sign"] != "=" and line.rstrip().endswith(","):
        return 'put quotes around each text of the list: ["...", "..."]', _quoted_items(line)[1:-1] + ","
    if match["sign"] == ":" and not value:
        return f"a table begins with [{key}]", ""
    if match["sign"] != "=":
        return f"write {key} = VALUE, with an equals sign", ""
    hint, right = _value(key, value)
    if not right:
        return hint, right
    return hint, f"{key} = {right}"


def _typographic(line: str) -> tuple[str, str] | None:
    if not (found := _TYPOGRAPHIC.search(line)):
        return None
    return f'the quotation mark U+{ord(found[0]):04X} is typographic: write "', _TYPOGRAPHIC.sub('"', line)


def _second(lines: list[str], at: int, key: str) -> str:
    """Return where the first key of this name in the same table is."""
    for n in range(at - 1, -1, -1):
        if lines[n].lstrip().startswith("["):
            break
        match = _PAIR.match(lines[n])
        if match and match["sign"] == "=" and _path(match["key"]) == _path(key):
            return f"{key} is in line {n + 1} already: keep one of them"
    return f"{key} is there already: keep one of them"


def _value(key: str, value: str) -> tuple[str, str | None]:
    """Return how to write a value, and a value to read in its place, None if it cannot be guessed."""
    if _TYPOGRAPHIC.search(value):
        found = _typographic(value)
        assert found
        return found
    if not value or value.startswith("#"):
        return f"a value is missing: {key} = VALUE, or remove the key", ""
    if value.startswith(("'''", '"""', "{")):
        return "", None
    if value.startswith("["):
        return _list(value)
    if value.startswith(("'", '"')):
        return _text(key, value)
    bare = re.sub(r"\s+#.*", "", value)
    if bare.lower() in (*_TRUE, *_FALSE):
        return "write true or false, in small letters and without quotes", str(bare.lower() in _TRUE).lower()
    if re.fullmatch(r"[+-]?0\d+", bare):
        return "a number has no zeros in front", str(int(bare))
    if "," in bare:
        return f'several values are a list: {key} = ["...", "..."]', _quoted_items(bare)
    return f'put quotes around texts: {key} = "..."', json.dumps(bare, ensure_ascii=False)


def _text(key: str, value: str) -> tuple[str, str | None]:
    """The same for a value that begins with a quotation mark."""
    mark = value[0]
    closed = re.match(r'"(?:\\.|[^"\\])*"' if mark == '"' else r"'[^']*'", value)
    if mark == '"' and re.search(r'\\[^btnfr"\\uU]|\\[uU](?![0-9A-Fa-f]{4})', value):
        inner = value[1:].partition('"')[0]
        return "write \\\\ for a backslash, or put the text between single quotes", json.dumps(inner)
    if closed is None:
        return f"a quotation mark {mark} is missing at the end of the text", json.dumps(value[1:], ensure_ascii=False)
    rest = value[closed.end() :].lstrip()
    if rest.startswith(","):
        return f'several values are a list: {key} = ["...", "..."]', f"[{re.sub(r'#.*', '', value)}]"
    return "nothing but a comment (#) may follow the text", closed[0]


def _list(value: str) -> tuple[str, str | None]:
    inner, closing, _ = value[1:].partition("]")
    if "[" in inner or "{" in inner:
        return "", None
    bare = re.sub(r"\s+#.*", "", inner)
    items = [item.strip() for item in bare.split(",") if item.strip()]
    if not closing:
        return "a bracket ] is missing at the end of the list", f"[{_quoted_items(bare)[1:-1]}]"
    if re.search(r"""["'][^"',]*["']\s+["']""", bare):
        return "a comma is missing between two values of the list", "[]"
    if all(re.fullmatch(r"""(["']).*\1""", item) for item in items):
        return "nothing but a comment (#) may follow the list", f"[{inner}]"
    return 'put quotes around each text of the list: ["...", "..."]', _quoted_items(bare)


def _quoted_items(bare: str) -> str:
    items = [item.strip().strip("\"'") for item in bare.split(",")]
    return "[" + ", ".join(json.dumps(item, ensure_ascii=False) for item in items if item) + "]"
