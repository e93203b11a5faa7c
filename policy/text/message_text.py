"""What a message says: its text, links, images and attachments, decoded once for all rules.

``MessageText`` walks the MIME tree on the first question, decodes the visible bodies on the first question about text,
and builds the page of an HTML body only if there is one. Of alternatives most readers see the last that their program
can display (RFC 2046 5.1.4), some another that is richer: each of these is a ``View`` of its own. Parts side by side
are all seen, unless they have a name, for then some programs make a button of them.

Invariants: never raises for the content of a message, and never counts hidden text as said: alternative text of images,
comments, styles and everything not displayed. Unreadable parts are reported in ``fault``.

Limitations: at most ``LIMIT`` characters of each text are read, ``MAX_BODIES`` bodies, and of all together what
``ReadingBudget`` allows. Messages inside messages count as attachments; their text is not this message's. Text in
images is not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import field
from itertools import islice
from typing import Any, TypeVar

from mta.mail.values import dataclass
from policy.footer.writer import NoticeWriter
from policy.html.document import LIMIT, HtmlDocument, Image, Link
from policy.html.visibility import Hidden, Unproven
from policy.reading_budget import ReadingBudget, TooIntricate
from policy.text.page_cache import PageCache, Recent
from policy.text.parts import Attachment, Bodies, MessagePart, bodies_of, tree_of
from policy.text.plain_alternative import only_points, opened
from policy.text.wrapped_lines import unwrapped

Kept = TypeVar("Kept")

__all__ = ["Attachment", "Hidden", "Image", "Link", "MessageText", "Unproven", "View"]

MAX_CACHED = 16 * 1024 * 1024  # octets of pages that are kept for the next message
MAX_ENCODED = 4 * 1024 * 1024  # octets of the largest text that is decoded at all: about 20 ms
MAX_LINKS = 2000
TEXT = 8  # octets that a plain text takes for each of its own, what was found in it included
FEW_OCTETS = 256 * 1024  # of a text that may be kept
MAX_KEPT = 64  # results that are kept with what a reader sees
AROUND = 300  # characters beside a link in plain text

_PAGES = PageCache(MAX_CACHED)
_BESIDE: Recent[tuple[View | None]] = Recent(MAX_CACHED)
_URL = re.compile(r"\b(?:https?://|mailto:)[^\s<>\"'{}|\\^`]{1,2000}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class View:
    """What one reader sees: the text, the links in it, and the pages and texts that it comes from. ``found``: what
    rules found in it, shared by the messages whose page is the same.

    Invariants: what is kept follows from these alone, and from what it is kept by.
    """

    text: str
    links: tuple[Link, ...] = ()
    sources: tuple[HtmlDocument | str, ...] = field(default=(), repr=False, compare=False)
    found: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def urls(self) -> frozenset[str]:
        """The addresses of its links."""
        return self.kept("urls", lambda: frozenset(link.url for link in self.links))

    def kept(self, key: Hashable, find: Callable[[], Kept]) -> Kept:
        """Return what ``find`` finds in it, found once for each ``key``: the rule, and all else that it goes by."""
        kept: Kept | None = self.found.get(key)
        if kept is None:
            if len(self.found) >= MAX_KEPT:
                self.found.clear()
            kept = self.found[key] = find()
        return kept


class MessageText:
    """``content``: the whole message, of whose header only what begins with Content- counts. Decoded on demand, only
    once. ``passes``: what the rules of a chain found, which keeps it here."""

    __slots__ = (
        "_beside",
        "_bodies",
        "_budget",
        "_content",
        "_overspent",
        "_pages",
        "_root",
        "_texts",
        "_views",
        "_writer",
        "passes",
    )

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.passes: dict[object, tuple[object, str]] = {}
        self._root: MessagePart | str | None = None
        self._bodies: Bodies | None = None
        self._writer: NoticeWriter | None = None
        self._budget = ReadingBudget()
        self._overspent = ""
        self._texts: dict[int, str] = {}
        self._pages: dict[int, HtmlDocument] = {}
        self._views: tuple[View, ...] | None = None
        self._beside: tuple[View, ...] | None = None

    @property
    def writer(self) -> NoticeWriter:
        """The same message, to be written into."""
        if self._writer is None:
            self._writer = NoticeWriter(self._content)
        return self._writer

    @property
    def root(self) -> MessagePart | None:
        """The tree of its parts, None if it cannot be read."""
        if self._root is None:
            self._root = tree_of(self._content)
        return None if isinstance(self._root, str) else self._root

    def text_of(self, part: MessagePart) -> str:
        """The text of a part of the tree as it was written; "" if it has too much."""
        return self._text(part)

    def with_texts(self, texts: Mapping[int, str]) -> MessageText:
        """The same message with other texts, by the number of their part (``MessagePart.leaves``)."""
        other = MessageText(self._content)
        if other.root is not None:
            leaves = list(other.root.leaves)
            other._texts.update((id(leaves[n]), text) for n, text in texts.items())
        return other

    @property
    def text(self) -> str:
        """All plain text, whether or not there is HTML beside it."""
        return "\n".join(map(self._text, self._parts.plain))

    @property
    def bodies(self) -> tuple[str, ...]:
        """The texts and pages as they were written."""
        return tuple(map(self._text, (*self._parts.plain, *self._parts.html)))

    @property
    def html_text(self) -> str:
        """The text of all HTML that shows, a line for each run of it."""
        return "\n".join(self._page(part).text for part in self._parts.html)

    @property
    def views(self) -> tuple[View, ...]:
        """What readers see, by the alternative that their programs choose; the ordinary one first."""
        if self._views is None:
            self._views = tuple(map(self._view, self._parts.views))
        return self._views

    @property
    def plain_alternatives(self) -> tuple[View, ...]:
        """The plain texts beside a page, which programs show that show no HTML; not those that only lead to the page
        (``plain_alternative``)."""
        if self._beside is None:
            found = map(self._view_beside, self._parts.beside)
            self._beside = tuple(view for view in found if view is not None)
        return self._beside

    def _view_beside(self, part: MessagePart) -> View | None:
        """What readers of a text beside a page see, None for a note that leads to the page. One that came before is not
        even decoded."""
        if id(part) in self._texts or part.encoded_size > FEW_OCTETS:
            return _plain_view(self._text(part))
        octets = part.octets
        kept = _BESIDE.find((part.kind, octets))
        if kept is None:
            kept = (_plain_view(self._text(part)),)
            _BESIDE.keep((part.kind, octets), kept, len(octets) * TEXT)
        return kept[0]

    @property
    def visible(self) -> str:
        """What the reader sees, of alternatives the last."""
        return self.views[0].text

    @property
    def page(self) -> str:
        """The source of the page that the reader sees, "" if it is no page."""
        return next((self._text(part) for part in self._parts.views[0] if part.is_page), "")

    @property
    def links(self) -> tuple[Link, ...]:
        """The links in what the reader sees; in plain text, all that mail programs make one of."""
        return self.views[0].links

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures in what the reader sees."""
        return tuple(image for part in self._shown if part.is_page for image in self._page(part).images)

    @property
    def hidden(self) -> tuple[Hidden, ...]:
        """Text in what the reader gets that does not show, and how it was hidden."""
        return tuple(hidden for part in self._shown if part.is_page for hidden in self._page(part).hidden)

    @property
    def concealed(self) -> tuple[Hidden, ...]:
        """That of it which styles hide: no comments, nor elements that no program shows."""
        return tuple(hidden for part in self._shown if part.is_page for hidden in self._page(part).concealed)

    @property
    def unproven(self) -> tuple[Unproven, ...]:
        """Text in what the reader gets of which it cannot be told whether it shows, and why."""
        return tuple(piece for part in self._shown if part.is_page for piece in self._page(part).unproven)

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """All that is not text to be shown, pictures in the text and attached messages with theirs included."""
        return self._parts.attachments

    @property
    def structure_fault(self) -> str:
        """Why the parts could not all be told apart, or ""."""
        return self._parts.fault

    @property
    def fault(self) -> str:
        """Why part of the message could not be read, or ""."""
        parts = self._parts
        faults = [parts.fault, *(self._page(part).fault for part in parts.html)]
        return next(filter(None, [*faults, parts.unread, self._overspent]), "")

    @property
    def _parts(self) -> Bodies:
        if self._bodies is None:
            root = self.root
            self._bodies = Bodies(fault=str(self._root)) if root is None else bodies_of(root)
        return self._bodies

    @property
    def _shown(self) -> tuple[MessagePart, ...]:
        """The parts that some reader sees."""
        views = self._parts.views
        return views[0] if len(views) == 1 else tuple({id(part): part for view in views for part in view}.values())

    def _view(self, parts: Sequence[MessagePart]) -> View:
        sources = tuple(self._page(part) if part.is_page else self._text(part) for part in parts)
        if len(sources) == 1 and isinstance(page := sources[0], HtmlDocument):
            return View(page.text, page.links[:MAX_LINKS], sources, page.kept)
        text = "\n".join(source if isinstance(source, str) else source.text for source in sources)
        links = (link for part in parts for link in self._links_of(part))
        return View(text, tuple(islice(links, MAX_LINKS)), sources)

    def _text(self, part: MessagePart) -> str:
        text = self._texts.get(id(part))
        if text is None:
            try:
                if part.encoded_size > MAX_ENCODED:
                    raise TooIntricate(f"has a text of more than {MAX_ENCODED} octets")
                text = _decode(part)
                self._budget.take_characters(len(text))
            except TooIntricate as error:
                text, self._overspent = "", f"the message {error}"
            self._texts[id(part)] = text
        return text

    def _page(self, part: MessagePart) -> HtmlDocument:
        page = self._pages.get(id(part))
        if page is None:
            page = self._pages[id(part)] = _PAGES.page(self._text(part), self._budget)
        return page

    def _links_of(self, part: MessagePart) -> Iterator[Link]:
        if part.is_page:
            yield from self._page(part).links
        else:
            yield from _plain_links(self._text(part))


