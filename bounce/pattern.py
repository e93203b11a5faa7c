"""The patterns of bounce rules: a bounded subset of regular expressions.

Receivers write the text that these patterns search, so matching must be bounded: repeats have upper bounds, do not
nest, and their combinations are counted. ``bounce.classify`` uses the words that a pattern must contain to find the few
rules that can match a reply at all.

The language, in lower case, searched in lower-cased text with single spaces: letters, digits, spaces, ``.``,
``[...]``, ``\\d``, ``\\w``, escaped punctuation, ``(a|b)``, ``?``, ``{n}``, ``{m,n}``, ``^`` at the start, ``$`` at the
end. A pattern matches whole words: ``user unknown`` is not found in ``user unknowns``.

Limitations: A search takes at most MAX_WAYS steps per character of the text.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from itertools import product

MAX_LENGTH = 500  # characters of a pattern
MAX_WAYS = 1000  # ways to match at one position; keeps the worst text of 4 KiB below a tenth of a second
_MAX_SPELLINGS = 256

_TOKEN = re.compile(
    r"(?P<set>\[\^?(?:\\.|[^\[\]\\])+\])|(?P<escape>\\.)|(?P<open>\((?:\?:)?)|(?P<close>\))|(?P<bar>\|)"
    r"|(?P<repeat>\{(?P<low>\d{1,4})(?:,(?P<high>\d{1,4}))?\}|\?)|(?P<endless>[*+]|\{\d*,?\d*\})"
    r"|(?P<any>\.)|(?P<stray>[\^$\[{\\])|(?P<letter>.)",
    re.DOTALL,
)
_WORD = re.compile(r"[a-z0-9]+")

_ALLOWED = r"letters, digits, spaces, . [..] \d \w (a|b) ? {m,n}, punctuation after \, ^ at the start and $ at the end"

Words = tuple[str, ...]
Spellings = frozenset[str]
Stretch = Spellings | None  # None: too many spellings to enumerate


class PatternError(ValueError):
    """Why a pattern is invalid, and how to fix it."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A checked pattern. ``words``: for each stretch with few spellings, the whole words of each spelling.
    Any matching text has, for every stretch, all the words of one of its spellings. There are thousands of spellings,
    so they are kept as tuples of interned words: sets of their own words would take 2 MiB."""

    text: str
    regex: re.Pattern[str]
    words: tuple[tuple[Words, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Check and compile ``text``. Raises PatternError."""
        if len(text) > MAX_LENGTH:
            raise PatternError(f"has more than {MAX_LENGTH} characters; make two rules of it")
        if re.search(r"[A-Z]", re.sub(r"\\.", "", text)):
            raise PatternError("has capital letters; write it in lower case, as replies are searched in lower case")
        if "  " in text:
            raise PatternError("has two spaces in a row; replies are compared with single spaces")
        body = text.removeprefix("^")
        body = body[:-1] if re.search(r"(?<!\\)(?:\\\\)*\$\Z", body) else body
        ways, stretches = _Parser(body).parse()
        if ways > MAX_WAYS:
            raise PatternError(f"can match in {ways} ways, at most {MAX_WAYS} are allowed; use smaller bounds")
        words = _words(stretches)
        if not words:
            raise PatternError("has no word that every match must contain; add one")
        try:
            return cls(text, re.compile(rf"(?:(?<![a-z0-9])|(?![a-z0-9]))(?:{text})(?![a-z0-9])"), words)
        except re.error as error:
            raise PatternError(f"is not a regular expression: {error.msg}") from None

    def search(self, text: str) -> str | None:
        """Return the whole words that match in ``text`` (lower case, single spaces), or None."""
        match = self.regex.search(text)
        return match[0] if match else None


def _words(stretches: list[Stretch]) -> tuple[tuple[Words, ...], ...]:
    found = []
    for n, stretch in enumerate(stretches):
        if stretch is None:
            continue
        # A word that touches an unknown neighbour may be longer in the text than in the pattern.
        left = n == 0
        right = n == len(stretches) - 1
        choices = tuple(_whole(spelling, left, right) for spelling in sorted(stretch))
        if all(choices):
            found.append(choices)
    return tuple(found)


def _whole(spelling: str, left: bool, right: bool) -> Words:
    return tuple(
        sys.intern(match[0])
        for match in _WORD.finditer(spelling)
        if (left or match.start() > 0) and (right or match.end() < len(spelling))
    )


