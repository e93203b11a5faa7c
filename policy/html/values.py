"""CSS values: lengths in pixels, and colours."""

from __future__ import annotations

import re

from tinycss2.color4 import parse_color

from policy.html.style import Ink

NUMBER = r"[+-]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})(?:e[+-]?\d{1,3})?"
LENGTH = re.compile(rf"({NUMBER})([a-z%]{{0,4}})\Z")
LENGTHS = re.compile(rf"(?<![\w#.])({NUMBER})([a-z%]{{0,4}})(?![\w.])")
PIXELS = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 37.8, "mm": 3.78, "q": 0.94, "rem": 16.0}
RELATIVE = {"em": 16.0, "ex": 8.0, "ch": 8.0, "%": 6.0, "vw": 6.0, "vh": 6.0, "vmin": 6.0, "vmax": 6.0}


def pixels(value: str) -> float | None:
    """Return a length in CSS pixels; None if it is none, or of a unit that is not known."""
    match = LENGTH.match(value)
    if match is None:
        return None
    scale = PIXELS.get(match[2]) or RELATIVE.get(match[2])
    return None if scale is None else float(match[1]) * scale


def ink_of(value: str) -> Ink | None:
    """Return the colour that ``value`` names; None if it is none that is known."""
    try:
        colour = parse_color(value)
        if colour is None or isinstance(colour, str):
            return None
        red, green, blue = colour.to("srgb").coordinates
    except (ValueError, TypeError, NotImplementedError, ArithmeticError):
        return None
    if red is None or green is None or blue is None:
        return None
    red, green, blue = (255 * min(1.0, max(0.0, channel)) for channel in (red, green, blue))
    return Ink(red, green, blue, float(colour.alpha))


def attribute_ink(value: str) -> Ink | None:
    """Return the colour of an attribute such as ``bgcolor``, where the number sign may be missing."""
    value = value.strip()
    return (ink_of(value) or ink_of(f"#{value}")) if value else None
