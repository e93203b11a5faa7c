"""Parse style sheets and ``style`` attributes (tinycss2) into styles and rules, each with its weight and its media.

Invariants: never raises for the content of a sheet, and takes linear time. What cannot be read, or comes from elsewhere
(``@import``), is a doubt about the whole page, never left out.

Limitations: cascade layers, container queries, ``@supports``, ``@scope`` and nested rules are not followed; what is in
them counts as possibly in force (``Media.maybe``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import tinycss2
from cssselect2.parser import SelectorError
from cssselect2.parser import parse as parse_selectors
from tinycss2.nth import parse_nth

from policy.html.media import ALWAYS, MAYBE, Media, parse_media
from policy.html.properties import style_of_declarations
from policy.html.style import PLAIN, Style

LONG = 2000  # characters of one style attribute; longer ones are read each time, so that what is kept stays small
MAX_SELECTORS = 5000  # characters of one rule's; each of at most LONGEST
LONGEST = 300
FONT_HOSTS = ("fonts.googleapis.com", "use.typekit.net", "fonts.bunny.net", "cloud.typography.com", "fast.fonts.net")
_BARE_PSEUDO = re.compile(r"(?:(?<=^)|(?<=[\s>+~(,]))(?=:(?!:))")  # Lexbor finds nothing for ":is(a) b"
_COMBINATOR = re.compile(r"((?:[^\s>+~(]|\([^()]*(?:\([^()]*\)[^()]*)*\))*)([\s>+~]*)(.*)\Z", re.DOTALL)
_PLACE = re.compile(r":(?:first|last|only|nth-last|nth)-(?:child|of-type)(?:\(([^()]*)\))?", re.IGNORECASE)
_INERT_ELEMENTS = frozenset({"selection", "placeholder", "marker", "-webkit-scrollbar", "-moz-focus-inner"})
_LINES = frozenset({"first-line", "first-letter"})  # they restyle text that is there
_NAMED = re.compile(r"[.#]|[a-zA-Z][\w-]*")
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_PLAIN_ELEMENTS = frozenset({"div", "a", "span"})
_INERT_RULES = frozenset({
    "charset", "namespace", "page", "font-face", "viewport", "-ms-viewport", "counter-style", "font-feature-values",
    "property", "keyframes", "-webkit-keyframes", "-moz-keyframes",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class StyleRule:
    """``selector``: one, without commas and pseudo-elements. ``weight``: its specificity, then its place."""

    selector: str
    style: Style
    important: bool
    weight: tuple[int, ...]
    media: Media = ALWAYS


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rules of a style sheet that could hide or colour something; ``doubt``: what in it cannot be followed.
    ``drawn``: selectors of pseudo-elements that an element without class and id may have, whatever its own style."""

    rules: tuple[StyleRule, ...] = ()
    doubt: str = ""
    drawn: tuple[str, ...] = ()


def style_of(text: str) -> Style:
    """Return what one ``style`` attribute does, as far as it is not overridden."""
    return _inline(text)[0] if len(text) <= LONG else _read_inline(text)[0]


def important_style_of(text: str) -> Style:
    """Return what its declarations with ``!important`` do."""
    return _inline(text)[1] if len(text) <= LONG else _read_inline(text)[1]


@lru_cache(4096)
def _inline(text: str) -> tuple[Style, Style]:
    return _read_inline(text)


def _read_inline(text: str) -> tuple[Style, Style]:
    normal, important, _ = _read_block(tinycss2.parse_blocks_contents(text, skip_comments=True, skip_whitespace=True))
    return normal, important


@lru_cache(32)  # the messages of a mailing have the same sheets
def sheet_of(text: str, media: str = "") -> Sheet:
    """Return the rules of the sheet ``text``; ``media``: the attribute of its element."""
    rules: list[StyleRule] = []
    doubts: list[str] = []
    drawn: list[str] = []
    nodes = tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True)
    _read_rules(nodes, parse_media(media), rules, doubts, drawn)
    return Sheet(tuple(rules), doubts[0] if doubts else "", tuple(drawn))


def _read_rules(
    nodes: Iterable[Any], media: Media, rules: list[StyleRule], doubts: list[str], drawn: list[str]
) -> None:
    for node in nodes:
        if node.type == "qualified-rule":
            _read_rule(node, media, rules, doubts, drawn)
        elif node.type == "at-rule":
            _read_at_rule(node, media, rules, doubts, drawn)


def _read_at_rule(node: Any, media: Media, rules: list[StyleRule], doubts: list[str], drawn: list[str]) -> None:
    keyword = node.lower_at_keyword
    if keyword == "import":
        if not _is_font(tinycss2.serialize(node.prelude)):
            doubts.append(f"@import {tinycss2.serialize(node.prelude).strip()[:60]}")
    elif keyword not in _INERT_RULES and node.content is not None:
        inner = parse_media(tinycss2.serialize(node.prelude)) if keyword == "media" else MAYBE
        nested = tinycss2.parse_rule_list(node.content, skip_comments=True, skip_whitespace=True)
        _read_rules(nested, media.within(inner), rules, doubts, drawn)


def _is_font(prelude: str) -> bool:
    url = prelude.strip().removeprefix("url(").strip("()\"' ;")
    return is_font_url(url.split('"')[0].split("'")[0].split(")")[0])


