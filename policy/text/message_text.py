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

import codecs
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from fast_mail_parser import ParseError, PyLazyMimePart, parse_email_tree

from mta.mail.mime_value import MimeValue, parse_mime_value
from mta.mail.values import dataclass
from policy.footer.writer import NoticeWriter
from policy.html.document import LIMIT, HtmlDocument, Image, Link
from policy.html.visibility import Hidden, Unproven
from policy.reading_budget import ReadingBudget, TooIntricate
from policy.text.page_cache import PageCache, Recent
from policy.text.plain_alternative import only_points, opened
from policy.text.wrapped_lines import unwrapped

Kept = TypeVar("Kept")

__all__ = ["Attachment", "Hidden", "Image", "Link", "MessageText", "Unproven", "View"]

MAX_CACHED = 16 * 1024 * 1024  # octets of pages that are kept for the next message
MAX_BODIES = 20  # texts that are read: a message that people write has one or two
MAX_ENCODED = 4 * 1024 * 1024  # octets of the largest text that is decoded at all: about 20 ms
MAX_PARTS = 2000
MAX_LINKS = 2000
MAX_VIEWS = 5
TEXT = 8  # octets that a plain text takes for each of its own, what was found in it included
FEW_OCTETS = 256 * 1024  # of a text that may be kept
MAX_KEPT = 64  # results that are kept with what a reader sees
AROUND = 300  # characters beside a link in plain text

