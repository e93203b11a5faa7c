"""Which styles may put text on a background of its own colour, decided from the styles alone.

Text colour and background are inherited from surrounding elements; but the styles of a page are few, and most pages
have none that could combine into unreadable text. Only where two could is the tree searched.

Invariants: a style that could be unreadable anywhere on its page is never cleared.

Limitations: colours are compared by channel (``css.alike``), not as eyes do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from policy.html.css import BLACK, WHITE, Colour, ElementStyle, alike


@dataclass(frozen=True, slots=True)
class Paint:
    """What text directly in an element is painted with, and on; ``ground`` None: on something unknown."""

    colour: Colour
    ground: Colour | None

    @property
    def blank(self) -> bool:
        return self.ground is not None and alike(self.colour, self.ground)


PAPER = Paint(BLACK, WHITE)


def painted(look: ElementStyle, around: Paint) -> Paint:
    """The paint inside an element with this look, in another with the paint ``around``."""
    return Paint(look.colour or around.colour, None if look.picture else look.background or around.ground)


@lru_cache(256)  # the messages of a mailing have the same looks
def may_be_blank(looks: frozenset[ElementStyle], outer: frozenset[ElementStyle]) -> bool:
    """Whether text could have the colour of what is behind it, where elements have ``looks`` and those with one of
    ``outer`` may have others inside them."""
    colours = {look.colour for look in outer if look.colour is not None} | {BLACK}
    grounds = {look.background for look in outer if look.background is not None} | {WHITE}
    return any(
        alike(colour, ground)
        for look in looks
        if look.paints and not look.picture
        for colour in (colours if look.colour is None else (look.colour,))
        for ground in (grounds if look.background is None else (look.background,))
    )


@lru_cache(256)
def blank(looks: frozenset[ElementStyle]) -> Mapping[ElementStyle, bool | None]:
    """Those of ``looks``, the only ones of their page, that may put text on a background of its own colour: whether
    they do, None if that hangs on what is around."""
    colours = {look.colour for look in looks if look.colour is not None} | {BLACK}
    grounds = {look.background for look in looks if look.background is not None} | {WHITE}
    pairs = [(colour, ground) for colour in colours for ground in grounds if alike(colour, ground)]
    bad_colours, bad_grounds = {colour for colour, _ in pairs}, {ground for _, ground in pairs}
    return {
        look: painted(look, PAPER).blank if _is_whole(look) else None
        for look in looks
        if look.colour in bad_colours or look.background in bad_grounds
    }


def _is_whole(look: ElementStyle) -> bool:
    return look.colour is not None and (look.background is not None or look.picture)