def is_font_url(url: str) -> bool:
    """Whether a style sheet at ``url`` is one of web fonts, and does nothing else."""
    try:
        return urlsplit(url if "//" in url else f"//{url}").hostname in FONT_HOSTS
    except ValueError:
        return False


def _read_rule(node: Any, media: Media, rules: list[StyleRule], doubts: list[str], drawn: list[str]) -> None:
    blocks = tinycss2.parse_blocks_contents(node.content, skip_comments=True, skip_whitespace=True)
    normal, important, nested = _read_block(blocks)
    plain = normal is PLAIN and important is PLAIN
    selectors = tinycss2.serialize(node.prelude).strip()
    if plain and not nested and ":first-l" not in selectors.lower():
        return
    try:
        parsed = list(parse_selectors(node.prelude)) if len(selectors) <= MAX_SELECTORS else None
    except SelectorError:
        parsed = None
    if parsed is None:
        # Browsers drop a rule whose selector they do not know; whether they know it cannot be told.
        doubts.append(f"{selectors[:60]} {{…}}")
        return
    for selector, text in zip(parsed, _split(node.prelude), strict=True):
        pseudo = selector.pseudo_element
        if pseudo is not None and (pseudo in _LINES or not plain) and _may_be_plain(text, pseudo):
            drawn.append(text)
        target = _target(text, pseudo)
        if len(text) > LONGEST:
            doubts.append(f"{text[:60]}… {{…}}")
            continue
        if target is None:
            continue
        for style, firm in ((normal, False), (important, True)):
            if style is not PLAIN:
                rules.append(StyleRule(target, style, firm, (*selector.specificity, len(rules)), media))
    if nested:
        _read_rules(_unnested(nested, selectors), media.within(MAYBE), rules, doubts, drawn)


def _split(prelude: Sequence[Any]) -> list[str]:
    """Return the selectors of a list; a comma inside brackets separates nothing."""
    texts, start = [], 0
    for n, token in enumerate(prelude):
        if token.type == "literal" and token.value == ",":
            texts.append(tinycss2.serialize(prelude[start:n]).strip())
            start = n + 1
    return [*texts, tinycss2.serialize(prelude[start:]).strip()]


def _target(selector: str, pseudo_element: str | None) -> str | None:
    """Return the selector of the element that a rule touches, None if it touches none that has text.

    A ``::first-line`` counts as the whole element, and so does what is drawn before or behind it."""
    selector = _BARE_PSEUDO.sub("*", selector)
    if pseudo_element is None:
        return _with_root(selector)
    if pseudo_element in _INERT_ELEMENTS:
        return None
    base = selector[: selector.lower().rindex(pseudo_element)].rstrip(":")
    return base if base and base[-1] not in " >+~" else f"{base}*"


def _may_be_plain(selector: str, pseudo_element: str) -> bool:
    """Whether the element that has the pseudo-element may be a plain one, without class and id."""
    if pseudo_element in _INERT_ELEMENTS:
        return False
    base = selector[: selector.lower().rindex(pseudo_element)].rstrip(":")
    while base != (base := _BRACKETS.sub("", base)):
        pass
    last = re.split(r"[\s>+~]+", f" {base}")[-1].split(":")[0]
    names = _NAMED.findall(last)
    return "\\" in last or all(name.lower() in _PLAIN_ELEMENTS for name in names)


def _with_root(selector: str) -> str:
    """Return the selector, and beside it one that finds the root, which is a first and an only child, but not for
    Lexbor."""
    first, sign, rest = _COMBINATOR.match(selector).groups()  # type: ignore[union-attr]
    rooted = _PLACE.sub(lambda place: ":root" if _is_first(place[1]) else place[0], first)
    return selector if rooted == first or ":not(" in first else f"{selector}, {rooted}{sign}{rest}"


def _is_first(formula: str | None) -> bool:
    """Whether an only child is meant by ``an+b`` (None: by a name without a formula)."""
    parsed = parse_nth(formula) if formula else (0, 1)
    if parsed is None:
        return True
    step, offset = parsed
    return offset == 1 if step == 0 else (1 - offset) % step == 0 and (1 - offset) // step >= 0


def _unnested(nested: Sequence[Any], parent: str) -> Iterator[Any]:
    """Yield nested rules with ``&`` written out (CSS Nesting 1)."""
    for node in nested:
        inner = tinycss2.serialize(node.prelude)
        outer = f":is({parent})"
        selector = inner.replace("&", outer) if "&" in inner else f"{outer} {inner}"
        body = tinycss2.serialize(node.content) if node.content else ""
        yield from tinycss2.parse_stylesheet(f"{selector}{{{body}}}", skip_comments=True, skip_whitespace=True)


def _read_block(nodes: Iterable[Any]) -> tuple[Style, Style, list[Any]]:
    """Return what the declarations do without and with ``!important``, and the rules nested among them."""
    said: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
    nested = []
    for node in nodes:
        if node.type == "declaration":
            value = " ".join(tinycss2.serialize(node.value).lower().split())
            said[bool(node.important)].append((node.lower_name, value))
        elif node.type == "qualified-rule":
            nested.append(node)
    return style_of_declarations(said[0]), style_of_declarations(said[1]), nested
