"""Take out of a tree what its styles hide, and say how each piece was hidden.

Two kinds: what takes all it holds with it (``display:none``, a box without size), and what passes on to what is inside
until that says otherwise (the size of the font, visibility, colours).

It must never leave text in the tree that cannot be read on the screen, and never hold on to an element whose ancestor
was taken out: the tree is Lexbor's memory.

*Limits.* Which of two rules is more specific is not weighed: the later wins, and an element's own style over both.
Selectors with ``+``, ``~`` or a pseudo-class are not applied; ``>`` counts as any depth. An unknown background is
white, as mail programs have it in their light mode; over a picture every colour counts as readable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from policy.style import (
    BLACK,
    PLAIN,
    WHITE,
    Colour,
    Hiding,
    Look,
    Rule,
    alike,
    attribute_colour,
    look_of,
    over,
    rules_of,
)

MAX_RULES = 200  # rules of style sheets that are applied
MAX_STEPS = 100_000  # from an element to its parent or its children, for one page
MATCH = 5  # steps that matching a selector costs

_STYLED = "[style],[hidden],[bgcolor],[background]"
_OTHERS = frozenset({"hidden", "bgcolor", "background", "color", "text"})
_SIMPLE = re.compile(r"([.#]?)([\w-]+)")
_TEXT = "-text"


@dataclass(frozen=True, slots=True)
class Hidden:
    """Text that is there and does not show."""

    text: str
    how: Hiding


class TooIntricate(Exception):
    """Its styles take too long to follow; the text of the exception goes after "the HTML"."""


def hide(tree: LexborHTMLParser, sheets: Sequence[str]) -> list[Hidden]:
    """Take out of ``tree`` what does not show under its own styles and those of ``sheets``.

    Raises TooIntricate; the tree is then of no use."""
    rules = [rule for sheet in sheets for rule in rules_of(sheet)][:MAX_RULES]
    styled = _Styled(tree, rules)
    return styled.take_unreadable() + styled.take_gone()


@dataclass(frozen=True, slots=True)
class _Paint:
    """What text directly in an element is painted with, and on; ``ground`` None: on something unknown."""

    colour: Colour
    ground: Colour | None

    @property
    def blank(self) -> bool:
        return self.ground is not None and alike(self.colour, self.ground)


_PAPER = _Paint(BLACK, WHITE)


class _Styled:
    """The elements that have a look of their own, by their place in memory."""

    __slots__ = ("_gone", "_looks", "_mixed", "_nodes", "_paints", "_steps")

    def __init__(self, tree: LexborHTMLParser, rules: Sequence[Rule]) -> None:
        self._steps = MAX_STEPS
        self._nodes: dict[int, LexborNode] = {}
        self._looks: dict[int, Look] = {}
        self._paints: dict[int, _Paint] = {}
        self._mixed: dict[tuple[int, int], _Paint] = {}
        for rule in rules:
            if not rule.firm:
                self._apply(tree, rule)
        for node in (*tree.css(_STYLED), *tree.tags("font"), *tree.tags("body")):
            look = _own_look(node)
            if look is not PLAIN:
                self._add(node, look)
        for rule in rules:
            if rule.firm:
                self._apply(tree, rule)
        self._gone = {key: look.gone for key, look in self._looks.items() if look.gone is not None}

    def _add(self, node: LexborNode, look: Look) -> None:
        key = node.mem_id
        known = self._looks.get(key)
        self._nodes[key] = node
        self._looks[key] = look if known is None else over(known, look)

    def _apply(self, tree: LexborHTMLParser, rule: Rule) -> None:
        *outer, own = rule.selector.replace(">", " ").split()
        try:
            for node in tree.css(own):
                self._step()
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

    def _step(self, size: int = 1) -> None:
        self._steps -= size
        if self._steps < 0:
            raise TooIntricate("has styles that take too long to follow")

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

    def take_unreadable(self) -> list[Hidden]:
        """Take out the texts that are invisible, too small, or in the colour of what is behind them."""
        found: dict[int, tuple[LexborNode, Hiding]] = {}
        for how, begins, ends in self._causes():
            for key in begins:
                if not self._is_gone(self._nodes[key]):
                    for text in self._texts(self._nodes[key], ends):
                        found.setdefault(text.mem_id, (text, how))
        taken = [Hidden(node.text(deep=True), how) for node, how in found.values()]
        for node, _ in found.values():
            node.decompose()
        return taken

    def _causes(self) -> Iterator[tuple[Hiding, Sequence[int], Callable[[Look], bool]]]:
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
        if blank := _blank(looks):
            yield Hiding.SAME_COLOUR, self._blanks(blank), lambda look: look.paints

    def _with(self, wanted: Callable[[Look], bool]) -> list[int]:
        return [key for key, look in self._looks.items() if wanted(look) and look.gone is None]

    def _blanks(self, blank: Mapping[Look, bool | None]) -> list[int]:
        """The elements whose own text has the colour of what is behind it; ``blank`` says what their looks tell."""
        found = []
        for key, look in self._looks.items():
            known = blank.get(look, False)
            if known is None:
                known = self._painted(look, self._around(self._nodes[key])).blank
            if known and look.gone is None:
                found.append(key)
        return found

    def _texts(self, node: LexborNode, stop: Callable[[Look], bool]) -> Iterator[LexborNode]:
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

    def _around(self, node: LexborNode) -> _Paint:
        """What text beside ``node`` is painted with."""
        passed: list[int] = []
        paint, parent = _PAPER, node.parent
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

    def _painted(self, look: Look, around: _Paint) -> _Paint:
        """``_painted``, once for each pair: both live as long as this does."""
        pair = id(look), id(around)
        if pair not in self._mixed:
            self._mixed[pair] = _painted(look, around)
        return self._mixed[pair]


def _is_whole(look: Look) -> bool:
    return look.colour is not None and (look.background is not None or look.picture)


def _painted(look: Look, around: _Paint) -> _Paint:
    """The paint inside an element with this look, in another with the paint ``around``."""
    return _Paint(look.colour or around.colour, None if look.picture else look.background or around.ground)


def _matches(node: LexborNode, compound: str) -> bool:
    """Whether ``node`` has the tag, id and classes that ``compound`` asks for; other conditions are believed."""
    said = node.attributes
    classes = (said.get("class") or "").split()
    for mark, name in _SIMPLE.findall(compound.partition("[")[0]):
        held = name in classes if mark == "." else name == said.get("id") if mark else name.lower() == node.tag
        if not held:
            return False
    return True


def _own_look(node: LexborNode) -> Look:
    """What the attributes of an element make of it."""
    said = node.attributes
    style = said.get("style")
    look = look_of(style) if style else PLAIN
    if _OTHERS.isdisjoint(said):
        return look
    ground, colour = said.get("bgcolor") or "", said.get("color") or ""
    if node.tag == "body":
        colour = said.get("text") or ""
    return _with_attributes(look, "hidden" in said, ground[:40], colour[:40], bool(said.get("background")))


@lru_cache(4096)
def _with_attributes(look: Look, hidden: bool, ground: str, colour: str, picture: bool) -> Look:
    """``look`` and what older attributes add to it; the style wins."""
    gone = Hiding.ATTRIBUTE if hidden and not look.displayed else None
    return replace(
        look,
        gone=look.gone or gone,
        background=look.background or attribute_colour(ground),
        colour=look.colour or attribute_colour(colour),
        picture=look.picture or picture,
    )


@lru_cache(256)  # the messages of a mailing have the same looks
def _blank(looks: frozenset[Look]) -> Mapping[Look, bool | None]:
    """Those of ``looks`` that may put text on a background of its own colour: whether they do, None if that hangs on
    what is around."""
    colours = {look.colour for look in looks if look.colour is not None} | {BLACK}
    grounds = {look.background for look in looks if look.background is not None} | {WHITE}
    pairs = [(colour, ground) for colour in colours for ground in grounds if alike(colour, ground)]
    bad_colours, bad_grounds = {colour for colour, _ in pairs}, {ground for _, ground in pairs}
    return {
        look: _painted(look, _PAPER).blank if _is_whole(look) else None
        for look in looks
        if look.colour in bad_colours or look.background in bad_grounds
    }
