"""The parts of a message: which of them readers see, by the choices of their programs, and which are attached.

What the header says of a part is read once for all parts that say the same (``PartKind``), as those of a mailing do.

Invariants: never raises for the content of a message. A part that programs would not agree on has a ``fault``.

Limitations: at most ``MAX_PARTS`` parts are looked at. A message inside a message is one part, whatever it holds.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from fast_mail_parser import ParseError, PyLazyMimePart, parse_email_tree

from mta.mail.mime_value import parse_mime_value
from mta.mail.values import dataclass

MAX_PARTS = 2000
MAX_BODIES = 20  # texts that are read: a message that people write has one or two
MAX_VIEWS = 5
MAX_KEPT = 2000  # characters of the fields of a part that may be remembered

_UNREAD = "a message inside the message, which programs show; attach it (Content-Disposition: attachment)"
_HTML = frozenset({"text/html", "application/xhtml+xml", "text/x-amp-html"})
_JUDGED = ("content-type", "content-disposition", "content-transfer-encoding")
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
class PartKind:
    """What the header says of a part. ``type``: in lower case, "" if it says nothing. ``disposition``: ``inline``,
    ``attachment`` or another, "" for none; comments do not count. ``codec``: of its text, None to guess. ``start``:
    which of related parts is shown, "" if it does not say. ``fault``: why programs would not agree on what it is."""

    type: str
    disposition: str
    encoding: str
    codec: str | None
    start: str
    fault: str
    is_message: bool

    @property
    def is_multipart(self) -> bool:
        return self.type.startswith("multipart/")

    @property
    def is_page(self) -> bool:
        return self.type in _HTML

    @property
    def is_body(self) -> bool:
        """Whether mail programs show it as text."""
        if self.is_message or self.disposition not in ("", "inline"):
            return False  # what is not known counts as attached (RFC 2183 2.8)
        return self.type in ("text/plain", "") or self.is_page


class MessagePart:
    """``raw``: as the parser has it."""

    __slots__ = ("_children", "filename", "is_body", "is_leaf", "is_page", "kind", "raw")

    def __init__(self, raw: PyLazyMimePart) -> None:
        self.raw = raw
        self.kind = kind = _kind_of(raw)
        self.filename = raw.filename
        self.is_page, self.is_body = kind.is_page, kind.is_body
        self.is_leaf = kind.is_message or not kind.is_multipart
        self._children: list[MessagePart] | None = None

    @property
    def children(self) -> list[MessagePart]:
        if self._children is None:
            self._children = [MessagePart(raw) for raw in self.raw.children[:MAX_PARTS]]
        return self._children

    @property
    def encoded_size(self) -> int:
        """Octets as it was sent."""
        return self.raw.encoded_size or 0

    @property
    def octets(self) -> bytes:
        """What it holds, decoded; b"" if that cannot be."""
        try:
            return self.raw.content or b""
        except (ParseError, ValueError):
            return b""

    @property
    def leaves(self) -> Iterator[MessagePart]:
        """The parts that hold something, in order."""
        waiting = [self]
        for _ in range(MAX_PARTS):
            if not waiting:
                return
            part = waiting.pop()
            if part.is_leaf:
                yield part
            else:
                waiting += reversed(part.children)


@dataclass(frozen=True, slots=True)
class Bodies:
    """``views``: the parts whose text a reader sees, for each choice of alternatives, the ordinary one first. ``plain``
    and ``html``: all of a kind. ``beside``: plain alternatives to a page. ``unread``: what readers see and is not read
    here."""

    views: tuple[tuple[MessagePart, ...], ...] = ((),)
    plain: tuple[MessagePart, ...] = ()
    html: tuple[MessagePart, ...] = ()
    beside: tuple[MessagePart, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    fault: str = ""
    unread: str = ""


def tree_of(content: bytes) -> MessagePart | str:
    """Return the parts of a message, or why they cannot be told."""
    if not content:
        return ""
    try:
        return MessagePart(parse_email_tree(content, mode="lazy"))
    except (ParseError, ValueError, RecursionError) as error:
        return f"the MIME structure cannot be read ({type(error).__name__})"


def bodies_of(root: MessagePart) -> Bodies:
    """Return which parts are shown, and which are attached."""
    leaves, every = list(root.leaves), list(_every(root))
    bodies = [part for part in leaves if part.is_body]
    fault = "" if len(every) < MAX_PARTS and len(bodies) <= MAX_BODIES else "the message has too many parts"
    fault = fault or next((part.kind.fault for part in every if part.kind.fault), "")
    bodies = bodies[:MAX_BODIES]
    wanted = {id(part) for part in bodies}
    views = tuple(tuple(part for part in view if id(part) in wanted) for view in _views(root))
    shown = {id(part) for view in views for part in view}
    html = tuple(part for part in bodies if part.is_page)
    plain = tuple(part for part in bodies if not part.is_page)
    return Bodies(
        views=views,
        plain=plain,
        html=html,
        beside=tuple(part for part in plain if id(part) not in shown) if html else (),
        attachments=tuple(_attachment(part) for part in every if _is_attached(part)),
        fault=fault,
        unread=next((_UNREAD for part in leaves if part.kind.is_message and part.kind.disposition != "attachment"), ""),
    )


def _every(root: MessagePart) -> Iterator[MessagePart]:
    """All parts in order, those that hold others too, and those of attached messages."""
    waiting = [root]
    for _ in range(MAX_PARTS):
        if not waiting:
            return
        part = waiting.pop()
        yield part
        waiting += reversed(part.children)


def _is_attached(part: MessagePart) -> bool:
    """Whether a reader could save it."""
    return not part.kind.is_multipart and bool(part.filename or not part.is_body)


def _attachment(part: MessagePart) -> Attachment:
    size = part.encoded_size
    if part.kind.encoding == "base64":
        size = size * 57 // 78  # lines of 76 characters and CRLF (RFC 2045 6.8)
    name = _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", part.filename.strip())[:500]
    return Attachment(name, part.kind.type or "text/plain", size)


def _views(root: MessagePart) -> list[list[MessagePart]]:
    """The leaves that a reader's program shows, in order, for each choice that programs make; the last alternative
    first. There are as many choices as one place has alternatives that are pages."""
    ordinary = list(_shown(root, {}))
    views = [ordinary]
    if root.is_leaf:
        return views
    for node in _every(root):
        if node.kind.type == "multipart/alternative":
            others = [child for child in node.children if any(leaf.is_page for leaf in child.leaves)]
            views += [list(_shown(root, {id(node): child})) for child in others if len(views) < MAX_VIEWS]
    return [view for n, view in enumerate(views) if n == 0 or view != ordinary]


def _shown(root: MessagePart, chosen: Mapping[int, MessagePart]) -> Iterator[MessagePart]:
    """The leaves that the reader's program shows, in order. ``chosen``: alternatives that it takes in place of the last
    that it can display, by where they are."""
    waiting = [root]
    for _ in range(MAX_PARTS):
        if not waiting:
            return
        part = waiting.pop()
        if part.is_leaf:
            if part is root or not part.filename:
                yield part
        elif id(part) in chosen:
            waiting.append(chosen[id(part)])
        elif part.kind.type == "multipart/alternative":
            waiting += [child for child in part.children if any(leaf.is_body for leaf in child.leaves)][-1:]
        elif part.kind.type == "multipart/related":
            waiting += _root_of(part)
        else:
            waiting += reversed(part.children)


def _root_of(related: MessagePart) -> list[MessagePart]:
    """The part that is shown: the one that ``start`` names, else the first (RFC 2387 3.2)."""
    if start := related.kind.start:
        named = [part for part in related.children if _content_id(part) == start]
        if named:
            return named[:1]
    return related.children[:1]


def _content_id(part: MessagePart) -> str:
    found = (values[0] for name, values in part.raw.headers.items() if name.lower() == "content-id")
    return next(found, "").strip("<> \t\r\n")


# --- what a header says


def _kind_of(raw: PyLazyMimePart) -> PartKind:
    """Names of fields may be in any case, and with blanks before the colon."""
    found = [(low, value) for name, values in raw.headers.items()
             if (low := name.lower()).rstrip() in _JUDGED for value in values]  # fmt: skip
    read = _kind if sum(len(value) for _, value in found) <= MAX_KEPT else _kind.__wrapped__
    return read(raw.content_type, tuple(found), raw.is_message)


@lru_cache(1024)
def _kind(content_type: str, fields: tuple[tuple[str, str], ...], is_message: bool) -> PartKind:
    said: dict[str, list[str]] = {}
    for name, value in fields:
        said.setdefault(name, []).append(value)
    type_field = said.get("content-type", [""])[0]
    disposition = said.get("content-disposition", [""])[0]
    charset = _CHARSET.search(type_field)
    start = parse_mime_value(_octets(type_field)).all("start") if "start" in type_field.lower() else ()
    return PartKind(
        content_type.lower(),
        parse_mime_value(_octets(disposition)).kind if disposition else "",
        said.get("content-transfer-encoding", [""])[0].strip().lower(),
        codec_of(charset[1].lower()) if charset else None,
        start[0].decode("latin-1").strip("<> ") if start else "",
        _fault(said),
        is_message,
    )


def _octets(field: str) -> bytes:
    return field.encode("utf-8", "surrogateescape")


def _fault(said: Mapping[str, Sequence[str]]) -> str:
    """Why programs would not agree on what a part is, or "": they read the first of two fields, or the last; and not
    all read a field with white space before its colon."""
    for name in said:
        if name not in _JUDGED:
            return f"a part has white space before the colon of its {name.rstrip().title()}"
    for name in _JUDGED:
        fields = said.get(name, ())
        if len(fields) > 1:
            return f"a part has {len(fields)} {name.title()} fields"
        if fields and (";" in fields[0] or "(" in fields[0]):
            lower = fields[0].lower()
            simple = _SIMPLE.fullmatch(lower) is not None
            for parameter in _ONCE:
                if simple and lower.count(parameter) < 2:
                    continue
                if len(parse_mime_value(_octets(fields[0])).all(parameter)) > 1:
                    return f"a part has several values of {parameter} in its {name.title()}"
    return ""


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
