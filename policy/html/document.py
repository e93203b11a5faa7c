"""An HTML body as its reader sees it: text, links and images that show, what is hidden, and what cannot be told.

Lexbor builds the tree as browsers do. What does not show, or is not proved to, is then taken out of it and recorded
(``visibility``); the rest is what the page says.

Invariants: text that is hidden or unproven never counts as said. Never raises, and spends a bounded time on one page:
the tree builder is quadratic for deep nesting and crowded tags, so pages with too many of either are not read
(``fault``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mta.mail.values import dataclass
from policy.html.css import Sheet, is_font_url, sheet_of
from policy.html.outlook import NOT_FOR_ALL, hidden_in_outlook
from policy.html.style import Hiding
from policy.html.visibility import Hidden, Unproven, judge
from policy.reading_budget import ReadingBudget, TooIntricate

LIMIT = 256 * 1024  # characters that are read; large mail programs show less than half of that
FEW_TAGS = 500  # in so many, open elements do no harm
MAX_OPEN = 200  # formatting elements that are not closed: each paragraph opens them anew (HTML 13.2.4.3)
WINDOW = 4096  # so many characters without a ">" may be one tag with too many attributes
MAX_GAPS = 64  # between attributes in a window
_GAPS = " \t\r\n\f/\"'"
_FORMATTING = frozenset({
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"
})  # fmt: skip
_PROBE = "imprimatur-probe"

_NOT_RENDERED = (
    "script", "style", "noscript", "title", "svg", "canvas", "audio", "video", "object", "iframe", "noembed",
    "noframes", "datalist", "select", "textarea", "meter", "progress", "dialog", "template", "details", "applet",
)  # fmt: skip
_WITH_WORDS = frozenset(_NOT_RENDERED) - {"script", "style", "title"}
# Elements that show what is in them in every mail program.
_UNDERSTOOD = frozenset({
    "html", "head", "body", "meta", "link", "base", "div", "p", "span", "a", "table", "tbody", "thead", "tfoot", "tr",
    "td", "th", "caption", "col", "colgroup", "br", "hr", "wbr", "h1", "h2", "h3", "h4", "h5", "h6", "b", "i", "u",
    "em", "strong", "small", "big", "font", "center", "ul", "ol", "li", "dl", "dt", "dd", "blockquote", "address",
    "pre", "code", "kbd", "samp", "tt", "var", "img", "sup", "sub", "s", "strike", "del", "ins", "abbr", "acronym",
    "cite", "q", "dfn", "section", "article", "header", "footer", "main", "nav", "aside", "figure", "figcaption",
    "label", "time", "mark", "bdi", "form", "fieldset", "legend", "input", "button", "picture", "source", "nobr",
    "data", "hgroup", "area", "public", "o", "v", "w", "xml", "style", "title", "script",
})  # fmt: skip
_TAG = re.compile(r"<(/?[a-zA-Z][a-zA-Z0-9]{0,30}[^<a-zA-Z0-9]?)")  # with the character behind its name


class Link:
    """A link, the words it is under (those of its pictures too), and the text of its block before and behind it.
    ``node``: its element, read on demand, for most rules look at a few of a page's links."""

    __slots__ = ("_around", "_node", "_words", "url")

    def __init__(
        self, url: str, words: str = "", around: tuple[str, str] = ("", ""), node: LexborNode | None = None
    ) -> None:
        self.url = url
        self._words, self._around, self._node = words, around, node

    @property
    def words(self) -> str:
        if self._node is not None and not self._words:
            self._words = _words_of(self._node)
        return self._words

    @property
    def around(self) -> tuple[str, str]:
        """The text of its block before and behind it; other links in it are a ``|`` each, for they speak for
        themselves."""
        if self._node is not None and self._around == ("", ""):
            self._around = _around(self._node)
        return self._around

    @property
    def element(self) -> int | None:
        """The identity of its element; None in plain text."""
        return self._node.mem_id if self._node is not None else None

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing of it to press: no text and no picture."""
        return not self.words and self._node is not None and self._node.css_first("img") is None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Link) and (self.url, self.words) == (other.url, other.words)

    def __hash__(self) -> int:
        return hash(self.url)

    def __repr__(self) -> str:
        return f"Link({self.url!r}, {self.words!r})"


# Signs in what ``HtmlDocument.flow`` returns.
BLOCK_END, LINKS_MEET, LINK_MARK, LINK_BEGINS, LINK_ENDS = "\x1d", "\x1e", "\ue000", "\ue001", "\ue002"
_BLOCKS = frozenset({"p", "td", "th", "div", "li", "body", "center", "h1", "h2", "h3", "h4", "footer", "address", "dd"})
_WHITE = re.compile(r"\s+")
_ENDS_BLOCK = _BLOCKS | {
    "table",
    "tr",
    "ul",
    "ol",
    "section",
    "header",
    "dl",
    "dt",
    "blockquote",
    "h5",
    "h6",
    "article",
}
MAX_AROUND = 400  # texts of a block that are read
MAX_FLOW = 20_000  # elements and texts of a page that are


def _words_of(link: LexborNode) -> str:
    words = link.text(deep=True)
    for picture in link.css("img"):
        said = picture.attributes
        words += f" {said.get('alt') or said.get('title') or ''}"
    return " ".join(words.split()) or " ".join((link.attributes.get("title") or "").split())


def _around(link: LexborNode) -> tuple[str, str]:
    block = link.parent
    while block is not None and block.tag not in _BLOCKS and block.parent is not None:
        block = block.parent
    if block is None:
        return "", ""
    sides: list[list[str]] = [[], []]
    side, seen = 0, 0
    waiting: list[LexborNode | str] = [*reversed(_children(block))]
    while waiting and seen < MAX_AROUND:
        node, seen = waiting.pop(), seen + 1
        if isinstance(node, str):
            sides[side].append(node)
        elif node.mem_id == link.mem_id:
            side = 1
        elif node.tag == "-text":
            sides[side].append(_WHITE.sub(" ", node.text(deep=True)))  # a line end in the source is none on the screen
        elif node.tag == "a":
            sides[side].append(" | ")
        elif node.tag in ("br", "hr"):
            sides[side].append("\n")
        elif node.tag in _ENDS_BLOCK:
            waiting += ["\n", *reversed(_children(node)), "\n"]
        else:
            waiting += reversed(_children(node))
    return "".join(sides[0]), "".join(sides[1])


def _flow(root: LexborNode, marked: Link) -> Iterator[str]:
    """Yield the text below ``root`` with the ends of its blocks and lines, and the places where links meet."""
    mark = marked.element
    waiting: list[LexborNode | str] = [root]
    after_link = False
    for _ in range(MAX_FLOW):
        if not waiting:
            return
        node = waiting.pop()
        if isinstance(node, str):
            after_link = after_link or node == LINK_ENDS
            yield node
        elif node.tag == "-text":
            text = _WHITE.sub(" ", node.text(deep=True))
            after_link = after_link and not any(map(str.isalnum, text))
            yield text
        elif node.tag == "a":
            yield LINKS_MEET * after_link + (LINK_MARK if node.mem_id == mark else LINK_BEGINS)
            after_link = False
            waiting.append(LINK_ENDS)
            waiting += reversed(_children(node))
        elif node.tag in _ENDS_BLOCK:
            yield BLOCK_END
            waiting.append(BLOCK_END)
            waiting += reversed(_children(node))
        else:
            if node.tag in ("br", "hr"):
                yield "\n" if node.tag == "br" else BLOCK_END
            elif node.tag == "img":
                yield f" {node.attributes.get('alt') or ''} "
            waiting += reversed(_children(node))


def _children(node: LexborNode) -> list[LexborNode]:
    return list(node.iter(include_text=True))


@dataclass(frozen=True, slots=True)
class Image:
    """``width`` and ``height`` as its attributes say, in pixels; None if they do not."""

    source: str
    alt: str
    width: int | None = None
    height: int | None = None


class HtmlDocument:
    """One HTML body. ``text``: a line for each run of text that shows. ``concealed``: text that its styles hide, and
    how. ``unproven``: text of which it cannot be told whether it shows. ``fault``: why it could not be read, or "".
    ``kept``: what was found in it, for ``View``."""

    __slots__ = (
        "_html", "_images", "_links", "_not_rendered", "_root", "concealed", "fault", "kept", "text", "unproven"
    )  # fmt: skip

    def __init__(self, html: str, budget: ReadingBudget | None = None) -> None:
        self._html = html
        self._root: LexborNode | None = None
        self._links: tuple[Link, ...] | None = None
        self.kept: dict[Hashable, Any] = {}
        self._images: tuple[Image, ...] | None = None
        self._not_rendered: list[Hidden] = []
        self.concealed: tuple[Hidden, ...] = ()
        self.unproven: tuple[Unproven, ...] = ()
        self.text = ""
        self.fault = ""
        try:
            self._read(html, budget or ReadingBudget())
        except TooIntricate as error:
            self.fault = f"the HTML {error}"

    def _read(self, html: str, budget: ReadingBudget) -> None:
        """Raises TooIntricate."""
        tags = Counter(_TAG.findall(html))
        if len(html) <= LIMIT:
            check_tags(html, budget, tags)
        else:
            check_tags(html[:LIMIT], budget)
        tree = LexborHTMLParser(html[:LIMIT])
        root = tree.body or tree.root
        if root is None:
            return
        sheets = sheets_of(tree, budget)
        names = frozenset(_name(tag) for tag in tags if tag[0] != "/")
        for name in _NOT_RENDERED:
            if name in names:
                self._take(tree, name)
        judged = judge(tree, sheets, _doubtful(tree, html, names, budget), budget)
        self.concealed = tuple(hidden for hidden in judged.hidden if hidden.text.strip())
        self.unproven = tuple(piece for piece in judged.unproven if piece.text.strip() or piece.links)
        if judged.nothing_left:
            return
        self._root = root
        self.text = root.text(deep=True, separator="\n", skip_empty=True)

    def _take(self, tree: LexborHTMLParser, name: str) -> None:
        """Take out the elements ``name``, which are not shown, and remember what they say if people might read it."""
        for node in reversed(tree.tags(name)):  # inner ones first: what is inside a node goes with it
            if name in _WITH_WORDS:
                self._not_rendered.append(Hidden(node.text(deep=True, separator="\n"), Hiding.NOT_RENDERED))
            node.decompose()

    @property
    def is_all(self) -> bool:
        """Whether all of it is proved to show."""
        return not (self.fault or self.concealed or self.unproven or self._not_rendered)

    @property
    def links(self) -> tuple[Link, ...]:
        """The links that show, top to bottom; areas of a map only if a picture uses it."""
        if self._links is None:
            self._links = tuple(_links(self._root)) if self._root else ()
        return self._links

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures that show, top to bottom."""
        if self._images is None:
            self._images = tuple(_images(self._root)) if self._root else ()
        return self._images

    def flow(self, marked: Link) -> str:
        """Return what shows from top to bottom: ``BLOCK_END`` and line ends where blocks and lines end, ``LINKS_MEET``
        between links without a word between them, ``LINK_MARK`` before ``marked``, other links between ``LINK_BEGINS``
        and ``LINK_ENDS``."""
        return "".join(_flow(self._root, marked)) if self._root else ""

    @property
    def hidden(self) -> tuple[Hidden, ...]:
        """The text that does not show, and why; comments last. Text of white space only is left out."""
        said = [hidden for hidden in self._not_rendered if hidden.text.strip()]
        said += self.concealed
        if not self.fault:
            said += (Hidden(text, Hiding.COMMENT) for text in _comments(self._html[:LIMIT]) if text.strip())
        return tuple(said)


