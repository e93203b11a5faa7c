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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

from policy.html.cascade import TEXT, Findings, StyledPage, ancestors, kinds_in_play, own_styles, speaks_of
from policy.html.css import Sheet, StyleRule
from policy.html.media import Screen, screens_for
from policy.html.style import Hiding
from policy.reading_budget import ReadingBudget, TooIntricate

MAX_SCREENS = 12  # that differ in what is in force


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


def judge(
    tree: LexborHTMLParser, sheets: Sequence[Sheet], doubtful: Mapping[LexborNode, str], budget: ReadingBudget
) -> Sorted:
    """Take out of ``tree`` what is hidden or in doubt under its own styles and ``sheets``. ``doubtful``: elements that
    are not understood in themselves, and why.

    Raises TooIntricate; the tree is then of no use."""
    found = _find(tree, sheets, budget, anyway=bool(doubtful))
    if found is None:
        return Sorted()
    for node, why in doubtful.items():
        found.nodes[node.mem_id] = node
        found.doubts.setdefault(node.mem_id, why)
    return _take_out(tree, found, budget)


def doubt_about_body(tree: LexborHTMLParser, sheets: Sequence[Sheet], budget: ReadingBudget) -> str:
    """Return what might hide, cover or move whatever stands directly in the body, if its own styles are beyond doubt;
    or "". Raises TooIntricate."""
    found = _find(tree, sheets, budget)
    if found is None:
        return ""
    for root in filter(None, (tree.root, tree.body)):
        if (how := found.gone.get(root.mem_id)) is not None:
            return f"<{root.tag}> {how.value}"
        if why := found.doubts.get(root.mem_id):
            return f"<{root.tag}> {why}"
    return found.covered


def _find(
    tree: LexborHTMLParser, sheets: Sequence[Sheet], budget: ReadingBudget, *, anyway: bool = False
) -> Findings | None:
    """Return what the styles hide or leave in doubt on all screens, None if they do neither. Raises TooIntricate."""
    own = own_styles(tree, budget)
    rules = sorted((rule for sheet in sheets for rule in sheet.rules), key=lambda rule: rule.weight)
    page_doubt = next((sheet.doubt for sheet in sheets if sheet.doubt), "")
    kinds = kinds_in_play(own, rules)
    if not kinds and not page_doubt and not anyway:
        return None
    relevant = [rule for rule in rules if not kinds.isdisjoint(speaks_of(rule.style))]
    found = Findings()
    for n, (screen, in_force) in enumerate(_screens(relevant)):
        styled = StyledPage(tree, own, in_force, kinds, budget)
        _merge(found, styled.findings(), "" if n == 0 else _named(screen))
    found.covered = found.covered or page_doubt
    return found


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


def _merge(found: Findings, more: Findings, where: str) -> None:
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


def _take_out(tree: LexborHTMLParser, found: Findings, budget: ReadingBudget) -> Sorted:
    result = Sorted()
    root = tree.body or tree.root
    assert root is not None
    for node, how, why in found.texts.values():
        text = node.text(deep=True)
        if how is not None:
            result.hidden.append(Hidden(text, how))
        else:
            result.unproven.append(Unproven(text, why, _links_around(node)))
        node.decompose()
    whole = {root.mem_id, *([tree.root.mem_id] if tree.root is not None else [])}
    if all_gone := next((found.gone[key] for key in whole if key in found.gone), None):
        result.hidden.append(Hidden(_text(root), all_gone))
        result.nothing_left = True
        return result
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
        result.hidden.append(Hidden(_text(node), how))
        node.decompose()
    for node, why in doubts:
        result.unproven.append(Unproven(_text(node), why, _links_in(node)))
        node.decompose()
    if why := next((found.doubts[key] for key in whole if key in found.doubts), found.covered):
        result.unproven.append(Unproven(_text(root), why, _links_in(root)))
        result.nothing_left = True
    return result


def _text(node: LexborNode) -> str:
    return node.text(deep=True, separator="\n", skip_empty=True)


def _links_in(node: LexborNode) -> tuple[tuple[str, str], ...]:
    if node.tag == TEXT:
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
    return any(parent.mem_id in keys for parent in ancestors(node, budget))
