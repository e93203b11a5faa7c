"""Which styles are in force on the elements of a page, and what they hide: the cascade, as far as it matters.

Few styles of a page have a part in hiding something; only elements with one of these are followed. What a style passes
on to the elements inside (size, colour, opacity) is followed up and down the tree from there.

Limitations: an unknown background is white, as in the light mode of mail programs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from policy.html.contrast import PAPER, Paint, may_be_faint, painted
from policy.html.css import StyleRule, important_style_of, style_of
from policy.html.properties import READABLE
from policy.html.style import FAINT, PLAIN, TRANSPARENT, Hiding, Mark, Style, over
from policy.html.values import attribute_ink
from policy.reading_budget import ReadingBudget, TooIntricate

MAX_COLOURS = 200  # told apart on one page: each is compared with each
ASIDE = 240.0  # pixels that margins within each other may take on a phone
LEGIBLE = 7.0  # pixels: smaller letters are hard to read

_OLDER = "[hidden],[popover],[bgcolor],[background],[width='0'],[height='0']"
_STYLED = f"[style]:not({_OLDER})"
_OTHERS = frozenset({"hidden", "popover", "bgcolor", "background", "color", "text", "width", "height"})
_COLOURS = {"body": "text", "font": "color"}
_COLUMNS = ("col", "colgroup")
TEXT = "-text"
_COUNTING = re.compile(r":(?:nth|only|first|last|has|empty)|~")  # looks at all siblings of each element


@dataclass(frozen=True, slots=True)
class OwnStyles:
    """The elements that have a style of their own, by that style: there are few, for pages say the same again."""

    normal: Mapping[Style, Sequence[LexborNode]]
    important: Mapping[Style, Sequence[LexborNode]]


@dataclass(slots=True)
class Findings:
    """What was found on one screen. Elements and texts by their places in memory."""

    gone: dict[int, Hiding] = field(default_factory=dict)
    doubts: dict[int, str] = field(default_factory=dict)
    texts: dict[int, tuple[LexborNode, Hiding | None, str]] = field(default_factory=dict)
    nodes: dict[int, LexborNode] = field(default_factory=dict)
    covered: str = ""


def ancestors(node: LexborNode, budget: ReadingBudget) -> Iterator[LexborNode]:
    parent = node.parent
    while parent is not None:
        budget.take_steps()
        yield parent
        parent = parent.parent


def own_styles(tree: LexborHTMLParser, budget: ReadingBudget) -> OwnStyles:
    normal: defaultdict[Style, list[LexborNode]] = defaultdict(list)
    important: defaultdict[Style, list[LexborNode]] = defaultdict(list)
    written: defaultdict[str | None, list[LexborNode]] = defaultdict(list)
    for node in tree.css(_STYLED):
        written[node.attrs["style"]].append(node)
    for text, nodes in written.items():
        budget.take_css(len(text or ""))
        normal[style_of(text or "")] += nodes
        if "!" in (text or ""):
            important[important_style_of(text or "")] += nodes
    for node in (*tree.css(_OLDER), *tree.tags("font"), *tree.tags("body")):
        normal[_with_attributes_of(node)].append(node)
        text = node.attributes.get("style") or ""
        if "!" in text:
            important[important_style_of(text)].append(node)
    normal.pop(PLAIN, None)
    important.pop(PLAIN, None)
    return OwnStyles(normal, important)


@lru_cache(8192)
def speaks_of(style: Style) -> frozenset[str]:
    """The kinds of trouble that a style can begin or end."""
    kinds = {mark.name for mark in style.marks} | style.settled
    for name in ("displayed", "visible", "lines", "size", "opacity"):
        if getattr(style, name) is not None:
            kinds.add(name)
    if style.clips is not None or style.extent is not None:
        kinds.add("box")
    if style.aside is not None:
        kinds.add("aside")
    if style.paints or style.picture is not None:
        kinds.add("paint")
    return frozenset(kinds)


def kinds_in_play(own: OwnStyles, rules: Sequence[StyleRule]) -> frozenset[str]:
    """The kinds of trouble that some style of the page begins. Raises TooIntricate."""
    styles = frozenset((*own.normal, *own.important, *(rule.style for rule in rules)))
    kinds = _kinds_begun(styles)
    painting = frozenset(style for style in styles if style.paints)
    outer = painting
    if not any(rule.important and rule.style.paints for rule in rules):  # such a rule changes one colour of any element
        of_rules = frozenset(rule.style for rule in rules)
        outer = frozenset(style for style in painting if style in of_rules or _holds_others(own, style))
    return kinds | {"paint"} if may_be_faint(painting, outer) else kinds


def _holds_others(own: OwnStyles, style: Style) -> bool:
    """Whether an element with this style has others inside. In most there are none: what they paint meets nothing but
    itself."""
    nodes = (*own.normal.get(style, ()), *own.important.get(style, ()))
    return any(next(node.iter(), None) is not None for node in nodes)


@lru_cache(256)  # the messages of a mailing have the same styles
def _kinds_begun(styles: frozenset[Style]) -> frozenset[str]:
    """The kinds of trouble that some of ``styles`` begin, whatever elements they are on. Raises TooIntricate."""
    kinds = {mark.name for style in styles for mark in style.marks}
    if any(style.displayed is False for style in styles):
        kinds.add("displayed")
    if any(style.visible is False for style in styles):
        kinds.add("visible")
    if any(style.lines is False for style in styles):
        kinds.add("lines")
    if any(style.size is not None and style.size.may_be_small(LEGIBLE) for style in styles):
        kinds.add("size")
    if any(style.opacity is not None and style.opacity < 1 for style in styles):
        kinds.add("opacity")
    if any(style.clips for style in styles) and any(style.extent is not None for style in styles):
        kinds.add("box")
    if len({ink for style in styles for ink in (style.colour, style.background)}) > MAX_COLOURS:
        raise TooIntricate(f"has more than {MAX_COLOURS} colours")
    if any(style.aside is not None and style.aside > ASIDE / 4 for style in styles):
        kinds.add("aside")
    if any(style.picture for style in styles):
        kinds.add("paint")
    return frozenset(kinds)


class StyledPage:
    """The elements whose styles have a part in hiding something, on one screen, by their place in memory."""

    __slots__ = ("_budget", "_found", "_kinds", "_matching", "_nodes", "_paints", "_sizes", "_styles", "_tree")

    def __init__(
        self,
        tree: LexborHTMLParser,
        own: OwnStyles,
        rules: Sequence[StyleRule],
        kinds: frozenset[str],
        budget: ReadingBudget,
    ) -> None:
        self._tree, self._budget, self._kinds = tree, budget, kinds
        self._matching = len(tree.css("*")) // 25 if rules else 0  # steps that matching one selector costs
        self._nodes: dict[int, LexborNode] = {}
        self._styles: dict[int, Style] = {}
        self._paints: dict[int, Paint] = {}
        self._sizes: dict[int, float] = {}
        self._found = Findings(nodes=self._nodes)
        # CSS Cascade 4 6.1: style sheets, the element's own style, and both again with !important
        for rule in rules:
            if not rule.important:
                self._apply(rule)
        self._apply_own(own.normal)
        for rule in rules:
            if rule.important:
                self._apply(rule)
        self._apply_own(own.important)

    def _apply_own(self, styles: Mapping[Style, Sequence[LexborNode]]) -> None:
        for style, nodes in styles.items():
            if not self._kinds.isdisjoint(speaks_of(style)):
                for node in nodes:
                    self._add(node, style)

    def _apply(self, rule: StyleRule) -> None:
        try:
            nodes = self._tree.css(rule.selector)
        except SelectolaxError:
            if ":visited" not in rule.selector:
                self._found.covered = self._found.covered or f"{rule.selector[:60]} {{…}}"
            return
        self._budget.take_steps(1 + len(nodes) + self._matching)
        if _COUNTING.search(rule.selector):
            self._budget.take_steps(self._matching**2 // 2)
        for node in nodes:
            self._add(node, rule.style)

    def _add(self, node: LexborNode, style: Style) -> None:
        key = node.mem_id
        known = self._styles.get(key)
        self._nodes[key] = node
        self._styles[key] = style if known is None else _over(known, style)

    def findings(self) -> Findings:
        for key, style in self._styles.items():
            if (how := _gone(style)) is not None:
                self._found.gone[key] = how
        for key, style in self._styles.items():
            if key not in self._found.gone and (_is_doubtful(style) or self._nodes[key].tag in _COLUMNS):
                self._doubt(key, style)
        if "visible" in self._kinds:
            self._inherited(
                Hiding.INVISIBLE,
                "",
                lambda key: self._styles[key].visible is False,
                lambda key: self._styles[key].visible is not None,
            )
        if "size" in self._kinds:
            self._inherited(Hiding.TINY, "", lambda key: self._size(key) < READABLE, self._is_sized)
            small = f"a font below {LEGIBLE:g} pixels"
            self._inherited(None, small, lambda key: READABLE <= self._size(key) < LEGIBLE, self._is_sized)
        if "lines" in self._kinds:
            self._inherited(
                None,
                "a line height below the font's",
                lambda key: self._styles[key].lines is False,
                lambda key: self._styles[key].lines is not None,
            )
        if "paint" in self._kinds:
            self._paint()
        return self._found

    def _doubt(self, key: int, style: Style) -> None:
        node = self._nodes[key]
        why = style.doubt or self._faded(node, style) or self._pushed(node, style)
        if node.tag in _COLUMNS:
            why = why or ("" if style.visible is not False and style.extent is None else "a column without room")
            table = next((each for each in ancestors(node, self._budget) if each.tag == "table"), None)
            if why and table is not None:
                self._nodes[table.mem_id] = table
                self._found.doubts[table.mem_id] = why
            return
        if style.covers and style.visible is not False and not _is_dot(node):
            self._found.covered = self._found.covered or style.covers
        if why:
            self._found.doubts[key] = why

    def _faded(self, node: LexborNode, style: Style) -> str:
        """Why opacities within each other make it faint, or ""."""
        if style.opacity is None or style.opacity >= 1:
            return ""
        product = style.opacity
        for parent in ancestors(node, self._budget):
            outer = self._styles.get(parent.mem_id)
            if outer is not None and outer.opacity is not None:
                product *= outer.opacity
        if product < TRANSPARENT:
            self._found.gone[node.mem_id] = Hiding.TRANSPARENT
        return f"opacity:{product:.2g}" if product < FAINT else ""

    def _is_sized(self, key: int) -> bool:
        return self._styles[key].size is not None

    def _pushed(self, node: LexborNode, style: Style) -> str:
        """Why margins within each other leave it no room, or ""."""
        if style.aside is None or style.aside <= ASIDE / 4:
            return ""
        around = (self._styles.get(parent.mem_id) for parent in ancestors(node, self._budget))
        total = style.aside + sum(outer.aside for outer in around if outer is not None and outer.aside)
        return "margins that leave no room" if total > ASIDE else ""

    def _size(self, key: int) -> float:
        """The font size of an element in pixels; infinite if it says none."""
        size = self._styles[key].size
        if size is None:
            return float("inf")
        if key not in self._sizes:
            self._sizes[key] = size.pixels if size.pixels is not None else size.factor * self._size_around(key)
        return self._sizes[key]

    def _size_around(self, key: int) -> float:
        factor = 1.0
        for parent in ancestors(self._nodes[key], self._budget):
            outer = self._styles.get(parent.mem_id)
            if outer is None or outer.size is None:
                continue
            if parent.mem_id in self._sizes:
                return factor * self._sizes[parent.mem_id]
            if outer.size.pixels is not None:
                return factor * outer.size.pixels
            factor *= outer.size.factor
        return factor * 16.0

    def _inherited(
        self, how: Hiding | None, why: str, begins: Callable[[int], bool], ends: Callable[[int], bool]
    ) -> None:
        """Find the texts in elements for which ``begins`` holds, down to those for which ``ends`` does."""
        for key in [key for key in self._styles if key not in self._found.gone and begins(key)]:
            if not self._is_gone(self._nodes[key]):
                for text in self._texts(self._nodes[key], ends):
                    self._found.texts.setdefault(text.mem_id, (text, how, why))

    def _is_gone(self, node: LexborNode) -> bool:
        gone = self._found.gone
        return bool(gone) and any(parent.mem_id in gone for parent in ancestors(node, self._budget))

    def _texts(self, node: LexborNode, stop: Callable[[int], bool]) -> Iterator[LexborNode]:
        """The texts in ``node``, but not those inside an element that is gone or for which ``stop`` holds."""
        waiting = [node]
        while waiting:
            for child in waiting.pop().iter(include_text=True, skip_empty=True):
                self._budget.take_steps()
                if child.tag == TEXT:
                    yield child
                    continue
                key = child.mem_id
                if key not in self._styles or not (key in self._found.gone or stop(key)):
                    waiting.append(child)

    # colours

    def _paint(self) -> None:
        faint = {key for key in self._styles if self._is_faint(key)}
        self._inherited(Hiding.SAME_COLOUR, "", faint.__contains__, lambda key: self._styles[key].paints)
        self._inherited(
            None,
            "text on a picture",
            lambda key: bool(self._styles[key].picture),
            lambda key: self._styles[key].background is not None and not self._styles[key].picture,
        )

    def _is_faint(self, key: int) -> bool:
        style = self._styles[key]
        return style.paints and key not in self._found.gone and painted(style, self._around(self._nodes[key])).faint

    def _around(self, node: LexborNode) -> Paint:
        """What text beside ``node`` is painted with."""
        passed: list[int] = []
        paint, parent = PAPER, node.parent
        while parent is not None:
            key = parent.mem_id
            if key in self._paints:
                paint = self._paints[key]
                break
            passed.append(key)
            parent = parent.parent
        self._budget.take_steps(len(passed))
        for key in reversed(passed):
            style = self._styles.get(key)
            if style is not None and style.paints:
                paint = painted(style, paint)
            self._paints[key] = paint
        return paint


@lru_cache(8192)
def _gone(style: Style) -> Hiding | None:
    return style.gone


@lru_cache(8192)
def _is_doubtful(style: Style) -> bool:
    faded = style.opacity is not None and style.opacity < 1
    return bool(style.doubt or style.covers or faded or (style.aside or 0.0) > ASIDE / 4)


@lru_cache(4096)
def _over(under: Style, upper: Style) -> Style:
    return over(under, upper)


def _is_dot(node: LexborNode) -> bool:
    """Whether it is a picture that counts who reads, and covers nothing."""
    said = node.attributes
    return node.tag == "img" and {said.get("width"), said.get("height")} <= {"0", "1", "1px"}


def _with_attributes_of(node: LexborNode) -> Style:
    """What the attributes of an element make of it."""
    said = node.attributes
    text = said.get("style")
    style = style_of(text) if text else PLAIN
    if _OTHERS.isdisjoint(said):
        return style
    ground = said.get("bgcolor") or ""
    colour = said.get(_COLOURS.get(node.tag or "", "")) or ""
    empty = node.tag != "img" and ("0" in (said.get("width"), said.get("height")))
    hidden = "hidden" in said or "popover" in said
    return _with_attributes(style, hidden, ground[:40], colour[:40], bool(said.get("background")), empty)


@lru_cache(4096)
def _with_attributes(style: Style, hidden: bool, ground: str, colour: str, picture: bool, empty: bool) -> Style:
    """``style`` and what older attributes add to it; the style wins."""
    under = replace(
        PLAIN,
        colour=attribute_ink(colour),
        background=attribute_ink(ground),
        picture=picture or None,
        marks=_attribute_marks(hidden and not style.displayed, empty),
    )
    return over(under, style)


def _attribute_marks(hidden: bool, empty: bool) -> tuple[Mark, ...]:
    marks = [Mark("hidden", Hiding.ATTRIBUTE, "hidden")] if hidden else []
    return (*marks, *([Mark("size", None, "width or height of 0")] if empty else []))
