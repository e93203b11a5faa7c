"""What a style does to an element: not displayed, invisible, too small to read, or which colours it has.

The CSS cascade is not implemented here. One ``style`` attribute, or the body of one style sheet rule, is read into an
``ElementStyle``; the caller decides which style wins.

Invariants: never raises for the content of a style, and takes linear time.

Limitations: custom properties, ``calc()``, animations and media-specific rules (``@media``) are not followed; colours
in
notations other than hexadecimal, ``rgb()`` or the sixteen names of HTML 4 are not known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

FAR = 500  # pixels to the left or above: out of reach
READABLE = 3  # pixels: smaller text is not meant to be read
LIKE = 16  # two colours whose channels differ by no more look the same
LONG = 1000  # characters of one style; longer ones are read each time, so that what is kept stays small

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)

_NAMED = {
    "black": 0x000000, "silver": 0xC0C0C0, "gray": 0x808080, "grey": 0x808080, "white": 0xFFFFFF, "maroon": 0x800000,
    "red": 0xFF0000, "purple": 0x800080, "fuchsia": 0xFF00FF, "magenta": 0xFF00FF, "green": 0x008000, "lime": 0x00FF00,
    "olive": 0x808000, "yellow": 0xFFFF00, "navy": 0x000080, "blue": 0x0000FF, "teal": 0x008080, "aqua": 0x00FFFF,
    "cyan": 0x00FFFF, "snow": 0xFFFAFA, "ivory": 0xFFFFF0, "whitesmoke": 0xF5F5F5, "ghostwhite": 0xF8F8FF,
}  # fmt: skip
_PIXELS = {"px": 1.0, "": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 37.8, "mm": 3.78, "rem": 16.0}
_RELATIVE = {"em": 16.0, "ex": 8.0, "ch": 8.0, "%": 0.16, "vw": 8.0, "vh": 8.0}

_LENGTH = re.compile(r"([+-]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9}))\s*([a-z%]{0,4})\Z")
_HEX = re.compile(r"#([0-9a-f]{3,8})\b")
_RGB = re.compile(r"rgba?\(\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})\s*(?:[,/]\s*([\d.]{1,9})(%?)\s*)?\)")
_WORD = re.compile(r"[a-z]+")
_ESCAPE = re.compile(r"\\([0-9a-f]{1,6})\s?|\\(.)", re.DOTALL)
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_END_OF_AT = re.compile(r"[{;]")
_BRACE = re.compile(r"[{}]")
_HIDING = re.compile(r"none|hidden|collapse|opacity|font|-\d{3}|:\s*0|clip|scale|color|background|\\", re.IGNORECASE)


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


@dataclass(frozen=True, slots=True, eq=False)  # told apart by identity: one style has one look, and hashing is cheap
class ElementStyle:
    """``gone``: nothing inside is shown, whatever it says itself. The others pass on to what is inside, until that
    says otherwise; None: not said. ``background`` is known, or ``picture`` says that there is something behind."""

    gone: Hiding | None = None
    displayed: bool | None = None
    visible: bool | None = None
    readable: bool | None = None
    colour: Colour | None = None
    background: Colour | None = None
    picture: bool = False

    @property
    def paints(self) -> bool:
        """Whether it changes the colour of text, or what is behind it."""
        return self.colour is not None or self.background is not None or self.picture


PLAIN = ElementStyle()


@lru_cache(4096)
def over(under: ElementStyle, upper: ElementStyle) -> ElementStyle:
    """What both make of an element, where ``upper`` wins."""
    shown_again = under.gone is Hiding.NOT_DISPLAYED and upper.displayed
    return ElementStyle(
        gone=upper.gone or (None if shown_again else under.gone),
        displayed=under.displayed if upper.displayed is None else upper.displayed,
        visible=under.visible if upper.visible is None else upper.visible,
        readable=under.readable if upper.readable is None else upper.readable,
        colour=upper.colour or under.colour,
        background=upper.background or under.background,
        picture=upper.picture or under.picture,
    )


def alike(one: Colour, other: Colour) -> bool:
    """Whether text of one colour cannot be read on the other."""
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]), abs(one[2] - other[2])) <= LIKE


def look_of(style: str) -> ElementStyle:
    """What the declarations of one ``style`` attribute do."""
    return _read(style) if len(style) > LONG else _kept(style)


@lru_cache(4096)
def _kept(style: str) -> ElementStyle:
    return _read(style)


def _read(style: str) -> ElementStyle:
    said = _declarations(style)
    display = said.get("display", "")
    size = _font_size(said)
    shade = said.get("background-color") or said.get("background", "")
    visibility = said.get("visibility", "")
    look = ElementStyle(
        gone=_gone(said),
        displayed=None if not display else display != "none",
        visible=None if not visibility else visibility not in ("hidden", "collapse"),
        readable=size,
        colour=_colour(said.get("color", "")),
        background=_colour(shade),
        picture="url(" in said.get("background", "") + said.get("background-image", "") or "gradient(" in shade,
    )
    return PLAIN if _says_nothing(look) else look


def _says_nothing(look: ElementStyle) -> bool:
    known = (look.gone, look.displayed, look.visible, look.readable, look.colour, look.background)
    return not look.picture and all(value is None for value in known)


def _declarations(style: str) -> dict[str, str]:
    """Property to value, lower case; the last of a name wins, and one that is ``!important`` before the others."""
    if "\\" in style:
        style = _ESCAPE.sub(_unescape, style)
    if "/*" in style:
        style = _COMMENT.sub(" ", style)
    said: dict[str, str] = {}
    firm: set[str] = set()
    for declaration in style.lower().split(";"):
        name, _, value = declaration.partition(":")
        name, value = name.strip(), value.strip()
        if "!" in value:
            value, _, mark = value.partition("!")
            value = value.strip()
            if mark.strip() == "important":
                firm.add(name)
                said[name] = value
                continue
        if name not in firm:
            said[name] = value
    return said


def _unescape(match: re.Match[str]) -> str:
    number = int(match[1], 16) if match[1] else -1
    return chr(number) if 0 < number < 0xD800 else (match[2] or " ")


def _gone(said: dict[str, str]) -> Hiding | None:
    """Why nothing inside can be seen, or None."""
    if said.get("display") == "none":
        return Hiding.NOT_DISPLAYED
    opacity = _LENGTH.match(said.get("opacity", ""))
    if opacity and abs(float(opacity[1])) < (5 if opacity[2] == "%" else 0.05):
        return Hiding.TRANSPARENT
    if _is_off_screen(said):
        return Hiding.OFF_SCREEN
    clipped = any(
        said.get(name, "").startswith(("hidden", "clip")) for name in ("overflow", "overflow-x", "overflow-y")
    )
    if clipped and any(_is_nothing(said.get(name)) for name in ("height", "max-height", "width", "max-width")):
        return Hiding.NO_ROOM
    return None


def _is_off_screen(said: dict[str, str]) -> bool:
    moved: tuple[str, ...] = ("text-indent", "margin-left", "margin-top", "margin")
    if said.get("position") in ("absolute", "fixed", "relative"):
        moved += ("left", "top")
        if any((length := _pixels(said.get(name))) is not None and length > 20 * FAR for name in ("left", "top")):
            return True
        clip = " ".join(said.get("clip", "").replace("px", "").replace(",", " ").split())
        if clip in ("rect(0 0 0 0)", "rect(1 1 1 1)"):
            return True
    if any((length := _pixels(said.get(name))) is not None and length <= -FAR for name in moved):
        return True
    return said.get("clip-path", "") in ("inset(50%)", "inset(100%)", "circle(0)") or said.get(
        "transform", ""
    ).startswith(("scale(0)", "scale(0,", "scalex(0)", "scaley(0)"))


def _is_nothing(value: str | None) -> bool:
    length = _pixels(value)
    return length is not None and -1 < length <= 1


def _pixels(value: str | None) -> float | None:
    """A length in CSS pixels; None if it is none."""
    match = _LENGTH.match(value) if value else None
    if match is None:
        return None
    scale = _PIXELS.get(match[2]) or _RELATIVE.get(match[2])
    return None if scale is None else float(match[1]) * scale


def _font_size(said: dict[str, str]) -> bool | None:
    """Whether the font can be read; None if its size hangs on what is around it."""
    value = said.get("font-size")
    if value is None and (font := said.get("font")):
        value = next((word for word in re.split(r"[\s/]", font) if word[:1].isdigit()), None)
    if not value:
        return None
    match = _LENGTH.match(value)
    if match is None:
        return None if value in ("inherit", "smaller", "larger") else True
    number = float(match[1])
    if match[2] in _PIXELS:
        return number * _PIXELS[match[2]] >= READABLE
    scale = _RELATIVE.get(match[2])
    return False if scale is not None and number * scale < READABLE else None


def _colour(value: str) -> Colour | None:
    """The first colour in ``value``; None if there is none, or it lets through what is behind it."""
    if not value:
        return None
    if match := _HEX.search(value):
        digits = match[1]
        if len(digits) in (3, 4):
            digits = "".join(digit * 2 for digit in digits)
        if len(digits) == 8 and digits[6:] == "00":
            return None
        return _split(int(digits[:6], 16)) if len(digits) in (6, 8) else None
    if match := _RGB.search(value):
        if match[4] and match[4].strip(".0") == "":
            return None
        red, green, blue = (min(255, int(match[number])) for number in (1, 2, 3))
        return red, green, blue
    return next((_split(_NAMED[word]) for word in _WORD.findall(value) if word in _NAMED), None)


def _split(number: int) -> Colour:
    return number >> 16, number >> 8 & 255, number & 255


def attribute_colour(value: str) -> Colour | None:
    """A colour as in ``bgcolor=``: the number sign may be missing."""
    value = value.strip().lower()
    return _colour(value) or _colour("#" + value)


@dataclass(frozen=True, slots=True)
class StyleRule:
    """``selector``: one, without commas. ``firm``: it wins over the element's own style."""

    selector: str
    look: ElementStyle
    firm: bool


