"""Parse an inbound mail: its header fields and the leaf parts of its body, in order.

Anyone can send it, so the work is bounded: octets, parts, depth, header fields, length of a text. An enclosed message
(``message/rfc822``) is one part and is not parsed, so that forwarded text is never taken for the author's own.

Invariants: Never raises. Every pattern runs in linear time.

Limitations: Reads at most MAX_OCTETS. A multipart without its boundary is split at the first line that looks like one.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

MAX_OCTETS = 1 << 20  # of a mail
MAX_HEADER = 1 << 16  # octets of one header block
MAX_FIELDS = 500
MAX_VALUE = 2000  # characters of one field value
MAX_PARTS = 60
MAX_DEPTH = 8
MAX_TEXT = 1 << 16  # octets of one part that are decoded

_CHARSET = re.compile(
    r"(?:us-ascii|ascii|utf-?8|utf-16(?:le|be)?|iso-?8859-\d{1,2}|(?:windows|cp)-?\d{3,4}|iso-2022-[a-z]{2}"
    r"|shift_?jis|sjis|euc-?[a-z]{2}|gb2312|gbk|gb18030|big5|koi8-[ru]|latin-?\d|macintosh)\Z"
)
_KIND = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,60}")
_PARAMETER = re.compile(r';\s*([A-Za-z0-9*-]{1,40})\s*=\s*(?:"([^"]{0,300})"|([^\s;"]{1,300}))')
_ENCODED = re.compile(r"=\?([^?\s]{1,40})\?([bBqQ])\?([^?\s]{0,800})\?=(?:\s+(?==\?))?")
_UNITEXT = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_FOLD = re.compile(r"\n[ \t]+")
_SNIFFED = re.compile(rb"^--(\S[^\n]{4,100}?)[ \t]{0,20}\n(?=Content-)", re.IGNORECASE | re.MULTILINE)
_BLANK = re.compile(rb"\A(?:[ \t]{0,1000}\n){1,50}(?=From |[A-Za-z][A-Za-z0-9-]{1,40}:)")
_OTHER_HEADER = re.compile(rb"(?mi)^(?:received|message-id|return-path):")
_BLOCK = re.compile(r"<(?:/?(?:p|div|tr|li|ul|ol|table|h[1-6]|blockquote|pre|hr)|br)\b[^<>]*>", re.IGNORECASE)
_CELL = re.compile(r":?</t[dh]>", re.IGNORECASE)
_INVISIBLE = re.compile(r"<(style|script|head|title)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2028\u2029\ud800-\udfff\ufeff]")


@dataclass(frozen=True, slots=True)
class Fields:
    """Header fields in order: lower-case names, unfolded values."""

    all: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """Return the first non-empty value, or None."""
        return next((value for other, value in self.all if other == name and value), None)

    def each(self, name: str) -> list[str]:
        return [value for other, value in self.all if other == name and value]

    def has(self, name: str) -> bool:
        return any(other == name for other, _ in self.all)


NO_FIELDS = Fields()


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of the body. ``type``: in lower case, ``text/plain`` by default; ``body``: still encoded."""

    type: str
    fields: Fields
    body: bytes
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """At most MAX_TEXT decoded octets."""
        encoding = (self.fields.get("content-transfer-encoding") or "").lower()
        body = self.body[: MAX_TEXT * 2]
        if encoding == "base64":
            body = _unbase64(body)
        elif encoding == "quoted-printable":
            body = quopri.decodestring(body)
        return body[:MAX_TEXT]

    @property
    def text(self) -> str:
        """The visible text, with ``\\n`` line ends."""
        text = decode(self.content, self.parameters.get("charset", ""))
        if self.type == "text/html":
            text = visible(text)
        return clean(text)


@dataclass(frozen=True, slots=True)
class Mail:
    """``type`` and ``parameters``: of the whole mail; ``parts``: its leaves in order."""

    fields: Fields
    type: str
    parameters: dict[str, str]
    parts: tuple[Part, ...]

    @property
    def report_type(self) -> str:
        """The parameter of multipart/report (RFC 6522 3); empty without one."""
        return self.parameters.get("report-type", "").lower()

    def first(self, *types: str) -> Part | None:
        return next((part for part in self.parts if part.type in types), None)


def parse_mail(content: bytes) -> Mail:
    """Parse ``content``; lines may end with LF, CRLF or CR."""
    content = content[:MAX_OCTETS].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    header, body = split_header(_BLANK.sub(b"", content, count=1))
    fields = read_fields(header)
    kind, parameters = _content_type(fields)
    lost = None if fields.has("content-type") else _SNIFFED.search(body[:MAX_TEXT])
    if lost and not _OTHER_HEADER.search(body, 0, lost.start()):
        kind = "multipart/mixed"  # the field was lost, the boundary lines are still there
    return Mail(fields, kind, parameters, tuple(_leaves(kind, parameters, fields, body)))


def split_header(content: bytes) -> tuple[bytes, bytes]:
    """Return the header block and the body of ``content`` with LF line ends."""
    if content.startswith(b"\n"):
        return b"", content[1:]
    end = content.find(b"\n\n")
    return (content, b"") if end < 0 else (content[: end + 1], content[end + 2 :])


