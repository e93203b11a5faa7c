"""What a declaration does to the text of an element: a model of the properties whose effect is understood.

The question is not whether a declaration hides, but whether the text shows by means that are understood. A property is
harmless whatever its value, or harmless within bounds, or followed (display, size, colours ...). All else is a doubt:
whoever wrote it may well hide nothing, but that cannot be told.

Invariants: a property or value that is not known is never taken for harmless.

Limitations: lengths are compared in pixels, with 16 for an em and 6 for a per cent of a screen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from policy.html.style import PLAIN, ROOM, FontSize, Hiding, Ink, Mark, Style
from policy.html.values import LENGTH, LENGTHS, PIXELS, RELATIVE, ink_of, pixels

READABLE = 3.0  # pixels: smaller text is not meant to be read
SMALL = 0.7  # of a line height: lines below it run into each other
LARGEST = 160.0  # pixels of a font: larger letters fill the screen
FAR = 2000.0  # pixels: a box as large pushes all that follows away
WIDEST = 120  # percent of the screen, or of what it stands in
MOST = 320.0  # pixels that spacing may push text away
LEAST = -24.0  # pixels of negative spacing: more may cover something


@dataclass(slots=True)
class _Draft:
    """A style in the making: the later of two declarations wins."""

    said: dict[str, object] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    broad: bool = False  # a least width is set, so that a smaller one has no effect

    def settle(self, name: str) -> None:
        self.marks.pop(name, None)
        self.settled.add(name)

    def mark(self, name: str, value: str, how: Hiding | None = None, *, covers: bool = False) -> None:
        self.settled.discard(name)
        self.marks[name] = Mark(name, how, f"{name}:{value}"[:80], covers)


Handler = Callable[[_Draft, str, str], None]


def style_of_declarations(declarations: Iterable[tuple[str, str]]) -> Style:
    """Return the style of declarations in order: (name, value), both in lower case, the value with single blanks."""
    draft = _Draft()
    for written, value in declarations:
        name = _unprefixed(written)
        if name in _HARMLESS or (written.startswith(("--", "mso-")) and written != "mso-hide"):
            continue
        if value in _KEYWORDS:
            if value != "inherit":
                _reset(draft, name, value)
            continue
        handler = _HANDLERS.get(name)
        if handler is None or _COMPUTED.search(value):
            draft.mark(name, value)
        else:
            handler(draft, name, value)
    if draft.broad:
        for name in ("width", "max-width"):
            draft.settle(name)
    if not (draft.said or draft.marks or draft.settled):
        return PLAIN
    return Style(**draft.said, marks=tuple(draft.marks.values()), settled=frozenset(draft.settled))  # type: ignore[arg-type]


_KEYWORDS = frozenset({"inherit", "initial", "unset", "revert", "revert-layer"})
_COMPUTED = re.compile(r"\b(?:var|env|attr|calc|min|max|clamp|expression|if)\(")
_PREFIX = re.compile(r"-(?:webkit|moz|ms|o|khtml)-")


def _unprefixed(name: str) -> str:
    return name if name in _HANDLERS else _PREFIX.sub("", name, count=1)


def _reset(draft: _Draft, name: str, value: str) -> None:
    """Take back what was said: ``initial`` is harmless for all but colours, which it makes black."""
    if name == "all":
        draft.mark(name, value)
        return
    for known in _FIELDS.get(name, ()):
        draft.said.pop(known, None)
    if name == "color" and value == "initial":
        draft.said["colour"] = Ink(0, 0, 0)
    draft.settle(name)


_SIZES = {"xx-small": 9.0, "x-small": 10.0, "small": 13.0, "medium": 16.0, "large": 18.0, "x-large": 24.0,
          "xx-large": 32.0, "xxx-large": 48.0}  # fmt: skip


# --- handlers


def _neutral(*values: str) -> Handler:
    """Return a handler of a property that does nothing with one of ``values``, and is not understood otherwise."""

    def handle(draft: _Draft, name: str, value: str) -> None:
        if value in values:
            draft.settle(name)
        else:
            draft.mark(name, value)

    return handle


def _covering(*values: str) -> Handler:
    """The same of a property that may move the element over another."""

    def handle(draft: _Draft, name: str, value: str) -> None:
        if value in values:
            draft.settle(name)
        else:
            draft.mark(name, value, covers=True)

    return handle


def _within(lowest: float, highest: float, *, covers: bool = False, pulls: bool = False) -> Handler:
    """Return a handler of a property whose lengths are harmless between two bounds, in pixels. ``pulls``: a negative
    one moves what follows, too."""

    def handle(draft: _Draft, name: str, value: str) -> None:
        lengths = [pixels(f"{number}{unit}") for number, unit in LENGTHS.findall(value)]
        bad = [length for length in lengths if length is None or not lowest <= length <= highest]
        if not bad:
            draft.settle(name)
            aside = name.startswith(("margin", "padding")) and not name.endswith(("-top", "-bottom", "-block"))
            if aside and lengths:
                known = draft.said.get("aside")
                draft.said["aside"] = max(known if isinstance(known, float) else 0.0, *(one or 0.0 for one in lengths))
        elif any(length is not None and length < -MOST for length in bad) and not pulls:
            draft.mark(name, value, Hiding.OFF_SCREEN)
        else:
            far = any(length is not None and length > MOST for length in bad)  # what follows is pushed away
            draft.mark(name, value, covers=covers or far)

    return handle


def _display(draft: _Draft, name: str, value: str) -> None:
    if value == "none":
        draft.said["displayed"] = False
        draft.settle(name)
    elif value in _DISPLAYS:
        draft.said["displayed"] = True
        draft.settle(name)
    else:
        draft.mark(name, value)


def _visibility(draft: _Draft, name: str, value: str) -> None:
    if value in ("visible", "hidden", "collapse"):
        draft.said["visible"] = value == "visible"
        draft.settle(name)
    else:
        draft.mark(name, value)


def _opacity(draft: _Draft, name: str, value: str) -> None:
    match = LENGTH.match(value)
    if match and match[2] in ("", "%"):
        draft.said["opacity"] = float(match[1]) / (100 if match[2] else 1)
        draft.settle(name)
    else:
        draft.mark(name, value)


def _font_size(draft: _Draft, name: str, value: str) -> None:
    size = _size(value)
    if size is None or (size.pixels or 0) > LARGEST or size.factor > LARGEST / 16:
        draft.mark(name, value, covers=size is not None)
    else:
        draft.said["size"] = size
        draft.settle(name)


def _size(value: str) -> FontSize | None:
    if value in _SIZES:
        return FontSize(_SIZES[value])
    if value in ("smaller", "larger"):
        return FontSize(None, 0.83 if value == "smaller" else 1.2)
    match = LENGTH.match(value)
    if match is None:
        return None
    number = float(match[1])
    if match[2] in PIXELS:
        return FontSize(number * PIXELS[match[2]])
    if match[2] in ("em", "%", "ex", "ch"):
        return FontSize(None, number * {"em": 1.0, "%": 0.01, "ex": 0.5, "ch": 0.5}[match[2]])
    scale = RELATIVE.get(match[2])
    return FontSize(number * scale) if scale else None


def _font(draft: _Draft, name: str, value: str) -> None:
    """The shorthand: the size is the first length, with a line height behind a slash."""
    before, slash, behind = value.partition("/")
    words = before.split()
    size = next((word for word in words if LENGTH.match(word) and not word.isdigit()), None)
    size = size or next((word for word in words if word in _SIZES or word in ("smaller", "larger")), None)
    if size is None and words and words[-1] in _SYSTEM_FONTS:
        draft.settle("font-size")
        return
    _font_size(draft, "font-size", size or "0")
    if slash and behind.split():
        _line_height(draft, "line-height", behind.split()[0].strip())


def _line_height(draft: _Draft, name: str, value: str) -> None:
    match = LENGTH.match(value)
    high = False
    if value == "normal":
        draft.said["lines"] = True
    elif match is None:
        draft.mark(name, value)
        return
    elif match[2] in ("", "em", "%"):
        factor = float(match[1]) / (100 if match[2] == "%" else 1)
        draft.said["lines"] = factor >= SMALL
        high = factor > LARGEST / 16
    else:
        length = pixels(value) or 0
        draft.said["lines"] = length >= ROOM
        high = length > MOST
    if high:
        draft.mark(name, value, covers=True)
    else:
        draft.settle(name)


def _colour(draft: _Draft, name: str, value: str) -> None:
    ink = ink_of(value)
    if ink is not None:
        draft.said["colour"] = ink
        draft.settle(name)
    elif value != "currentcolor":
        draft.mark(name, value)


def _fill(draft: _Draft, name: str, value: str) -> None:
    """``-webkit-text-fill-color`` wins over ``color``."""
    if value == "currentcolor":
        draft.settle(name)
    else:
        draft.mark(name, value)


def _background(draft: _Draft, name: str, value: str) -> None:
    pictured = "url(" in value or "gradient(" in value or "image(" in value or "image-set(" in value
    if name != "background-color":
        draft.said["picture"] = pictured
    if name == "background-image":
        return
    words = value.split() if "(" not in value else _words(value)
    ink = next(filter(None, map(ink_of, words)), None)
    if ink is not None:
        draft.said["background"] = ink
        draft.settle("background-color")
    elif value == "transparent" or (name == "background" and (pictured or value in ("none", "0", "0 0"))):
        draft.said.pop("background", None)
    elif value != "none":
        draft.mark("background-color", value)


def _words(value: str) -> list[str]:
    """Split at blanks outside brackets."""
    return re.findall(r"(?:[^\s()]|\((?:[^()]|\([^()]*\))*\))+", value)


def _overflow(draft: _Draft, name: str, value: str) -> None:
    if all(word in _OVERFLOWS for word in value.split()):
        draft.said["clips"] = bool(draft.said.get("clips")) or value != "visible"
        if name == "overflow":
            draft.said["clips"] = value != "visible"
    else:
        draft.mark(name, value)


def _extent(draft: _Draft, name: str, value: str) -> None:
    """A fixed height or width, which matters where the box clips. A wide one leaves room for any text."""
    if value in ("auto", "none", "100%", "fit-content", "max-content", "min-content", "100vw"):
        draft.settle(name)
        return
    length = pixels(value)
    if length is None or length < 0 or length > FAR or _outgrows(value):
        draft.mark(name, value, covers=length is not None and length > FAR)
        return
    wide = "width" in name or "inline" in name
    if wide and (length >= MOST / 2 or value.endswith("%")):
        draft.settle(name)
        return
    if wide and length < 2 * ROOM:
        draft.mark(name, value)
    extent = draft.said.get("extent")
    draft.said["extent"] = min(length, extent) if isinstance(extent, float) else length


def _outgrows(value: str) -> bool:
    """Return whether a box of that width is wider than the screen or what it stands in: its text may be beside it."""
    length = LENGTH.match(value)
    return length is not None and length[2] in ("vw", "vmax", "%") and float(length[1]) > WIDEST


def _least_width(draft: _Draft, name: str, value: str) -> None:
    if _outgrows(value):
        draft.mark(name, value)
        return
    _within(0, 1600)(draft, name, value)
    length = pixels(value)
    if length is not None and (value.endswith("%") or length >= MOST / 4):
        draft.broad = True


def _position(draft: _Draft, name: str, value: str) -> None:
    if value in ("static", "relative"):
        draft.settle(name)
    else:
        draft.mark(name, value, covers=True)


def _z_index(draft: _Draft, name: str, value: str) -> None:
    if value == "auto" or (value.lstrip("+").isdigit()):
        draft.settle(name)
    else:
        draft.mark(name, value)


def _clip_path(draft: _Draft, name: str, value: str) -> None:
    if value in ("none", "auto"):
        draft.settle(name)
        return
    bare = " ".join(value.replace("px", "").replace(",", " ").split())
    nothing = bare in ("rect(0 0 0 0)", "rect(1 1 1 1)", "inset(50%)", "inset(100%)", "circle(0)")
    draft.mark(name, value, Hiding.OFF_SCREEN if nothing else None)


def _transform(draft: _Draft, name: str, value: str) -> None:
    if value in ("none", "scale(1)", "translatez(0)", "rotate(0deg)", "translate3d(0, 0, 0)", "translate3d(0,0,0)"):
        draft.settle(name)
        return
    nothing = value.startswith(("scale(0)", "scale(0,", "scalex(0)", "scaley(0)"))
    draft.mark(name, value, Hiding.OFF_SCREEN if nothing else None, covers=not nothing)


_DISPLAYS = frozenset({
    "block", "inline", "inline-block", "table", "inline-table", "table-row", "table-cell", "table-row-group",
    "table-header-group", "table-footer-group", "table-caption", "list-item", "flex", "inline-flex", "grid",
    "inline-grid", "flow-root", "run-in", "-webkit-box", "-webkit-flex", "-ms-flexbox", "-webkit-inline-box",
    "contents",
})  # fmt: skip
_OVERFLOWS = frozenset({"visible", "hidden", "clip", "auto", "scroll"})
_SYSTEM_FONTS = frozenset({"caption", "icon", "menu", "message-box", "small-caption", "status-bar"})

_HARMLESS = frozenset({
    "font-family", "font-weight", "font-style", "font-variant", "font-stretch", "font-feature-settings",
    "font-kerning", "font-display", "font-variant-ligatures", "font-variant-numeric", "font-optical-sizing",
    "font-smoothing", "osx-font-smoothing", "text-align", "text-align-last", "text-decoration",
    "text-decoration-line", "text-decoration-color", "text-decoration-style", "text-decoration-thickness",
    "text-decoration-skip-ink", "text-decoration-skip", "text-underline-offset", "text-underline-position",
    "text-transform", "text-rendering", "text-size-adjust", "text-shadow", "text-justify", "text-wrap",
    "text-overflow", "text-stroke", "vertical-align", "border-collapse", "border-color", "border-style",
    "border-radius", "border-top-color", "border-right-color", "border-bottom-color", "border-left-color",
    "border-top-style", "border-right-style", "border-bottom-style", "border-left-style", "border-top-left-radius",
    "border-top-right-radius", "border-bottom-left-radius", "border-bottom-right-radius", "border-image", "outline",
    "outline-color", "outline-style", "outline-width", "outline-offset", "cursor", "list-style", "list-style-type",
    "list-style-position", "list-style-image", "table-layout", "box-sizing", "box-shadow", "word-wrap", "word-break",
    "overflow-wrap", "hyphens", "line-break", "white-space", "white-space-collapse", "object-fit",
    "object-position", "page", "page-break-before", "page-break-after", "page-break-inside", "break-before",
    "break-after", "break-inside", "orphans", "widows", "quotes", "speak", "image-rendering", "interpolation-mode",
    "accent-color", "appearance", "user-select", "float", "clear", "justify-content", "justify-items", "justify-self",
    "align-content", "align-items", "align-self", "flex", "flex-basis", "flex-direction", "flex-flow", "flex-grow",
    "flex-shrink", "flex-wrap", "flex-pack", "flex-align", "box-align", "box-pack", "box-orient", "box-flex",
    "order", "gap", "row-gap", "column-gap", "place-items", "place-content", "grid-template-columns",
    "grid-template-rows", "grid-template-areas", "grid-template", "grid-column", "grid-row", "grid-area",
    "grid-auto-flow", "background-repeat", "background-position", "background-size", "background-attachment",
    "background-origin", "background-position-x", "background-position-y", "tab-size", "tap-highlight-color",
    "touch-action", "caption-side", "aspect-ratio", "color-scheme", "supported-color-schemes", "color-adjust",
    "print-color-adjust", "forced-color-adjust", "content", "counter-reset", "counter-increment", "counter-set",
    "transition", "transition-property", "transition-duration", "transition-timing-function", "transition-delay",
    "will-change", "scroll-behavior", "overflow-scrolling", "overscroll-behavior", "scrollbar-width", "resize",
    "caret-color", "src", "unicode-range", "premailer-width",
    "premailer-height", "premailer-cellpadding", "premailer-cellspacing", "hyphenate-character", "direction",
    "transform-origin", "perspective-origin", "backface-visibility", "border-image-source", "border-image-slice",
    # no properties, but written by people and editors, and passed over by every program
    "align", "valign", "bgcolor", "cellpadding", "cellspacing", "font-color", "text-color", "colour",
    "text-weight", "alt", "target", "href", "class", "style", "text-style", "size", "face",
})  # fmt: skip

_HANDLERS: dict[str, Handler] = {
    "display": _display,
    "visibility": _visibility,
    "opacity": _opacity,
    "font-size": _font_size,
    "font": _font,
    "line-height": _line_height,
    "color": _colour,
    "text-fill-color": _fill,
    "background": _background,
    "background-color": _background,
    "background-image": _background,
    "overflow": _overflow,
    "overflow-x": _overflow,
    "overflow-y": _overflow,
    "overflow-block": _overflow,
    "overflow-inline": _overflow,
    "position": _position,
    "z-index": _z_index,
    "clip": _clip_path,
    "clip-path": _clip_path,
    "transform": _transform,
    "text-indent": _within(-MOST / 4, MOST / 4),
    "letter-spacing": _within(-1, 20),
    "word-spacing": _within(-2, 40),
    "min-width": _least_width,
    "min-height": _within(0, MOST * 3),
    "min-inline-size": _least_width,
    "border-spacing": _within(0, MOST),
    "padding-block": _within(0, MOST),
    "padding-inline": _within(0, MOST),
    "background-clip": _neutral("border-box", "padding-box", "content-box"),
    "mso-hide": _neutral("none"),
    "filter": _neutral("none"),
    "backdrop-filter": _neutral("none"),
    "mask": _neutral("none"),
    "mask-image": _neutral("none"),
    "mix-blend-mode": _neutral("normal"),
    "isolation": _neutral("auto", "isolate"),
    "content-visibility": _neutral("visible"),
    "contain": _neutral("none"),
    "zoom": _neutral("1", "normal", "100%"),
    "line-clamp": _neutral("none"),
    "columns": _neutral("auto"),
    "column-count": _neutral("auto", "1"),
    "column-width": _neutral("auto"),
    "writing-mode": _neutral("horizontal-tb"),
    "text-orientation": _neutral("mixed"),
    "unicode-bidi": _neutral("normal", "embed", "isolate", "plaintext"),
    "animation": _neutral("none"),
    "animation-name": _neutral("none"),
    "perspective": _neutral("none"),
    "empty-cells": _neutral("show"),
    "pointer-events": _neutral("auto", "all"),
    "translate": _covering("none", "0", "0px"),
    "rotate": _covering("none", "0deg"),
    "scale": _covering("none", "1"),
    "inset": _covering("auto", "0"),
}
_HANDLERS |= {name: _within(-MOST / 8, MOST / 8, covers=True) for name in ("top", "right", "bottom", "left")}
_HANDLERS |= {
    name: _within(LEAST, MOST, covers=True, pulls=side not in ("-left", "-right"))
    for side in ("", "-top", "-right", "-bottom", "-left", "-block", "-inline", "-block-start", "-block-end",
                 "-inline-start", "-inline-end")
    for name in (f"margin{side}",)
}  # fmt: skip
_HANDLERS |= {
    name: _within(0, MOST)
    for side in ("", "-top", "-right", "-bottom", "-left", "-block-start", "-block-end", "-inline-start", "-inline-end")
    for name in (f"padding{side}", f"border{side}", f"border{side}-width")
}
_HANDLERS |= {
    f"{most}{name}": _extent for most in ("", "max-") for name in ("height", "width", "block-size", "inline-size")
}

_FIELDS: dict[str, tuple[str, ...]] = {
    "display": ("displayed",), "visibility": ("visible",), "opacity": ("opacity",), "font-size": ("size",),
    "font": ("size", "lines"), "line-height": ("lines",), "color": ("colour",), "background": ("background", "picture"),
    "background-color": ("background",), "background-image": ("picture",), "overflow": ("clips",),
    "overflow-x": ("clips",), "overflow-y": ("clips",), "height": ("extent",), "max-height": ("extent",),
    "width": ("extent",), "max-width": ("extent",),
}  # fmt: skip
