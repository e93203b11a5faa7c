"""What of a page its reader sees: sort its text into what shows, what is hidden, and what cannot be told.

Text shows if every style that reaches it, on every screen that matters, is one that is understood (``properties``) and
leaves it readable. It is hidden if a style hides it on an ordinary screen. All else is unproven: hidden on some
screens, or under a declaration, selector or element that is not understood.

What hides or is in doubt is taken out of the tree; what is left of it shows. Few styles of a page have a part in hiding
something: only these are followed.

Invariants: no element whose ancestor was taken out is touched again: the tree is Lexbor's memory.

Limitations: an unknown background is white, as in the light mode of mail programs. Text under a picture that lies over
it without any style, or drawn as an image, is not detected.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from policy.html.contrast import PAPER, Paint, may_be_faint, painted
from policy.html.css import Sheet, StyleRule, important_style_of, style_of
from policy.html.media import Screen, screens_for
from policy.html.properties import FAINT, PLAIN, READABLE, TRANSPARENT, Hiding, Mark, Style, attribute_ink, over
from policy.reading_budget import ReadingBudget, TooIntricate

MAX_COLOURS = 200  # told apart on one page: each is compared with each
MAX_SCREENS = 12  # that differ in what is in force
ASIDE = 240.0  # pixels that margins within each other may take on a phone
LEGIBLE = 7.0  # pixels: smaller letters are hard to read

_OLDER = "[hidden],[popover],[bgcolor],[background],[width='0'],[height='0']"
_STYLED = f"[style]:not({_OLDER})"
_OTHERS = frozenset({"hidden", "popover", "bgcolor", "background", "color", "text", "width", "height"})
_COLOURS = {"body": "text", "font": "color"}
_COLUMNS = ("col", "colgroup")
_TEXT = "-text"
_COUNTING = re.compile(r":(?:nth|only|first|last|has|empty)|~")  # looks at all siblings of each element


@dataclass(frozen=True, slots=True)
class Hidden:
    """Text that is there and does not show."""

    text: str
    how: Hiding


@dataclass(frozen=True, slots=True)
class Unproven:
    """Text of which it cannot be told whether it shows, and why: the declaration, rule or element. ``links``: the
    addresses in it, each with its words."""

    text: str
    why: str
    links: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Sorted:
    """What was taken out of the tree. ``nothing_left``: the whole page, whose tree must not be touched again."""

    hidden: list[Hidden] = field(default_factory=list)
    unproven: list[Unproven] = field(default_factory=list)
    nothing_left: bool = False


@dataclass(frozen=True, slots=True)
class _Own:
    """The elements that have a style of their own, by that style: there are few, for pages say the same again."""

    normal: Mapping[Style, Sequence[LexborNode]]
    important: Mapping[Style, Sequence[LexborNode]]


@dataclass(slots=True)
class _Findings:
    """What was found on one screen. Elements and texts by their places in memory."""

    gone: dict[int, Hiding] = field(default_factory=dict)
    doubts: dict[int, str] = field(default_factory=dict)
    texts: dict[int, tuple[LexborNode, Hiding | None, str]] = field(default_factory=dict)
    nodes: dict[int, LexborNode] = field(default_factory=dict)
    covered: str = ""


def judge(
    tree: LexborHTMLParser, sheets: Sequence[Sheet], doubtful: Mapping[LexborNode, str], budget: ReadingBudget
) -> Sorted:
    """Take out of ``tree`` what is hidden or in doubt under its own styles and ``sheets``. ``doubtful``: elements that
    are not understood in themselves, and why.

    Raises TooIntricate; the tree is then of no use."""
    own = _own_styles(tree, budget)
    rules = sorted((rule for sheet in sheets for rule in sheet.rules), key=lambda rule: rule.weight)
    page_doubt = next((sheet.doubt for sheet in sheets if sheet.doubt), "")
    kinds = _kinds_in_play(own, rules)
    if not kinds and not doubtful and not page_doubt:
        return Sorted()
    relevant = [rule for rule in rules if not kinds.isdisjoint(_speaks_of(rule.style))]
    found = _Findings()
    for n, (screen, in_force) in enumerate(_screens(relevant)):
        styled = _Styled(tree, own, in_force, kinds, budget)
        _merge(found, styled.findings(), "" if n == 0 else _named(screen))
    for node, why in doubtful.items():
        found.nodes[node.mem_id] = node
        found.doubts.setdefault(node.mem_id, why)
    found.covered = found.covered or page_doubt
    return _take_out(tree, found, budget)


def _screens(rules: Sequence[StyleRule]) -> list[tuple[Screen, list[StyleRule]]]:
    """Return the screens that differ in which rules are in force, the ordinary one first. Raises TooIntricate."""
    different: dict[tuple[bool, ...], tuple[Screen, list[StyleRule]]] = {}
    for screen in screens_for(rule.media for rule in rules):
        holds = tuple(rule.media.holds(screen) for rule in rules)
        if holds not in different:
            different[holds] = screen, [rule for rule, held in zip(rules, holds, strict=True) if held]
    if len(different) > MAX_SCREENS:
        raise TooIntricate("has styles for too many screens")
    return list(different.values())


def _named(screen: Screen) -> str:
    words = [f"{screen.width} pixels wide", *(["in dark mode"] if screen.dark else [])]
    return f" on a screen {', '.join(words)}"


def _merge(found: _Findings, more: _Findings, where: str) -> None:
    """Add what was found on another screen: what is hidden there is unproven."""
    found.nodes |= more.nodes
    found.covered = found.covered or more.covered
    for key, how in more.gone.items():
        if where:
            found.doubts.setdefault(key, f"{how.value}{where}")
        else:
            found.gone[key] = how
    for key, why in more.doubts.items():
        found.doubts.setdefault(key, why)
    for key, (node, hidden, why) in more.texts.items():
        if where and hidden is not None:
            found.texts.setdefault(key, (node, None, f"{hidden.value}{where}"))
        else:
            found.texts.setdefault(key, (node, hidden, why))


# --- taking out


def _take_out(tree: LexborHTMLParser, found: _Findings, budget: ReadingBudget) -> Sorted:
    judgement = Sorted()
    root = tree.body or tree.root
    assert root is not None
    for node, how, why in found.texts.values():
        text = node.text(deep=True)
        if how is not None:
            judgement.hidden.append(Hidden(text, how))
        else:
            judgement.unproven.append(Unproven(text, why, _links_around(node)))
        node.decompose()
    whole = {root.mem_id, *([tree.root.mem_id] if tree.root is not None else [])}
    if all_gone := next((found.gone[key] for key in whole if key in found.gone), None):
        judgement.hidden.append(Hidden(_text(root), all_gone))
        judgement.nothing_left = True
        return judgement
    outer = frozenset(found.gone) | frozenset(found.doubts)
    gone = [
        (found.nodes[key], how) for key, how in found.gone.items() if not _is_inside(found.nodes[key], outer, budget)
    ]
    doubts = [
        (found.nodes[key], why)
        for key, why in found.doubts.items()
        if key not in found.gone and key not in whole and not _is_inside(found.nodes[key], outer, budget)
    ]
    inner = [  # hidden inside what is in doubt: it is hidden all the same
        (found.nodes[key], how)
        for key, how in found.gone.items()
        if _is_inside(found.nodes[key], outer, budget)
        and not _is_inside(found.nodes[key], frozenset(found.gone), budget)
    ]
    for node, how in [*inner, *gone]:
        judgement.hidden.append(Hidden(_text(node), how))
        node.decompose()
    for node, why in doubts:
        judgement.unproven.append(Unproven(_text(node), why, _links_in(node)))
        node.decompose()
    if why := next((found.doubts[key] for key in whole if key in found.doubts), found.covered):
        judgement.unproven.append(Unproven(_text(root), why, _links_in(root)))
        judgement.nothing_left = True
    return judgement


def _text(node: LexborNode) -> str:
    return node.text(deep=True, separator="\n", skip_empty=True)


def _links_in(node: LexborNode) -> tuple[tuple[str, str], ...]:
    if node.tag == _TEXT:
        return _links_around(node)
    own = [node] if node.tag == "a" else []
    return tuple(
        ((link.attributes.get("href") or "").strip(), " ".join(link.text(deep=True).split()))
        for link in [*own, *node.css("a[href]")]
    )


def _links_around(node: LexborNode) -> tuple[tuple[str, str], ...]:
    """The link that a text stands in."""
    parent, words = node.parent, " ".join(node.text(deep=True).split())
    for _ in range(4):
        if parent is None:
            break
        if parent.tag == "a":
            return (((parent.attributes.get("href") or "").strip(), words),)
        parent = parent.parent
    return ()


def _is_inside(node: LexborNode, keys: frozenset[int], budget: ReadingBudget) -> bool:
    return any(parent.mem_id in keys for parent in _ancestors(node, budget))


def _ancestors(node: LexborNode, budget: ReadingBudget) -> Iterator[LexborNode]:
    parent = node.parent
    while parent is not None:
        budget.take_steps()
        yield parent
        parent = parent.parent


# --- styles in play


def _own_styles(tree: LexborHTMLParser, budget: ReadingBudget) -> _Own:
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
    return _Own(normal, important)


@lru_cache(8192)
def _speaks_of(style: Style) -> frozenset[str]:
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


def _kinds_in_play(own: _Own, rules: Sequence[StyleRule]) -> frozenset[str]:
    """The kinds of trouble that some style of the page begins. Raises TooIntricate."""
    styles = frozenset((*own.normal, *own.important, *(rule.style for rule in rules)))
    kinds = _kinds_begun(styles)
    painting = frozenset(style for style in styles if style.paints)
    outer = painting
    if not any(rule.important and rule.style.paints for rule in rules):  # such a rule changes one colour of any element
        of_rules = frozenset(rule.style for rule in rules)
        outer = frozenset(style for style in painting if style in of_rules or _holds_others(own, style))
    return kinds | {"paint"} if may_be_faint(painting, outer) else kinds


def _holds_others(own: _Own, style: Style) -> bool:
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


class _Styled:
    """The elements whose styles have a part in hiding something, on one screen, by their place in memory."""

    __slots__ = ("_budget", "_found", "_kinds", "_matching", "_nodes", "_paints", "_sizes", "_styles", "_tree")

    def __init__(
        self,
        tree: LexborHTMLParser,
        own: _Own,
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
        self._found = _Findings(nodes=self._nodes)
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
            if not self._kinds.isdisjoint(_speaks_of(style)):
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

    def findings(self) -> _Findings:
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
            table = next((each for each in _ancestors(node, self._budget) if each.tag == "table"), None)
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
        for parent in _ancestors(node, self._budget):
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
        around = (self._styles.get(parent.mem_id) for parent in _ancestors(node, self._budget))
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
        for parent in _ancestors(self._nodes[key], self._budget):
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
        return bool(gone) and any(parent.mem_id in gone for parent in _ancestors(node, self._budget))

    def _texts(self, node: LexborNode, stop: Callable[[int], bool]) -> Iterator[LexborNode]:
        """The texts in ``node``, but not those inside an element that is gone or for which ``stop`` holds."""
        waiting = [node]
        while waiting:
            for child in waiting.pop().iter(include_text=True, skip_empty=True):
                self._budget.take_steps()
                if child.tag == _TEXT:
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