def read_fields(block: bytes) -> Fields:
    """Return the header fields of ``block``; other lines, such as an mbox ``From `` line, are skipped."""
    text = _FOLD.sub(" ", clean(block[:MAX_HEADER].decode("utf-8", "replace")))
    found: list[tuple[str, str]] = []
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        name = name.rstrip()
        if colon and name and " " not in name and len(found) < MAX_FIELDS:
            found.append((name.lower(), value[:MAX_VALUE].strip()))
    return Fields(tuple(found))


def decode_words(value: str) -> str:
    """Decode the encoded words (RFC 2047) in ``value``."""

    def word(match: re.Match[str]) -> str:
        octets = match[3].encode("ascii", "replace")
        quoted = match[2] in "qQ"
        return decode(quopri.decodestring(octets.replace(b"_", b" ")) if quoted else _unbase64(octets), match[1])

    return clean(_ENCODED.sub(word, value)) if "=?" in value else value


def decode(octets: bytes, charset: str) -> str:
    """Decode as ``charset``; as UTF-8 if it does not fit, then with replacements; as Latin-1 if it is unknown."""
    name = _codec(charset.lower().partition("*")[0])
    for codec in (name, "utf-8"):
        try:
            return octets.decode(codec) if codec else octets.decode("utf-8")
        except UnicodeDecodeError:
            continue
    return octets.decode(name or "latin-1", "replace")


def clean(text: str) -> str:
    """Remove characters unsafe for JSON, PostgreSQL or a terminal; replace no-break spaces."""
    if text.isascii() and "\x00" not in text and "\r" not in text:
        return _UNSAFE.sub("", text) if not text.isprintable() else text
    return _UNSAFE.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " "))


def visible(markup: str) -> str:
    """Return the visible text of HTML, a line for each block; the cells of a table row as ``label: value``."""
    kept, at = [], 0
    while opening := _INVISIBLE.search(markup, at):
        kept.append(markup[at : opening.start()])
        closing = markup.lower().find(f"</{opening[1].lower()}", opening.end())
        if closing < 0 or len(kept) > 20:
            at = opening.end()
            break
        at = closing
    kept.append(markup[at:])
    lines = _BLOCK.sub("\n", _CELL.sub(": ", "".join(kept).replace("\n", " ")))
    return html.unescape(_TAG.sub("", lines))


def decode_unitext(text: str) -> str:
    """Decode the \\x{..} escapes of an address of type utf-8 (RFC 6533 3)."""
    return clean(_UNITEXT.sub(lambda match: chr(min(int(match[1], 16), 0x10FFFF)), text))


@lru_cache(256)
def _codec(charset: str) -> str | None:
    if not _CHARSET.match(charset):
        return None
    try:
        return codecs.lookup(charset).name
    except LookupError:
        return None


def _unbase64(octets: bytes) -> bytes:
    octets = re.sub(rb"[^A-Za-z0-9+/]", b"", octets)
    try:
        whole = octets[:-1] if len(octets) % 4 == 1 else octets
        return base64.b64decode(whole + b"=" * (-len(whole) % 4))
    except (binascii.Error, ValueError):
        return b""


def _content_type(fields: Fields) -> tuple[str, dict[str, str]]:
    value = fields.get("content-type") or "text/plain"
    kind = _KIND.match(value.lower())
    parameters = {match[1].lower(): match[2] or match[3] or "" for match in _PARAMETER.finditer(value)}
    return kind[0] if kind else "text/plain", parameters


def _leaves(kind: str, parameters: dict[str, str], fields: Fields, body: bytes) -> Iterator[Part]:
    """Yield the leaf parts in order; a stack instead of recursion."""
    stack = [(kind, parameters, fields, body, 0)]
    seen = 0
    while stack and seen < MAX_PARTS:
        seen += 1
        kind, parameters, fields, body, depth = stack.pop()
        if not kind.startswith("multipart/") or depth >= MAX_DEPTH:
            yield Part(kind if depth < MAX_DEPTH else "text/plain", fields, body, parameters)
            continue
        inside = _divided(body, parameters.get("boundary", ""))
        if inside is None:
            yield Part("text/plain", fields, body, parameters)
            continue
        for piece in reversed(inside):
            block, rest = split_header(piece)
            own = read_fields(block)
            stack.append((*_content_type(own), own, rest, depth + 1))


def _divided(body: bytes, boundary: str) -> list[bytes] | None:
    """Return the pieces between boundary lines, or None if there are none."""
    body = b"\n" + body
    lines = list(_boundary_lines(body, boundary.encode("utf-8", "replace")[:200]))
    if not lines:
        sniffed = _SNIFFED.search(body[:MAX_TEXT])
        lines = list(_boundary_lines(body, sniffed[1])) if sniffed else []
    if not lines:
        return None
    pieces = []
    for n, line in enumerate(lines):
        if line[1]:
            break
        following = lines[n + 1].start() if n + 1 < len(lines) else len(body)
        pieces.append(body[line.end() + 1 : max(line.end() + 1, following)])
    return pieces


def _boundary_lines(body: bytes, boundary: bytes) -> Iterator[re.Match[bytes]]:
    """Yield the boundary lines of ``body``, which begins with an empty line; each match without its last line end."""
    if not boundary:
        return iter(())
    # A pattern that begins with letters is searched much faster than one that begins with "^".
    return islice(re.finditer(rb"\n--" + re.escape(boundary) + rb"(--)?[ \t]{0,20}(?=\n|\Z)", body), MAX_PARTS)
