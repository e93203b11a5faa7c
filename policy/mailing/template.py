"""A text of a reference with its variables, and the comparison of another text with it.

The source is compared, not what a parser makes of it: what is not variable must be the same to the character, and what
is variable cannot hold markup. So both texts have the same structure, whatever a program makes of it.

Invariants: the comparison takes linear time: each constant piece is looked for only as far as the variable before it
may reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from policy.mailing.variables import Reader, Variable, VariableKind, said
from policy.text.header_text import shown

BEFORE, BEHIND = 20, 40  # characters that are quoted beside a difference


@dataclass(frozen=True, slots=True)
class TextDifference:
    """Where a text differs from its reference. ``reached``: how much of it did match, in characters."""

    reached: int
    text: str


class Template:
    """``text`` with ``variables``, which do not overlap or touch."""

    __slots__ = ("_last", "_steps", "pieces", "text", "variables")

    def __init__(self, text: str, variables: Sequence[Variable] = ()) -> None:
        self.text = text
        self.variables = tuple(sorted(variables, key=lambda each: each.start))
        ends = [0, *(each.end for each in self.variables)]
        starts = [*(each.start for each in self.variables), len(text)]
        self.pieces = tuple(text[end:start] for end, start in zip(ends, starts, strict=True))
        assert all(first.end < second.start for first, second in pairwise(self.variables)), "variables touch"
        behind = zip(self.variables, self.pieces[1:], strict=True)
        steps = [(each, each.most, piece, text[each.start : each.end]) for each, piece in behind]
        self._steps, self._last = tuple(steps[:-1]), steps[-1] if steps else None

    def values(self, text: str, reader: Reader, slots: dict[str, str]) -> tuple[str, ...] | TextDifference:
        """Return the values that ``text`` has for the variables, or where it differs.

        ``slots``: the values of slots that are known; those of this text are added.
        """
        if self._last is None:
            return () if text == self.text else self._difference(text, 0, 0)
        if not text.startswith(self.pieces[0]):
            return self._difference(text, 0, 0)
        at, found = len(self.pieces[0]), []
        for variable, most, piece, own in self._steps:
            end = text.find(piece, at, at + most + len(piece))
            if end < 0 or not _fits(variable, own, text[at:end], reader, slots):
                return self._behind(text, at, end, variable, piece)
            found.append(text[at:end])
            at = end + len(piece)
        variable, most, piece, own = self._last
        end = len(text) - len(piece)
        if not (at <= end <= at + most and text.endswith(piece)):
            return self._behind(text, at, -1, variable, piece)
        if not _fits(variable, own, text[at:end], reader, slots):
            return self._behind(text, at, end, variable, piece)
        return (*found, text[at:end])

    def filled(self, value_of: Callable[[Variable], str]) -> str:
        """Return the text with other values for its variables."""
        values = [*map(value_of, self.variables), ""]
        return "".join(part for pair in zip(self.pieces, values, strict=True) for part in pair)

    def _behind(self, text: str, at: int, end: int, variable: Variable, piece: str) -> TextDifference:
        """Return the difference at a variable whose value does not fit; if ``end`` is -1, in the piece behind it."""
        if end >= 0:
            return self._difference(text, at, variable.start)
        for length in (32, 16, 8, 4, 2):
            if (found := text.find(piece[:length], at, at + variable.most + length)) >= 0:
                return self._difference(text, found, variable.end)
        return self._difference(text, at, variable.start)

    def _difference(self, text: str, at: int, wanted: int) -> TextDifference:
        """Return the first character that differs behind ``at``, which is ``wanted`` in the reference."""
        same = _common(text[at:], self.text[wanted:])
        here, there = text[max(0, at + same - BEFORE) :], self.text[max(0, wanted + same - BEFORE) :]
        quoted = [shown(" ".join(part[: BEFORE + BEHIND].split())) for part in (there, here)]
        return TextDifference(at + same, f'where it says "{quoted[0]}", this says "{quoted[1]}"')


def _fits(variable: Variable, own: str, raw: str, reader: Reader, slots: dict[str, str]) -> bool:
    """Whether ``raw`` may stand where the reference has ``own``."""
    if variable.kind is VariableKind.TOKEN and raw == own:
        return True
    if not variable.takes(raw, reader):
        return False
    return not variable.slot or slots.setdefault(variable.slot, said(raw)) == said(raw)


def _common(first: str, second: str) -> int:
    """Return how many characters two texts begin with alike."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[:middle] == second[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
