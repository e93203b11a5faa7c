"""The texts of a message, ready to have notices written into them; found and read once for all its copies.

Each view that a reader may have gets the notices once: every alternative, the root of related parts, and of parts side
by side the last page, or else the last text. All other octets stay as they are.

Invariants: a text that is written into is UTF-8 afterwards, in lines that RFC 5322 allows, whatever it was before. What
is signed or encrypted is never touched.

Limitations: messages that are too large for memory are refused by the rules that ask.
"""

from __future__ import annotations

import codecs
import re
from base64 import encodebytes
from binascii import Error as Base64Error
from binascii import a2b_base64, a2b_qp, b2a_qp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mta.mail.headers import HeaderError, Headers, unfold
from mta.mail.message import Message
from mta.mail.mime_value import MimeValue, parse_mime_value
from mta.mail.multipart import part_places
from policy.footer.notice import Notice
from policy.footer.page import NoticePage, NotWritable
from policy.footer.plain import PLACEHOLDER, plain_fault, write_plain
from policy.header_fields import fold, named, stamp
from policy.reading_budget import ReadingBudget
from policy.text.header_text import decoded

DEPTH = 20
MAX_TEXTS = 20
DENSE = 3  # one octet in so many beyond ASCII: base64 is shorter than quoted-printable
_CLOSED = frozenset({
    "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime",
    "application/pgp-encrypted", "application/pgp",
})  # fmt: skip
_REWRITTEN = frozenset({b"content-type", b"content-transfer-encoding", b"content-md5", b"content-length", b"lines"})
_FOLDED = re.compile(r"[^\s\"\\]+\Z")


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the message: its header, and where its body stands."""

    headers: Headers
    kind: MimeValue
    start: int
    end: int

    @property
    def is_page(self) -> bool:
        return self.kind.kind == "text/html"

    @property
    def is_flowed(self) -> bool:
        return any(value.lower() == b"flowed" for value in self.kind.all("format"))


@dataclass(frozen=True, slots=True)
class _Text:
    """A text that gets the notices. ``page``: the same of HTML. ``language``: what it says of itself, or ""."""

    part: _Part
    text: str
    page: NoticePage | None
    language: str


class NoticeWriter:
    """``content``: a whole message, of whose header only what begins with Content- counts."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def fault(self) -> str:
        """Why nothing can be written into the message so that it is sure to show, and the remedy; or ""."""
        return self._read[1]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the texts, "" where one does not say."""
        return tuple(dict.fromkeys(text.language for text in self._read[0]))

    @cached_property
    def _read(self) -> tuple[tuple[_Text, ...], str]:
        try:
            return self._texts(), ""
        except NotWritable as error:
            return (), str(error)

    def _texts(self) -> tuple[_Text, ...]:
        """Raises NotWritable."""
        try:
            root = _part(self._content, 0, len(self._content))
        except HeaderError as error:
            raise NotWritable(f"the header cannot be read: {error}") from None
        parts = list(_chosen(self._content, root, 0))
        if not parts:
            raise NotWritable("the message has no text; add a text/plain or text/html part that is no attachment")
        if len(parts) > MAX_TEXTS:
            raise NotWritable(f"the message has more than {MAX_TEXTS} alternatives")
        spoken, budget = _content_language(root.headers), ReadingBudget()
        texts = [_text(self._content, part, budget) for part in parts]
        spoken = spoken or next((text.language for text in texts if text.language), "")
        return tuple(text if text.language else replace(text, language=spoken) for text in texts)

    def write(self, message: Message, notices: Sequence[Notice]) -> Message:
        """Return ``message``, whose body is the writer's, with ``notices``. There must be no fault."""
        assert not self.fault, "rules ask first"
        assert message.large is None, "rules ask first"
        start, pieces, at = Headers.split(self._content).size, list[bytes](), 0
        for text in self._read[0]:
            body, fields = _encoded(text, notices)
            if text.part.start == start:  # the message has no parts
                mime = () if message.headers.count(b"mime-version") else (b"MIME-Version: 1.0",)
                return stamp(_without(replace(message, body=body), _REWRITTEN), named((*mime, *fields)))
            before = text.part.start - text.part.headers.size - start
            pieces += [message.body[at:before], _header(text.part.headers, fields), body]
            at = text.part.end - start
        return replace(message, body=b"".join((*pieces, message.body[at:])))