class _Parser:
    """Recursive descent. Every method returns the number of ways to match, and the stretches, of what it read."""

    def __init__(self, text: str) -> None:
        self.tokens = list(_TOKEN.finditer(text))
        self.at = 0

    def parse(self) -> tuple[int, list[Stretch]]:
        result = self.choice(0)
        if self.at < len(self.tokens):
            raise PatternError("has an unmatched )")
        return result

    def kind(self) -> str | None:
        """Return the kind of the next token: a group of _TOKEN, or None at the end."""
        return self.tokens[self.at].lastgroup if self.at < len(self.tokens) else None

    def choice(self, depth: int) -> tuple[int, list[Stretch]]:
        if depth > 10:
            raise PatternError("nests more than ten groups; simplify it")
        found = [self.sequence(depth)]
        while self.kind() == "bar":
            self.at += 1
            found.append(self.sequence(depth))
        ways, alternatives = [ways for ways, _ in found], [stretches for _, stretches in found]
        return _ways(ways, alternatives), _either(alternatives)

    def sequence(self, depth: int) -> tuple[int, list[Stretch]]:
        ways, stretches = 1, _spelled("")
        while self.kind() not in (None, "bar", "close"):
            more, item = self.repeated(depth)
            ways, stretches = ways * more, _join(stretches, item)
        return ways, stretches

    def repeated(self, depth: int) -> tuple[int, list[Stretch]]:
        """Parse one item with its ``?`` or ``{m,n}``, if any."""
        ways, stretches = self.item(depth)
        if self.kind() == "endless":
            raise PatternError("has an unbounded repeat; give an upper bound, for example .{0,40} instead of .*")
        if self.kind() != "repeat":
            return ways, stretches
        token = self.tokens[self.at]
        self.at += 1
        if self.kind() in ("repeat", "endless"):
            raise PatternError(f"repeats a repeat at {token[0]}; use one bound")
        low, high = (0, 1) if token[0] == "?" else (int(token["low"]), int(token["high"] or token["low"]))
        if low > high:
            raise PatternError(f"has a repeat with reversed bounds: {token[0]}")
        if high > 1 and ways > 1:
            raise PatternError(f"repeats something that can itself match in several ways (before {token[0]})")
        if high == 1 and low == 0:
            return ways + 1, _either([_spelled(""), stretches])
        return high - low + 1, [None]

    def item(self, depth: int) -> tuple[int, list[Stretch]]:
        token, kind = self.tokens[self.at], self.kind()
        self.at += 1
        match kind:
            case "letter":
                return 1, _spelled(token[0])
            case "set" if re.search(r"--|&&|~~|\|\|", token[0]):
                raise PatternError(f"has a doubled character in {token[0]}; write each once")
            case "any" | "set":
                return 1, [None]
            case "escape" if token[0][1] in "dw":
                return 1, [None]
            case "escape" if not token[0][1].isalnum():
                return 1, _spelled(token[0][1])
            case "open":
                inside = self.choice(depth + 1)
                if self.kind() != "close":
                    raise PatternError("has a ( without a )")
                self.at += 1
                return inside
            case _:
                raise PatternError(f"has an unexpected {token[0]!r}; allowed are {_ALLOWED}")


def _spelled(text: str) -> list[Stretch]:
    return [frozenset({text})]


def _ways(ways: list[int], alternatives: list[list[Stretch]]) -> int:
    """Return in how many ways a choice can match at one position: of fixed texts, only those with a common prefix."""
    if set(ways) == {1} and all(len(stretches) == 1 and stretches[0] is not None for stretches in alternatives):
        texts = [text for stretches in alternatives for text in stretches[0] or ()]
        return max(sum(text.startswith(other) for other in texts) for text in texts)
    return sum(ways)


def _either(alternatives: list[list[Stretch]]) -> list[Stretch]:
    if len(alternatives) == 1:
        return alternatives[0]
    spellings: frozenset[str] = frozenset()
    for stretches in alternatives:
        if len(stretches) != 1 or stretches[0] is None:
            return [None]
        spellings |= stretches[0]
    return [spellings if len(spellings) <= _MAX_SPELLINGS else None]


def _join(before: list[Stretch], after: list[Stretch]) -> list[Stretch]:
    """Concatenate; merge the adjoining stretches while they have few spellings."""
    left, right = before[-1], after[0]
    if left is None or right is None:
        return before + after
    joined = frozenset(start + end for start, end in product(left, right))
    if len(joined) <= _MAX_SPELLINGS:
        return [*before[:-1], joined, *after[1:]]
    return [*before, None, *after]  # an empty stretch: words at the seam may not be whole
