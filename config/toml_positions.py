"""Line numbers of the keys in a TOML text: ``("submission", "listeners", 0, "port") -> 14``.

``tomllib`` does not keep positions, so this reads the structure again.

Limitations: only for text that ``tomllib`` has accepted; for other text the numbers are meaningless.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def locate(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of every table, key and array element."""
    return _Reader(text).read()


def nearest(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """Return the line of ``path``, or of the innermost enclosing table if it is not in the text.

    A table may be written where a list of tables is expected, and the other way round: numbers may be missing.
    """
    names: dict[KeyPath, int] = {}
    for known, line in lines.items():
        names.setdefault(_names(known), line)
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
        if isinstance(path[end - 1], str) and _is_other_form(path[:end], lines) and _names(path[:end]) in names:
            return names[_names(path[:end])]
    return None


def _names(path: KeyPath) -> KeyPath:
    return tuple(step for step in path if isinstance(step, str))


def _is_other_form(path: KeyPath, lines: dict[KeyPath, int]) -> bool:
    """Whether the text has a table for the list that ``path`` leads through, or a list for the table."""
    tables = [path[:end] for end in range(1, len(path)) if isinstance(path[end], str)]
    return any(
        (isinstance(table[-1], int) and table not in lines) or (isinstance(table[-1], str) and (*table, 0) in lines)
        for table in tables
    )


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.starts = [0] + [match.end() for match in re.finditer("\n", text)]
        self.lines: dict[KeyPath, int] = {}
        self.tables: dict[KeyPath, int] = {}  # number of [[headers]] seen per array of tables

    def read(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self.blank() < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
        return self.lines

    def blank(self) -> int:
        if match := _BLANK.match(self.text, self.at):
            self.at = match.end()
        return self.at

    def mark(self, path: KeyPath, position: int) -> None:
        self.lines.setdefault(path, bisect_right(self.starts, position))

    def header(self) -> KeyPath:
        """Read ``[a.b]`` or ``[[a.b]]`` and return the path of the pairs below it."""
        start, brackets = self.at, 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        keys = self.dotted()
        self.at = self.text.index("]", self.at) + brackets
        path: KeyPath = ()
        for position, key in enumerate(keys, 1):
            path += (key,)
            self.mark(path, start)
            if brackets == 2 and position == len(keys):
                self.tables[path] = self.tables.get(path, 0) + 1
            if path in self.tables:
                path += (self.tables[path] - 1,)
                self.mark(path, start)
        return path

    def dotted(self) -> list[str]:
        keys = []
        while True:
            self.blank()
            if match := _BARE.match(self.text, self.at):
                keys.append(match[0])
            elif match := _STRING.match(self.text, self.at):
                keys.append(tomllib.loads(f"key = {match[0]}")["key"])
            else:
                return keys
            self.at = match.end()
            self.blank()
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def pair(self, table: KeyPath) -> None:
        start, path = self.at, table
        for key in self.dotted():
            path += (key,)
            self.mark(path, start)
        self.at = self.text.index("=", self.at) + 1
        self.blank()
        self.value(path)

    def value(self, path: KeyPath) -> None:
        if self.text[self.at] in "[{":
            self.collection(path)
        elif match := _STRING.match(self.text, self.at) or _SCALAR.match(self.text, self.at):
            self.at = match.end()

    def collection(self, path: KeyPath) -> None:
        """Read an array or an inline table."""
        is_array, position = self.text[self.at] == "[", 0
        self.at += 1
        while self.text[self.blank()] not in "]}":
            if is_array:
                self.mark((*path, position), self.at)
                self.value((*path, position))
                position += 1
            else:
                self.pair(path)
            if self.text[self.blank()] == ",":
                self.at += 1
        self.at += 1