def _part(content: bytes, start: int, end: int) -> _Part:
    """Raises HeaderError, NotWritable."""
    headers = Headers.split(content[start:end])
    for name in (b"content-type", b"content-transfer-encoding", b"content-disposition"):
        if headers.count(name) > 1:
            raise NotWritable(f"a part has several {name.decode().title()} fields; keep one")
    said = next(iter(headers.all(b"content-type")), b"")
    kind = parse_mime_value(said)
    for parameter in ("boundary", "charset", "start"):
        if len(kind.all(parameter)) > 1:
            raise NotWritable(f"a part has several values of {parameter} in its Content-Type; keep one")
    if kind.kind == "":
        kind = MimeValue("text/plain", kind.parameters)
    return _Part(headers, kind, start + headers.size, end)


def header_fault(headers: Headers) -> str:
    """Return why nothing can be written into a message with this header: a placeholder stands there; or ""."""
    for name, raw in headers.fields:
        value = decoded(unfold(raw.partition(b":")[2]))
        if b"{{" in raw or "{{" in value:
            found = PLACEHOLDER.search(value) or PLACEHOLDER.search(raw.decode("latin-1"))
            if found:
                return f"{found[0]} stands in the header field {name.decode().title()}; write it into the text"
    return ""


# --- which texts


def _chosen(content: bytes, part: _Part, depth: int) -> Iterator[_Part]:
    """Yield the texts in ``part`` that are to get the notices. Raises NotWritable."""
    kind = part.kind.kind
    if kind in _CLOSED:
        raise NotWritable(f"a part is {kind}, which must not be changed; send it unsigned and not encrypted")
    if not kind.startswith("multipart/"):
        if _is_text(part):
            yield part
        return
    children = _children(content, part, depth)
    if kind == "multipart/alternative":
        for child in children:
            inner = list(_chosen(content, child, depth + 1))
            if not inner:
                raise NotWritable(f"the alternative {child.kind.kind} cannot be written into; leave it out")
            yield from inner
    elif kind == "multipart/related":
        yield from _chosen(content, _root_of(children, part.kind), depth + 1)
    else:
        inner_texts = [texts for child in children if (texts := list(_chosen(content, child, depth + 1)))]
        pages = [texts for texts in inner_texts if any(text.is_page for text in texts)]
        for texts in (pages or inner_texts)[-1:]:
            yield from texts


def _children(content: bytes, part: _Part, depth: int) -> list[_Part]:
    places = part_places(content, part.kind, part.start, part.end)
    if places is None or depth > DEPTH:
        raise NotWritable("the parts of the message cannot be told apart; check the boundary of each multipart")
    encoding = unfold(next(iter(part.headers.all(b"content-transfer-encoding")), b"")).strip().lower()
    if encoding not in ("", "7bit", "8bit", "binary"):
        raise NotWritable(f"a multipart is in {encoding[:20]}, which it must not be (RFC 2045 6.4)")
    try:
        return [_part(content, start, end) for start, end in places]
    except HeaderError as error:
        raise NotWritable(f"the header of a part cannot be read: {error}") from None


def _root_of(children: Sequence[_Part], kind: MimeValue) -> _Part:
    """RFC 2387 3.2."""
    wanted = kind.all("start")
    for child in children if wanted else ():
        said = unfold(next(iter(child.headers.all(b"content-id")), b"")).strip("<> \t")
        if said and said == wanted[0].decode("latin-1").strip("<> \t"):
            return child
    return children[0]


def _is_text(part: _Part) -> bool:
    disposition = parse_mime_value(next(iter(part.headers.all(b"content-disposition")), b""))
    named = disposition.all("filename") or part.kind.all("name")
    return part.kind.kind in ("text/plain", "text/html") and disposition.kind in ("", "inline") and not named


# --- reading


