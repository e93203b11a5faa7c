"""Media queries: on which screens a rule is in force.

A page must show on each screen that people read mail on. The screens that matter follow from the page itself: a phone
and a desktop, light and dark, and one on either side of each width that its queries name.

Invariants: a query that is not understood is neither true nor false: its rules are judged both ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

PHONE, DESKTOP = 360, 1280  # CSS pixels
MAX_WIDTHS = 12

_SEPARATOR = re.compile(r",(?![^(]*\))")
_FEATURE = re.compile(r"\(([^()]*)\)")
_LENGTH = re.compile(r"(\d{1,5}(?:\.\d{1,3})?)\s*(px|em|rem)?")
_RANGE = re.compile(
    r"(?:([\d.]+(?:px|em|rem)?)\s*(<=?|>=?)\s*)?(?:device-)?width\s*(?:(<=?|>=?|=)\s*([\d.]+(?:px|em|rem)?))?\Z"
)
_SHOWN = frozenset({"", "all", "screen"})
_NOT_SHOWN = frozenset({"print", "speech", "tty", "tv", "projection", "handheld", "braille", "embossed", "aural"})


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a page is read. ``doubtful``: whether rules that are possibly in force are taken for it."""

    width: int = DESKTOP
    dark: bool = False
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class _Query:
    """One query. ``lowest`` and ``highest``: widths in pixels; ``dark``: None if it does not ask; ``never``: it is for
    paper; ``negated``: ``not``; ``maybe``: there is something in it that is not understood."""

    lowest: float = 0.0
    highest: float = float("inf")
    dark: bool | None = None
    never: bool = False
    negated: bool = False
    maybe: bool = False

    def holds(self, screen: Screen) -> bool:
        inside = self.lowest <= screen.width <= self.highest and not self.never
        inside = inside and (self.dark is None or self.dark == screen.dark)
        if self.maybe:
            return screen.doubtful and (inside or self.negated)
        return inside != self.negated


@dataclass(frozen=True, slots=True)
class Media:
    """Alternatives that must hold together: of each tuple one."""

    queries: tuple[tuple[_Query, ...], ...] = ()

    def holds(self, screen: Screen) -> bool:
        """Return whether rules under it are in force on ``screen``."""
        return all(any(query.holds(screen) for query in either) for either in self.queries)

    def within(self, other: Media) -> Media:
        """Return what holds if both do."""
        return Media((*self.queries, *(each for each in other.queries if each not in self.queries)))

    @property
    def widths(self) -> Iterator[float]:
        """The widths at which it begins or ceases to hold."""
        for either in self.queries:
            for query in either:
                yield from (edge for edge in (query.lowest, query.highest) if 0 < edge < float("inf"))


ALWAYS = Media()
MAYBE = Media(((_Query(maybe=True),),))


@lru_cache(1024)
def parse_media(text: str) -> Media:
    """Return the media of a query list, as in ``@media`` and ``media=``."""
    text = " ".join(text.lower().split())
    if text in _SHOWN:
        return ALWAYS
    return Media((tuple(_parse(query.strip()) for query in _SEPARATOR.split(text)),))


def _parse(text: str) -> _Query:
    negated = text.startswith("not ") and not text.startswith("not (")
    words = text.removeprefix("not ").removeprefix("only ")
    kind, _, _ = words.partition("(")
    kind = kind.removesuffix(" ").removesuffix("and").strip()
    lowest, highest, dark = 0.0, float("inf"), None
    maybe = kind not in _SHOWN and kind not in _NOT_SHOWN
    rest = _FEATURE.sub("", words).replace(kind, "", 1)
    maybe = maybe or bool(rest.replace("and", "").strip())  # "or", "not" and brackets in brackets
    for feature in _FEATURE.findall(words):
        name, _, value = (part.strip() for part in feature.partition(":"))
        if (
            value
            and name.removesuffix("-width") in ("min", "max", "min-device", "max-device")
            and (px := _pixels(value))
        ):
            lowest, highest = (max(lowest, px), highest) if name.startswith("min") else (lowest, min(highest, px))
        elif name == "prefers-color-scheme" and value in ("dark", "light"):
            dark = value == "dark"
        elif not value and (span := _range(name)):
            lowest, highest = max(lowest, span[0]), min(highest, span[1])
        elif feature.replace(" ", "") not in ("min-width:0", "min-width:0px", "color"):
            maybe = True
    return _Query(lowest, highest, dark, kind in _NOT_SHOWN, negated, maybe)


def _range(text: str) -> tuple[float, float] | None:
    """Return the widths of ``width <= 600px`` and ``400px < width < 600px``."""
    match = _RANGE.match(text)
    if match is None or not (match[1] or match[4]):
        return None
    lowest, highest = 0.0, float("inf")
    for length, sign, left in ((match[1], match[2], True), (match[4], match[3], False)):
        if length and (px := _pixels(length)) is not None:
            if sign == "=":
                lowest = highest = px
            elif (sign[0] == "<") == left:
                lowest = px if sign.endswith("=") else px + 1
            else:
                highest = px if sign.endswith("=") else px - 1
    return lowest, highest


def _pixels(text: str) -> float | None:
    match = _LENGTH.fullmatch(text)
    if match is None:
        return None
    return float(match[1]) * (16 if match[2] in ("em", "rem") else 1)


def screens_for(media: Iterable[Media]) -> list[Screen]:
    """Return the screens on which rules under ``media`` make a difference, the ordinary one first."""
    known = list(media)
    if not any(each.queries for each in known):
        return [Screen()]
    edges = {round(edge) + step for each in known for edge in each.widths for step in (-1, 0, 1)}
    widths = [DESKTOP, PHONE, *sorted(edge for edge in edges if 280 <= edge <= 2560)[: 3 * MAX_WIDTHS]]
    doubts = (
        (False, True) if any(query.maybe for each in known for either in each.queries for query in either) else (False,)
    )
    darks = (
        (False, True)
        if any(query.dark is not None for each in known for e in each.queries for query in e)
        else (False,)
    )
    return [Screen(width, dark, doubtful) for doubtful in doubts for dark in darks for width in widths]
