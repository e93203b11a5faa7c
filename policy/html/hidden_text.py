"""Remove from a tree what its styles hide, and tell how each piece was hidden.

Two kinds: properties that hide everything inside (``display:none``, a box without size), and properties inherited until
overridden (font size, visibility, colours).

Invariants: no text that is unreadable on the screen stays in the tree; no element whose ancestor was removed is kept:
the tree is Lexbor's memory.

Limitations: specificity is not weighed: the later rule wins, and an element's own style over both.
Selectors with ``+``, ``~`` or a pseudo-class are not applied; ``>`` counts as any depth. An unknown background is
white, as in the light mode of mail clients; over an image every colour counts as readable.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from policy.html.contrast import PAPER, Paint, blank, may_be_blank, painted
from policy.html.css import PLAIN, ElementStyle, Hiding, StyleRule, attribute_colour, look_of, over, rules_of
from policy.reading_budget import ReadingBudget, TooIntricate

MAX_RULES = 200  # rules of style sheets that are applied
MAX_COLOURS = 200  # told apart on one page: each is compared with each
MATCH = 5  # steps that matching a selector costs

_OLDER = "[hidden],[bgcolor],[background]"
_STYLED = f"[style]:not({_OLDER})"
_OTHERS = frozenset({"hidden", "bgcolor", "background", "color", "text"})
_COLOURS = {"body": "text", "font": "color"}
_SIMPLE = re.compile(r"([.#]?)([\w-]+)")
_TEXT = "-text"

Groups = Mapping[ElementStyle, Sequence[LexborNode]]


@dataclass(frozen=True, slots=True)
class Hidden:
    """Text that is there and does not show."""

    text: str
    how: Hiding


def hide(tree: LexborHTMLParser, sheets: Sequence[str], budget: ReadingBudget) -> list[Hidden]:
    """Take out of ``tree`` what does not show under its own styles and those of ``sheets``.

    Raises TooIntricate; the tree is then of no use."""
    rules = [rule for sheet in sheets for rule in rules_of(sheet)][:MAX_RULES]
    groups = _groups(tree)
    suspects = _suspects(groups, rules)
    if not suspects.looks:
        return []
    groups = {look: nodes for look, nodes in groups.items() if look in suspects.looks}
    styled = _Styled(budget, tree, groups, [rule for rule in rules if rule.look in suspects.looks])
    return styled.take_unreadable(suspects.coloured) + styled.take_gone()


def _groups(tree: LexborHTMLParser) -> Groups:
    """The elements that have a look of their own, by their looks: there are few, for pages say the same again."""
    styles: defaultdict[str | None, list[LexborNode]] = defaultdict(list)
    for node in tree.css(_STYLED):
        styles[node.attrs["style"]].append(node)
    groups: defaultdict[ElementStyle, list[LexborNode]] = defaultdict(list)
    for style, nodes in styles.items():
        groups[look_of(style or "")] += nodes
    for node in (*tree.css(_OLDER), *tree.tags("font"), *tree.tags("body")):
        groups[_own_look(node)].append(node)
    groups.pop(PLAIN, None)
    return groups


@dataclass(frozen=True, slots=True)
class _Suspects:
    """The looks that have a part in hiding something, or in showing it again; ``coloured``: in the colour of what is
    behind it. The others need no following, and most pages have no more than the line beside the subject."""

    looks: frozenset[ElementStyle]
    coloured: bool


def _suspects(groups: Groups, rules: Sequence[StyleRule]) -> _Suspects:
    firm = any(rule.firm for rule in rules)  # such a rule may change any element: show it again, change one colour
    gone = frozenset(look for look in groups if look.gone is not None and not firm)  # whatever else they say
    said = frozenset(groups).difference(gone).union(rule.look for rule in rules)
    if len({colour for look in said for colour in (look.colour, look.background)}) > MAX_COLOURS:
        raise TooIntricate(f"has more than {MAX_COLOURS} colours")
    painting = frozenset(rule.look for rule in rules if rule.look.paints)
    outer = painting.union(
        look for look in said.difference(painting) if look.paints and (firm or any(map(_holds_others, groups[look])))
    )
    coloured = may_be_blank(said, outer)
    return _Suspects(gone | _in_play(said, coloured), coloured)


def _holds_others(node: LexborNode) -> bool:
    """Whether there are elements in this one. In most there are none: what they paint meets nothing but itself."""
    return next(node.iter(), None) is not None


@lru_cache(256)  # the messages of a mailing have the same looks
def _in_play(looks: frozenset[ElementStyle], coloured: bool) -> frozenset[ElementStyle]:
    """Those of ``looks`` that speak of something by which one of them may hide."""
    gone = any(look.gone is not None for look in looks)
    invisible = any(look.visible is False for look in looks)
    tiny = any(look.readable is False for look in looks)
    return frozenset(
        look
        for look in looks
        if (coloured and look.paints)
        or (gone and (look.gone is not None or look.displayed is not None))
        or (invisible and look.visible is not None)
        or (tiny and look.readable is not None)
    )


class _Styled:
    """The elements that have a look of their own, by their place in memory."""

    __slots__ = ("_gone", "_looks", "_mixed", "_nodes", "_paints", "_step")

    def __init__(
        self, budget: ReadingBudget, tree: LexborHTMLParser, groups: Groups, rules: Sequence[StyleRule]
    ) -> None:
        self._step = budget.take_steps
        self._nodes: dict[int, LexborNode] = {}
        self._looks: dict[int, ElementStyle] = {}
        self._paints: dict[int, Paint] = {}
        self._mixed: dict[tuple[int, int], Paint] = {}
        for rule in rules:
            if not rule.firm:
                self._apply(tree, rule)
        for look, nodes in groups.items():
            for node in nodes:
                self._add(node, look)
        for rule in rules:
            if rule.firm:
                self._apply(tree, rule)
        self._gone = {key: look.gone for key, look in self._looks.items() if look.gone is not None}

    def _add(self, node: LexborNode, look: ElementStyle) -> None:
        key = node.mem_id
        known = self._looks.get(key)
        self._nodes[key] = node
        self._looks[key] = look if known is None else over(known, look)

    def _apply(self, tree: LexborHTMLParser, rule: StyleRule) -> None:
        *outer, own = rule.selector.replace(">", " ").split()
        try:
            found = tree.css(own)
            self._step(len(found))
            for node in found:
                if not outer or self._is_inside(node, outer):
                    self._add(node, rule.look)
        except SelectolaxError:  # a selector that Lexbor does not know
            return

    def _is_inside(self, node: LexborNode, outer: Sequence[str]) -> bool:
        """Whether the ancestors of ``node`` match the compounds ``outer``, outermost first."""
        missing = list(outer)
        for parent in self._ancestors(node):
            self._step(MATCH)
            if _matches(parent, missing[-1]):
                missing.pop()
                if not missing:
                    return True
        return False

    def _ancestors(self, node: LexborNode) -> Iterator[LexborNode]:
        parent = node.parent
        while parent is not None:
            self._step()
            yield parent
            parent = parent.parent

    def _is_gone(self, node: LexborNode) -> bool:
        """Whether something around ``node`` is not shown."""
        return bool(self._gone) and any(parent.mem_id in self._gone for parent in self._ancestors(node))

    def take_gone(self) -> list[Hidden]:
        """Take out the elements that are not shown, each with all that it holds. Nothing may be asked afterwards."""
        outermost = [(self._nodes[key], how) for key, how in self._gone.items() if not self._is_gone(self._nodes[key])]
        taken = [Hidden(node.text(deep=True, separator="\n", skip_empty=True), how) for node, how in outermost]
        for node, _ in outermost:
            node.decompose()
        return taken

    def take_unreadable(self, coloured: bool) -> list[Hidden]:
        """Take out the texts that are invisible, too small, or, if ``coloured``, in the colour of what is behind
        them."""
        found: dict[int, tuple[LexborNode, Hiding]] = {}
        for how, begins, ends in self._causes(coloured):
            for key in begins:
                if not self._is_gone(self._nodes[key]):
                    for text in self._texts(self._nodes[key], ends):
                        found.setdefault(text.mem_id, (text, how))
        taken = [Hidden(node.text(deep=True), how) for node, how in found.values()]
        for node, _ in found.values():
            node.decompose()
        return taken

    def _causes(self, coloured: bool) -> Iterator[tuple[Hiding, Sequence[int], Callable[[ElementStyle], bool]]]:
        """How text may be unreadable, which elements begin it, and which end it inside them."""
        looks = frozenset(self._looks.values())
        if any(look.visible is False for look in looks):
            yield (
                Hiding.INVISIBLE,
                self._with(lambda look: look.visible is False),
                lambda look: look.visible is not None,
            )
        if any(look.readable is False for look in looks):
            yield Hiding.TINY, self._with(lambda look: look.readable is False), lambda look: look.readable is not None
        if coloured and (unclear := blank(looks)):
            yield Hiding.SAME_COLOUR, self._blanks(unclear), lambda look: look.paints

    def _with(self, wanted: Callable[[ElementStyle], bool]) -> list[int]:
        return [key for key, look in self._looks.items() if wanted(look) and look.gone is None]

    def _blanks(self, unclear: Mapping[ElementStyle, bool | None]) -> list[int]:
        """The elements whose own text has the colour of what is behind it; ``unclear`` says what their looks tell."""
        found = []
        for key, look in self._looks.items():
            known = unclear.get(look, False)
            if known is None:
                known = self._painted(look, self._around(self._nodes[key])).blank
            if known and look.gone is None:
                found.append(key)
        return found

    def _texts(self, node: LexborNode, stop: Callable[[ElementStyle], bool]) -> Iterator[LexborNode]:
        """The texts in ``node``, but not those inside an element that is gone or for whose look ``stop`` holds."""
        waiting = [node]
        while waiting:
            for child in waiting.pop().iter(include_text=True, skip_empty=True):
                self._step()
                if child.tag == _TEXT:
                    yield child
                    continue
                look = self._looks.get(child.mem_id)
                if look is None or not (look.gone or stop(look)):
                    waiting.append(child)

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
        self._step(len(passed))
        for key in reversed(passed):
            look = self._looks.get(key)
            if look is not None and look.paints:
                paint = self._painted(look, paint)
            self._paints[key] = paint
        return paint

    def _painted(self, look: ElementStyle, around: Paint) -> Paint:
        """``painted``, once for each pair: both live as long as this does."""
        pair = id(look), id(around)
        if pair not in self._mixed:
            self._mixed[pair] = painted(look, around)
        return self._mixed[pair]


def _matches(node: LexborNode, compound: str) -> bool:
    """Whether ``node`` has the tag, id and classes that ``compound`` asks for; other conditions are believed."""
    said = node.attributes
    classes = (said.get("class") or "").split()
    for mark, name in _SIMPLE.findall(compound.partition("[")[0]):
        held = name in classes if mark == "." else name == said.get("id") if mark else name.lower() == node.tag
        if not held:
            return False
    return True


def _own_look(node: LexborNode) -> ElementStyle:
    """What the attributes of an element make of it."""
    said = node.attributes
    style = said.get("style")
    look = look_of(style) if style else PLAIN
    if _OTHERS.isdisjoint(said):
        return look
    ground = said.get("bgcolor") or ""
    colour = said.get(_COLOURS.get(node.tag or "", "")) or ""
    return _with_attributes(look, "hidden" in said, ground[:40], colour[:40], bool(said.get("background")))


@lru_cache(4096)
def _with_attributes(look: ElementStyle, hidden: bool, ground: str, colour: str, picture: bool) -> ElementStyle:
    """``look`` and what older attributes add to it; the style wins."""
    gone = Hiding.ATTRIBUTE if hidden and not look.displayed else None
    return replace(
        look,
        gone=look.gone or gone,
        background=look.background or attribute_colour(ground),
        colour=look.colour or attribute_colour(colour),
        picture=look.picture or picture,
    )