def _text(content: bytes, part: _Part, budget: ReadingBudget) -> _Text:
    """Raises NotWritable."""
    text = _decoded(content[part.start : part.end], part).replace("\r\n", "\n").replace("\r", "\n")
    language = _content_language(part.headers)
    if part.is_page:
        page = NoticePage(text, budget)
        return _Text(part, text, page, page.language or language)
    if fault := plain_fault(text):
        raise NotWritable(fault)
    return _Text(part, text, None, language)


def _decoded(body: bytes, part: _Part) -> str:
    """Raises NotWritable."""
    encoding = unfold(next(iter(part.headers.all(b"content-transfer-encoding")), b"")).strip().lower()
    charset = next(iter(part.kind.all("charset")), b"").decode("latin-1").strip().lower()
    try:
        if encoding == "quoted-printable":
            body = a2b_qp(body)
        elif encoding == "base64":
            body = a2b_base64(body)
        elif encoding not in ("", "7bit", "8bit", "binary"):
            raise NotWritable(f"a text is in the encoding {encoding[:20]}; use quoted-printable")
        return _in_charset(body, charset)
    except (Base64Error, UnicodeError):
        named = f"{encoding or '7bit'}, {charset or 'us-ascii'}"
        raise NotWritable(f"a text is not in what its header says ({named}); correct the header or the text") from None
    except LookupError:
        raise NotWritable(f"a text is in the charset {charset[:30]}, which is not known; use utf-8") from None


def _in_charset(body: bytes, charset: str) -> str:
    """Raises UnicodeError, LookupError."""
    if charset in ("", "us-ascii", "ascii", "iso-8859-1", "latin1", "iso8859-1"):
        try:
            return body.decode("utf-8")  # what is meant by senders that say nothing, or the wrong thing
        except UnicodeDecodeError:
            return body.decode("cp1252")
    codec = codecs.lookup(charset)
    if not codec._is_text_encoding or codec.name in (
        "idna",
        "punycode",
        "unicode_escape",
        "raw_unicode_escape",
        "utf-7",
    ):
        raise LookupError(charset)
    return body.decode(codec.name)


def _content_language(headers: Headers) -> str:
    """Return the first language of Content-Language ("nl" of "nl-BE"), or ""."""
    said = unfold(next(iter(headers.all(b"content-language")), b"")).split(",")[0]
    return said.strip().lower().split("-")[0][:8]


# --- writing


def _encoded(text: _Text, notices: Sequence[Notice]) -> tuple[bytes, list[bytes]]:
    """Return the body of a part with the notices, and the header fields that say how it is written."""
    if text.page is not None:
        written = text.page.write(notices, text.language)
    else:
        written = write_plain(text.text, notices, text.language, flowed=text.part.is_flowed)
    octets = written.encode("utf-8", "replace")
    beyond = len(octets) - len(octets.translate(None, _HIGH))
    if beyond * DENSE > len(octets):
        encoding, body = "base64", encodebytes(octets.replace(b"\n", b"\r\n"))
    else:
        encoding, body = "quoted-printable", b2a_qp(octets, istext=True, header=False)
    body = body.replace(b"\n", b"\r\n")
    return body, [_content_type(text.part.kind), fold("Content-Transfer-Encoding", [encoding])]


_HIGH = bytes(range(0x80, 0x100))


def _content_type(kind: MimeValue) -> bytes:
    words = [f"{kind.kind};", "charset=utf-8"]
    for name, value in kind.parameters:
        text = value.decode("latin-1")
        if name != "charset" and text.isascii() and _FOLDED.match(text) and len(text) < 200 and name.isascii():
            words[-1] += ";"
            words.append(f'{name}="{text}"' if not text.isalnum() else f"{name}={text}")
    return fold("Content-Type", words)


def _header(headers: Headers, fields: Sequence[bytes]) -> bytes:
    kept = [raw for name, raw in headers.fields if name not in _REWRITTEN]
    return b"".join(raw + b"\r\n" for raw in (*fields, *kept)) + b"\r\n"


def _without(message: Message, names: frozenset[bytes]) -> Message:
    if not any(name in names for name, _ in message.headers.fields):
        return message
    kept = tuple(field for field in message.headers.fields if field[0] not in names)
    block = b"".join(raw + b"\r\n" for _, raw in kept) + b"\r\n"
    return replace(message, head=block, headers=Headers(kept, len(block)))