def _plain_view(text: str) -> View | None:
    return None if only_points(text) else View(opened(text), tuple(islice(_plain_links(text), MAX_LINKS)), (text,))


def _plain_links(text: str) -> Iterator[Link]:
    """The links of plain text, each with the text between it and its neighbours, as far as the paragraph goes."""
    matches = list(islice(_URL.finditer(text), MAX_LINKS))
    for n, match in enumerate(matches):
        before = text[matches[n - 1].end() if n else 0 : match.start()][-AROUND:]
        behind = text[match.end() : matches[n + 1].start() if n + 1 < len(matches) else None][:AROUND]
        around = unwrapped(before.split("\n\n")[-1]), unwrapped(behind.split("\n\n")[0])
        yield Link(match[0].rstrip(".,;:!?)]"), "", around)


_ENCODED = frozenset({"base64", "quoted-printable"})


def _decode(part: MessagePart) -> str:
    """The text of a part, at most ``LIMIT`` characters, line ends as LF; what has no meaning becomes U+FFFD."""
    octets = part.octets[: LIMIT * 4]
    if part.kind.codec is None:
        try:
            text = octets.decode("utf-8")
        except UnicodeDecodeError:
            text = octets.decode("cp1252", "replace")
    else:
        text = octets.decode(part.kind.codec, "replace")
    text = text[:LIMIT]
    if part.is_page:
        return text  # HTML's parser does it faster
    # As it was sent it has no CR but before LF; and one character is taken out four times as fast as two are replaced.
    return text.replace("\r\n", "\n") if part.kind.encoding in _ENCODED else text.replace("\r", "")