_PAGES = PageCache(MAX_CACHED)
_BESIDE: Recent[tuple[View | None]] = Recent(MAX_CACHED)
_UNREAD = "a message inside the message, which programs show; attach it (Content-Disposition: attachment)"
_URL = re.compile(r"\b(?:https?://|mailto:)[^\s<>\"'{}|\\^`]{1,2000}", re.IGNORECASE)
_ONCE = ("boundary", "charset", "start")  # parameters that mean something else if they are there twice
_SIMPLE = re.compile(r'[^;"()=\\]*(?:;\s*[a-z-]+=(?:"[^"()\\]*"|[^\s;"()=\\]+))*\s*')  # no name in pieces
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")  # and bidi
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9_:.+-]{1,40})", re.IGNORECASE)
_SAFE_CODECS = re.compile(
    r"utf-(?:8|8-sig|16|16-be|16-le|32|32-be|32-le)|iso8859-\d+|cp(?:1250|1251|1252|1253|1254|1255|1256|1257|1258|874|932"
    r"|949|950|437|850|858|866)|koi8-[rtu]|mac-\w+|gb2312|gbk|gb18030|big5|big5hkscs|shift_jis|euc_jp|euc_kr|iso2022_jp"
    r"|tis-620"
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """``name`` as the receiver's program would save it, ``type`` e.g. ``application/pdf``, ``size`` in octets.
    Control characters in the name, those that turn the direction of writing too, are U+FFFD.

    The size is that after decoding, told from the size before: at most a few octets off.
    """

    name: str
    type: str
    size: int


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


@dataclass(frozen=True, slots=True)
class _Bodies:
    """``views``: the parts whose text a reader sees, for each choice of alternatives, the ordinary one first. ``plain``
    and ``html``: all of a kind."""

    views: tuple[tuple[PyLazyMimePart, ...], ...] = ((),)
    plain: tuple[PyLazyMimePart, ...] = ()
    html: tuple[PyLazyMimePart, ...] = ()
    beside: tuple[PyLazyMimePart, ...] = ()  # plain alternatives to a page
    attachments: tuple[Attachment, ...] = ()
    fault: str = ""
    unread: str = ""  # what readers see and is not read here


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
        self._root: PyLazyMimePart | str | None = None
        self._bodies: _Bodies | None = None
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
    def root(self) -> PyLazyMimePart | None:
        """The tree of its parts, None if it cannot be read."""
        if self._root is None:
            self._root = _tree(self._content)
        return None if isinstance(self._root, str) else self._root

    def text_of(self, part: PyLazyMimePart) -> str:
        """The text of a part of the tree as it was written; "" if it has too much."""
        return self._text(part)

    def with_texts(self, texts: Mapping[int, str]) -> MessageText:
        """The same message with other texts, by the number of their part (``leaves_of``)."""
        other = MessageText(self._content)
        if other.root is not None:
            leaves = list(leaves_of(other.root))
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

    def _view_beside(self, part: PyLazyMimePart) -> View | None:
        """What readers of a text beside a page see, None for a note that leads to the page. One that came before is not
        even decoded."""
        if id(part) in self._texts or (part.encoded_size or 0) > FEW_OCTETS:
            return _plain_view(self._text(part))
        try:
            octets = (next(iter(_header(part, "content-type")), ""), part.content)
        except (ParseError, ValueError):
            return None
        kept = _BESIDE.find(octets)
        if kept is None:
            kept = (_plain_view(self._text(part)),)
            _BESIDE.keep(octets, kept, len(octets[1] or b"") * TEXT)
        return kept[0]

    @property
    def visible(self) -> str:
        """What the reader sees, of alternatives the last."""
        return self.views[0].text

    @property
    def page(self) -> str:
        """The source of the page that the reader sees, "" if it is no page."""
        return next((self._text(part) for part in self._parts.views[0] if is_page(part)), "")

    @property
    def links(self) -> tuple[Link, ...]:
        """The links in what the reader sees; in plain text, all that mail programs make one of."""
        return self.views[0].links

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures in what the reader sees."""
        return tuple(image for part in self._shown if is_page(part) for image in self._page(part).images)

    @property
    def hidden(self) -> tuple[Hidden, ...]:
        """Text in what the reader gets that does not show, and how it was hidden."""
        return tuple(hidden for part in self._shown if is_page(part) for hidden in self._page(part).hidden)

    @property
    def concealed(self) -> tuple[Hidden, ...]:
        """That of it which styles hide: no comments, nor elements that no program shows."""
        return tuple(hidden for part in self._shown if is_page(part) for hidden in self._page(part).concealed)

    @property
    def unproven(self) -> tuple[Unproven, ...]:
        """Text in what the reader gets of which it cannot be told whether it shows, and why."""
        return tuple(piece for part in self._shown if is_page(part) for piece in self._page(part).unproven)

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
    def _parts(self) -> _Bodies:
        if self._bodies is None:
            root = self.root
            self._bodies = _Bodies(fault=str(self._root)) if root is None else _sort(root)
        return self._bodies

    @property
    def _shown(self) -> tuple[PyLazyMimePart, ...]:
        """The parts that some reader sees."""
        views = self._parts.views
        return views[0] if len(views) == 1 else tuple({id(part): part for view in views for part in view}.values())

    def _view(self, parts: Sequence[PyLazyMimePart]) -> View:
        sources = tuple(self._page(part) if is_page(part) else self._text(part) for part in parts)
        if len(sources) == 1 and isinstance(page := sources[0], HtmlDocument):
            return View(page.text, page.links[:MAX_LINKS], sources, page.kept)
        text = "\n".join(source if isinstance(source, str) else source.text for source in sources)
        links = (link for part in parts for link in self._links_of(part))
        return View(text, tuple(islice(links, MAX_LINKS)), sources)

    def _text(self, part: PyLazyMimePart) -> str:
        text = self._texts.get(id(part))
        if text is None:
            try:
                if (part.encoded_size or 0) > MAX_ENCODED:
                    raise TooIntricate(f"has a text of more than {MAX_ENCODED} octets")
                text = _decode(part)
                self._budget.take_characters(len(text))
            except TooIntricate as error:
                text, self._overspent = "", f"the message {error}"
            self._texts[id(part)] = text
        return text

    def _page(self, part: PyLazyMimePart) -> HtmlDocument:
        page = self._pages.get(id(part))
        if page is None:
            page = self._pages[id(part)] = _PAGES.page(self._text(part), self._budget)
        return page

    def _links_of(self, part: PyLazyMimePart) -> Iterator[Link]:
        if is_page(part):
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
_HTML = frozenset({"text/html", "application/xhtml+xml", "text/x-amp-html"})


def is_page(part: PyLazyMimePart) -> bool:
    return part.content_type.lower() in _HTML


def _tree(content: bytes) -> PyLazyMimePart | str:
    """The parts of a message, or why they cannot be told."""
    if not content:
        return ""
    try:
        return parse_email_tree(content, mode="lazy")
    except (ParseError, ValueError, RecursionError) as error:
        return f"the MIME structure cannot be read ({type(error).__name__})"


def _sort(root: PyLazyMimePart) -> _Bodies:
    """Which parts are shown, and which are attached."""
    leaves = list(leaves_of(root))
    bodies = [part for part in leaves if is_body(part)]
    fault = "" if len(leaves) < MAX_PARTS and len(bodies) <= MAX_BODIES else "the message has too many parts"
    fault = fault or next(filter(None, map(_part_fault, _every(root))), "")
    bodies = bodies[:MAX_BODIES]
    wanted = {id(part) for part in bodies}
    views = tuple(tuple(part for part in view if id(part) in wanted) for view in _views(root))
    shown = {id(part) for view in views for part in view}
    has_page = any(map(is_page, bodies))
    return _Bodies(
        views=views,
        plain=tuple(part for part in bodies if not is_page(part)),
        html=tuple(part for part in bodies if is_page(part)),
        beside=tuple(part for part in bodies if id(part) not in shown and not is_page(part)) if has_page else (),
        attachments=tuple(map(_attachment, _attached(root))),
        fault=fault,
        unread=next((_UNREAD for part in leaves if part.is_message and _disposition(part) != "attachment"), ""),
    )


def leaves_of(root: PyLazyMimePart) -> Iterator[PyLazyMimePart]:
    """The parts that hold something, in order; an attached message is one, whatever it holds."""
    waiting = [root]
    for _ in range(MAX_PARTS):
        if not waiting:
            return
        part = waiting.pop()
        if part.is_message or not _is_multipart(part):
            yield part
        else:
            waiting += reversed(part.children)


def _attached(root: PyLazyMimePart) -> Iterator[PyLazyMimePart]:
    """The parts that a reader could save, those of attached messages too."""
    waiting = [root]
    for _ in range(MAX_PARTS):
        if not waiting:
            return
        part = waiting.pop()
        waiting += reversed(part.children)
        if not _is_multipart(part) and (part.filename or not is_body(part)):
            yield part


def _every(root: PyLazyMimePart) -> Iterator[PyLazyMimePart]:
    """All parts, those that hold others too."""
    waiting = [root]
    for _ in range(MAX_PARTS):
        if not waiting:
            return
        part = waiting.pop()
        yield part
        waiting += part.children


def _part_fault(part: PyLazyMimePart) -> str:
    """Why programs would not agree on what this part is, or "": they read the first of two fields, or the last."""
    for name in ("content-type", "content-disposition", "content-transfer-encoding"):
        fields = _header(part, name)
        if len(fields) > 1:
            return f"a part has {len(fields)} {name.title()} fields"
        if fields and (";" in fields[0] or "(" in fields[0]):
            said = fields[0].lower()
            simple = _SIMPLE.fullmatch(said) is not None
            for parameter in _ONCE:
                if simple and said.count(parameter) < 2:
                    continue
                if len(_mime_value(fields[0]).all(parameter)) > 1:
                    return f"a part has several values of {parameter} in its {name.title()}"
    return ""


def _views(root: PyLazyMimePart) -> list[list[PyLazyMimePart]]:
    """The leaves that a reader's program shows, in order, for each choice that programs make; the last alternative
    first. There are as many choices as one place has alternatives that are pages."""
    ordinary = list(_shown(root, {}))
    views = [ordinary]
    for node in _every(root):
        if node.content_type.lower() == "multipart/alternative":
            others = [child for child in node.children if any(map(is_page, leaves_of(child)))]
            views += [list(_shown(root, {id(node): child})) for child in others if len(views) < MAX_VIEWS]
    return [view for n, view in enumerate(views) if n == 0 or view != ordinary]


def _shown(root: PyLazyMimePart, chosen: Mapping[int, PyLazyMimePart]) -> Iterator[PyLazyMimePart]:
    """The leaves that the reader's program shows, in order. ``chosen``: alternatives that it takes in place of the last
    that it can display, by where they are."""
    waiting = [root]
    for _ in range(MAX_PARTS):
        if not waiting:
            return
        part = waiting.pop()
        kind = part.content_type.lower()
        if part.is_message or not _is_multipart(part):
            if part is root or not part.filename:
                yield part
        elif id(part) in chosen:
            waiting.append(chosen[id(part)])
        elif kind == "multipart/alternative":
            waiting += [child for child in part.children if any(map(is_body, leaves_of(child)))][-1:]
        elif kind == "multipart/related":
            waiting += _root_of(part)
        else:
            waiting += reversed(part.children)


def _root_of(related: PyLazyMimePart) -> list[PyLazyMimePart]:
    """The part that is shown: the one that ``start`` names, else the first (RFC 2387 3.2)."""
    fields = _header(related, "content-type")
    start = _mime_value(fields[0]).all("start") if fields else ()
    if start:
        named = [part for part in related.children if _content_id(part) == start[0].decode("latin-1").strip("<> ")]
        if named:
            return named[:1]
    return related.children[:1]


def _content_id(part: PyLazyMimePart) -> str:
    return next(iter(_header(part, "content-id")), "").strip("<> \t\r\n")


def _is_multipart(part: PyLazyMimePart) -> bool:
    return part.content_type[:10].lower() == "multipart/"


def is_body(part: PyLazyMimePart) -> bool:
    """Whether mail programs show it as text."""
    if part.is_message or _disposition(part) not in ("", "inline"):
        return False  # what is not known counts as attached (RFC 2183 2.8)
    return part.content_type.lower() in ("text/plain", "") or is_page(part)


def _disposition(part: PyLazyMimePart) -> str:
    """``inline``, ``attachment`` or another, "" for none; comments do not count."""
    said = next(iter(_header(part, "content-disposition")), "")
    return _mime_value(said).kind if said else ""


@lru_cache(1024)  # the parts of a mailing's messages say the same
def _mime_value(field: str) -> MimeValue:
    return parse_mime_value(field.encode("utf-8", "surrogateescape"))


def _attachment(part: PyLazyMimePart) -> Attachment:
    size = part.encoded_size or 0
    if _encoding(part) == "base64":
        size = size * 57 // 78  # lines of 76 characters and CRLF (RFC 2045 6.8)
    name = _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", part.filename.strip())[:500]
    return Attachment(name, part.content_type.lower() or "text/plain", size)


def _encoding(part: PyLazyMimePart) -> str:
    return next(iter(_header(part, "content-transfer-encoding")), "").strip().lower()


def _header(part: PyLazyMimePart, wanted: str) -> list[str]:
    for name, values in part.headers.items():
        if len(name) == len(wanted) and name.lower() == wanted:
            return values
    return []


def _decode(part: PyLazyMimePart) -> str:
    """The text of a part, at most ``LIMIT`` characters, line ends as LF; what has no meaning becomes U+FFFD."""
    try:
        octets = (part.content or b"")[: LIMIT * 4]
    except (ParseError, ValueError):
        return ""
    declared = _CHARSET.search(next(iter(_header(part, "content-type")), ""))
    codec = codec_of(declared[1].lower()) if declared else None
    if codec is None:
        try:
            text = octets.decode("utf-8")
        except UnicodeDecodeError:
            text = octets.decode("cp1252", "replace")
    else:
        text = octets.decode(codec, "replace")
    text = text[:LIMIT]
    if is_page(part):
        return text  # HTML's parser does it faster
    # As it was sent it has no CR but before LF; and one character is taken out four times as fast as two are replaced.
    return text.replace("\r\n", "\n") if _encoding(part) in _ENCODED else text.replace("\r", "")


@lru_cache(256)
def codec_of(label: str) -> str | None:
    """Return the codec that mail programs use for a charset's label; None to guess. Python has many that are no
    charsets, and some of those are slow: only well-known names pass."""
    if label in ("us-ascii", "ascii", "iso-8859-1", "latin1", "iso8859-1"):
        return None  # programs take these for windows-1252 (WHATWG Encoding 4.2); many senders mean UTF-8
    try:
        name = codecs.lookup(label).name
    except LookupError:
        return None
    return name if _SAFE_CODECS.fullmatch(name) else None