def _links(root: LexborNode) -> Iterator[Link]:
    for node in root.css("a[href]"):
        if url := (node.attrs["href"] or "").strip():
            yield Link(url, node=node)
    for picture in root.css("img[usemap]"):
        name = (picture.attributes.get("usemap") or "").removeprefix("#")
        for area in root.css("map[name] area[href]"):
            if (area.parent.attributes.get("name") if area.parent else None) == name:
                yield Link((area.attrs["href"] or "").strip(), area.attributes.get("alt") or "")


def _images(root: LexborNode) -> Iterator[Image]:
    for node in root.css("img[src]"):
        said = node.attributes
        if source := (said.get("src") or "").strip():
            yield Image(source, said.get("alt") or "", _size(said.get("width")), _size(said.get("height")))


def sheets_of(tree: LexborHTMLParser, budget: ReadingBudget) -> list[Sheet]:
    """Return the style sheets of the page; one that comes from elsewhere is a doubt, unless it is of fonts."""
    sheets = []
    for node in tree.tags("style"):
        text = node.text(deep=True)
        budget.take_css(len(text))
        sheets.append(sheet_of(text, node.attributes.get("media") or ""))
    for node in tree.css("link[rel][href]"):
        said = node.attributes
        if "stylesheet" in (said.get("rel") or "").lower() and not is_font_url((said.get("href") or "").strip()):
            sheets.append(Sheet(doubt=f'<link rel=stylesheet href="{(said.get("href") or "")[:40]}">'))
    return sheets


