"""What Outlook for Windows does not show of a page: what is between ``<!--[if !mso]><!-->`` and ``<!--<![endif]-->``.

Buttons are often written twice, for Outlook in a comment that only it reads (``<!--[if mso]> ... <![endif]-->``, with
VML) and for all others behind it. If both say the same and lead to the same place, every reader sees it.

Limitations: of VML the shapes, their colour and their link are understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from selectolax.lexbor import LexborHTMLParser, LexborNode

NOT_FOR_ALL = re.compile(r"<!(?:--)?\s*\[if\s*!|<!\[if", re.IGNORECASE)  # downlevel-revealed
_FOR_OUTLOOK = re.compile(
    r"\s*\[if\s+(?:\(?\s*(?:gte?\s+)?mso[^\]!&]*)\]>(.*)<!\[endif\]\s*\Z", re.IGNORECASE | re.DOTALL
)
_SHAPE = re.compile(r"<(/?)v:[a-z]+", re.IGNORECASE)
_FILL = re.compile(r"\bfillcolor(?=\s*=)", re.IGNORECASE)
_ANCHOR = re.compile(r"\bv-text-anchor\s*:\s*[a-z]+\s*;?", re.IGNORECASE)


class ReadPiece(Protocol):
    """A page, as far as it is asked for here."""

    @property
    def text(self) -> str: ...

    @property
    def is_all(self) -> bool:
        """Whether all of it is proved to show."""
        ...


def hidden_in_outlook(root: LexborNode, read: Callable[[str], ReadPiece]) -> Iterator[LexborNode]:
    """Yield the elements and texts that Outlook shows no equal of. ``read``: reads a piece of HTML as a page."""
    for comment in [node for node in root.traverse() if node.tag == "-comment"]:
        if not _opens(comment):
            continue
        nodes, end = _range(comment)
        beside = (_neighbour(comment, forward=False), _neighbour(end, forward=True) if end is not None else None)
        if not any(other is not None and _says_the_same(nodes, other, read) for other in beside):
            yield from nodes


def _range(comment: LexborNode) -> tuple[list[LexborNode], LexborNode | None]:
    """Return what stands between a comment and the one that ends it, and that."""
    nodes = []
    node = comment.next
    while node is not None and not (node.tag == "-comment" and "endif" in (node.comment_content or "")):
        if node.is_element_node or node.is_text_node:
            nodes.append(node)
        node = node.next
    return nodes, node


def _opens(comment: LexborNode) -> bool:
    text = (comment.comment_content or "").strip().lower()
    return text.startswith("[if") and "endif" not in text


def _neighbour(comment: LexborNode, *, forward: bool) -> str | None:
    """Return what only Outlook reads in the comment beside this one."""
    node = comment.next if forward else comment.prev
    while node is not None and node.is_text_node and not node.text(deep=True).strip():
        node = node.next if forward else node.prev
    found = _FOR_OUTLOOK.match(node.comment_content or "") if node is not None and node.tag == "-comment" else None
    return found[1] if found else None


def _says_the_same(nodes: list[LexborNode], other: str, read: Callable[[str], ReadPiece]) -> bool:
    html = _ANCHOR.sub("", _FILL.sub("bgcolor", _SHAPE.sub(r"<\1div", other)))
    page = read(html)
    ours = " ".join(node.text(deep=True, separator=" ") for node in nodes)
    if not page.is_all or page.text.split() != ours.split():
        return False
    return {link for node in nodes for link in _links(node)} <= set(_links(LexborHTMLParser(html).root))


def _links(node: LexborNode | None) -> Iterator[str]:
    if node is not None:
        own = [node] if node.is_element_node and "href" in node.attributes else []
        yield from ((each.attributes.get("href") or "").strip() for each in [*own, *node.css("[href]")])
