"""What a block of CSS declarations does to an element, as far as its text can be read.

Invariants: of two styles the upper one wins property by property (``over``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

FAINT, TRANSPARENT = 0.6, 0.1  # opacity: hard to read, not to be read
ROOM = 8.0  # pixels: a box that clips and is smaller shows nothing


class Hiding(Enum):
    """How text is kept from the reader's eyes."""

    NOT_DISPLAYED = "display:none"
    ATTRIBUTE = "the attribute hidden"
    INVISIBLE = "visibility:hidden"
    TRANSPARENT = "opacity:0"
    TINY = "too small a font"
    SAME_COLOUR = "the colour of its background"
    OFF_SCREEN = "outside the screen"
    NO_ROOM = "a box without size"
    NOT_RENDERED = "an element that is not shown"
    COMMENT = "a comment"


class Ink(NamedTuple):
    """A colour: channels from 0 to 255, and how far it covers what is behind it."""

    red: float
    green: float
    blue: float
    alpha: float = 1.0


class FontSize(NamedTuple):
    """A font size: in pixels, or as a factor of the size around it."""

    pixels: float | None
    factor: float = 1.0

    def may_be_small(self, limit: float) -> bool:
        """Return whether text of this size could be below ``limit`` pixels."""
        return self.factor < 0.9 if self.pixels is None else self.pixels < limit


class Mark(NamedTuple):
    """A declaration that hides the element (``how``), or that is not understood. ``covers``: it may move the element
    over another, or others out of sight."""

    name: str
    how: Hiding | None
    declaration: str
    covers: bool = False


@dataclass(frozen=True, slots=True, eq=False)  # told apart by identity: one text has one style, and hashing is cheap
class Style:
    """What a block of declarations does; None: not said. ``settled``: properties that it sets to something harmless, in
    place of what a weaker rule made of them."""

    displayed: bool | None = None
    visible: bool | None = None
    lines: bool | None = None  # whether its line height leaves room for the text
    size: FontSize | None = None
    opacity: float | None = None
    colour: Ink | None = None
    background: Ink | None = None
    picture: bool | None = None
    clips: bool | None = None
    extent: float | None = None  # the smallest fixed height or width in pixels
    aside: float | None = None  # the largest margin or padding in pixels that is not above or below alone
    marks: tuple[Mark, ...] = ()
    settled: frozenset[str] = frozenset()

    @property
    def paints(self) -> bool:
        """Whether it changes the colour of text, or what is behind it."""
        return self.colour is not None or self.background is not None or bool(self.picture)

    @property
    def gone(self) -> Hiding | None:
        """Why nothing inside is shown, whatever it says itself."""
        if self.displayed is False:
            return Hiding.NOT_DISPLAYED
        if self.opacity is not None and self.opacity < TRANSPARENT:
            return Hiding.TRANSPARENT
        if self.clips and self.extent is not None and self.extent < ROOM:
            return Hiding.NO_ROOM
        return next((mark.how for mark in self.marks if mark.how is not None), None)

    @property
    def doubt(self) -> str:
        """What about it is not understood, or ""."""
        if self.clips and self.extent is not None:
            return "overflow with a fixed height or width"
        if self.opacity is not None and self.opacity < FAINT:
            return f"opacity:{self.opacity:g}"
        return next((mark.declaration for mark in self.marks if mark.how is None), "")

    @property
    def covers(self) -> str:
        """The declaration by which it may lie over something else, or ""."""
        return next((mark.declaration for mark in self.marks if mark.covers), "")


PLAIN = Style()


def over(under: Style, upper: Style) -> Style:
    """Return what both make of an element, where ``upper`` wins."""
    said = {mark.name for mark in upper.marks} | upper.settled
    return Style(
        displayed=under.displayed if upper.displayed is None else upper.displayed,
        visible=under.visible if upper.visible is None else upper.visible,
        lines=under.lines if upper.lines is None else upper.lines,
        size=upper.size or under.size,
        opacity=under.opacity if upper.opacity is None else upper.opacity,
        colour=upper.colour or under.colour,
        background=upper.background or under.background,
        picture=under.picture if upper.picture is None else upper.picture,
        clips=under.clips if upper.clips is None else upper.clips,
        extent=under.extent if upper.extent is None else upper.extent,
        aside=under.aside if upper.aside is None else upper.aside,
        marks=(*(mark for mark in under.marks if mark.name not in said), *upper.marks),
        settled=under.settled | upper.settled,
    )