def _doubtful(tree: LexborHTMLParser, html: str, names: frozenset[str], budget: ReadingBudget) -> dict[LexborNode, str]:
    """Return the elements that are not understood in themselves, and why."""
    found = {}
    for name in sorted(names - _UNDERSTOOD - frozenset(_NOT_RENDERED)):
        for node in tree.tags(name):
            found[node] = f"<{name}>"
    if NOT_FOR_ALL.search(html) and tree.body is not None:
        for node in hidden_in_outlook(tree.body, lambda piece: HtmlDocument(piece, budget)):
            found[node] = "a conditional comment that hides it in Outlook"
    return found


def check_tags(html: str, budget: ReadingBudget, tags: Counter[str] | None = None) -> None:
    """Raise TooIntricate if the tree builder might take too long for this page. ``tags``: how often it has each."""
    count = html.count("<")
    budget.take_tags(count)
    if count > FEW_TAGS:
        unclosed = _unclosed(Counter(_TAG.findall(html)) if tags is None else tags)
        if unclosed > MAX_OPEN:
            raise TooIntricate(f"leaves {unclosed} elements such as <b> open, at most {MAX_OPEN} are read")
    for start in range(0, len(html), WINDOW):
        if html.find(">", start, start + WINDOW) < 0 and _is_crowded_tag(html, start):
            raise TooIntricate(f"has a tag with more than {MAX_GAPS} attributes")


