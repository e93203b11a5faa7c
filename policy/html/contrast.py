"""Whether text can be told from what is behind it.

Text colour and background are inherited from the elements around; but the styles of a page are few, and most pages have
none that could combine into text that cannot be read. Only where two could is the tree searched.

Limitations: the eye is modelled by the contrast ratio of WCAG 2.2 (1.4.3), with a limit far below what it recommends:
grey footers are legal, white ones are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from policy.html.style import Ink, Style

CONTRAST = 1.6  # ratio from which text counts as shown: #c8c8c8 on white
BLACK, WHITE = Ink(0, 0, 0), Ink(255, 255, 255)


@dataclass(frozen=True, slots=True)
class Paint:
    """What text directly in an element is painted with, and on; ``ground`` None: on something unknown."""

    colour: Ink
    ground: Ink | None

    @property
    def faint(self) -> bool:
        return self.ground is not None and is_faint(self.colour, self.ground)


PAPER = Paint(BLACK, WHITE)


def painted(style: Style, around: Paint) -> Paint:
    """Return the paint inside an element with this style, in another with the paint ``around``."""
    ground = around.ground
    if style.picture:
        ground = None
    elif style.background is not None and (style.background.alpha >= 1 or ground is not None):
        ground = _mixed(style.background, ground or WHITE)
    return Paint(style.colour or around.colour, ground)


@lru_cache(256)  # the messages of a mailing have the same styles
def may_be_faint(styles: frozenset[Style], outer: frozenset[Style]) -> bool:
    """Return whether text could be unreadable somewhere on a page that has these styles. ``outer``: those of elements
    that have others inside, to which they pass their colours on."""
    colours = {style.colour for style in outer if style.colour is not None} | {BLACK}
    grounds = {style.background for style in outer if style.background is not None} | {WHITE}
    if any(ink.alpha < 1 for style in styles for ink in (style.colour, style.background) if ink is not None):
        return True
    return any(
        is_faint(colour, ground)
        for style in styles
        if style.paints
        for colour in (colours if style.colour is None else (style.colour,))
        for ground in (grounds if style.background is None else (style.background,))
    )


@lru_cache(65536)
def is_faint(colour: Ink, ground: Ink) -> bool:
    """Return whether text of ``colour`` cannot be read on ``ground``."""
    one, other = sorted((_luminance(_mixed(colour, ground)), _luminance(ground)))
    return (other + 0.05) / (one + 0.05) < CONTRAST


def _mixed(ink: Ink, ground: Ink) -> Ink:
    """Return what shows where ``ink`` lies on ``ground``."""
    if ink.alpha >= 1:
        return ink
    share = max(0.0, ink.alpha)
    return Ink(*(share * upper + (1 - share) * lower for upper, lower in zip(ink[:3], ground[:3], strict=True)))


def _luminance(ink: Ink) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in ink[:3])
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