@lru_cache(16)
def rules_of(sheet: str) -> tuple[StyleRule, ...]:
    """The rules of a style sheet that could hide or colour something, in order. What holds only for some screens
    (``@media`` with a condition) is left out: hidden on a phone is not hidden."""
    sheet = _outside_media(_COMMENT.sub(" ", sheet.replace("<!--", "").replace("-->", "")))
    rules = []
    for block in sheet.split("}"):
        selectors, _, body = block.rpartition("{")
        if not _HIDING.search(body):
            continue
        look = look_of(body.strip())
        if look is not PLAIN:
            firm = "!important" in body.replace(" ", "").lower()
            rules += [
                StyleRule(one, look, firm)
                for one in map(str.strip, selectors.rpartition("{")[2].split(","))
                if _is_static(one)
            ]
    return tuple(rules)


def _is_static(selector: str) -> bool:
    """Whether the selector applies without user interaction."""
    return 0 < len(selector) <= 200 and not any(mark in selector for mark in ":+~") and selector[-1] != ">"


def _outside_media(sheet: str) -> str:
    """The sheet without its blocks of ``@``; the inside of ``@media screen``, ``all`` and their like is kept."""
    kept, start = [], 0
    while (at := sheet.find("@", start)) >= 0:
        kept.append(sheet[start:at])
        end = _END_OF_AT.search(sheet, at)
        if end is None:
            return "".join(kept)
        if end[0] == ";":  # @import, @charset
            start = end.end()
            continue
        opens = end.start()
        close = _closing(sheet, opens)
        condition = " ".join(sheet[at + 1 : opens].lower().split())
        if condition in ("media", "media screen", "media all", "media only screen", "media screen, print"):
            kept.append(sheet[opens + 1 : close])
        start = close + 1
    kept.append(sheet[start:])
    return "".join(kept)


def _closing(sheet: str, opens: int) -> int:
    """Where the brace at ``opens`` is closed."""
    depth, at = 1, opens
    for brace in _BRACE.finditer(sheet, opens + 1):
        depth += 1 if brace[0] == "{" else -1
        at = brace.start()
        if depth == 0:
            return at
    return len(sheet)