def _unclosed(tags: Counter[str]) -> int:
    """Return how many elements of formatting are opened and not closed."""
    unclosed = 0
    for tag, count in tags.items():
        if (tag[-1] in "/>" or tag[-1].isspace()) and (name := tag[:-1].lower()).removeprefix("/") in _FORMATTING:
            unclosed += -count if name[0] == "/" else count
    return unclosed


def _name(tag: str) -> str:
    """Return the name of a tag, in lower case, from what ``_TAG`` finds."""
    return (tag if tag[-1].isascii() and tag[-1].isalnum() else tag[:-1]).lower()


def _is_crowded_tag(html: str, start: int) -> bool:
    """Whether a window without a ">" begins between the attributes of a tag, and there are many.

    Only the tree builder can tell what is text, a style sheet or a quoted value: it is given what is before, and one
    attribute more."""
    window = html[start : start + WINDOW]
    if sum(map(window.count, _GAPS)) <= MAX_GAPS:
        return False
    return bool(LexborHTMLParser(f"{html[:start]} {_PROBE}=1>").css(f"[{_PROBE}]"))


def _comments(html: str) -> Iterator[str]:
    """What stands in comments; those for one mail program (``[if mso]``) are meant to be seen there, and left out."""
    start = html.find("<!--")
    while start >= 0:
        end = html.find("-->", start + 4)
        text = html[start + 4 : end] if end >= 0 else html[start + 4 :]
        if not text.lstrip().startswith(("[if", "<![endif", "[endif")):
            yield text
        if end < 0:
            return
        start = html.find("<!--", end + 3)


def _size(value: str | None) -> int | None:
    digits = (value or "").strip().removesuffix("px")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 6 else None
