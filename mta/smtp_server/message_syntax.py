"""Check what must hold for every message before anything reads it: line ends, sizes, and the depth of its MIME parts.

Pure: content in, None or the reply that rejects it out. A few hundredths of a millisecond for a message of 10 kB. The
MIME check makes one pass over the lines that begin with two hyphens, with a dictionary of the boundaries that are open,
without recursion and decoding. It is part of the server, not of a stage behind it, because both of them (submission and
reports) rely on it, and neither may import the other.

Invariants: the content is not changed. The time is linear whatever the content. MIME that is not understood is not
rejected for that.

Limitations: header fields are only counted: their form is checked by ``mta.mail.headers``, what they say by the policy
chain. Eight-bit content without BODY=8BITMIME is accepted: the content, not the parameter, decides what the receiver is
told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from config.schema import Limits
from mta.mail.mime_value import MAX_OCTETS, MimeValue, parse_mime_value
from mta.mail.reply import Reply
from mta.smtp_server.line_faults import bare_fault, length_fault

MAX_HYPHEN_LINES = 200_000  # lines that could be delimiters: about 0.1 s of looking

_TYPE = re.compile(rb"\r\ncontent-type[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)
_AS_WRITTEN = re.compile(rb'boundary[ \t]*=[ \t]*(?:"([^"\r\n]{1,200})"|([^\s;]{1,200}))', re.IGNORECASE)
_HYPHENS = re.compile(rb"\r\n--([^\r\n]*)")


def message_fault(content: bytes, limits: Limits) -> Reply | None:
    """Return why ``content`` is rejected (RFC 5321 2.3.8 and 4.5.3.1.6, RFC 5322 2.1.1), or None."""
    line_ends = content.count(b"\r\n")
    if content.count(b"\n") != line_ends or content.count(b"\r") != line_ends or b"\0" in content:
        return bare_fault(content)
    if not _lines_fit(content, limits.line_length + 2):
        return length_fault(content, limits.line_length)
    header = _header_block(content)
    if len(header) > limits.header_size:
        return Reply(554, "5.6.0", f"Header too large: more than {limits.header_size} octets")
    if header.count(b"\r\n") > limits.header_count and _field_count(header) > limits.header_count:
        return Reply(554, "5.6.0", f"Too many header fields: more than {limits.header_count}")
    if fault := _structure_fault(content, header, limits.mime_depth, limits.mime_parts):
        return Reply(554, "5.6.0", fault)
    return None


def _header_block(content: bytes) -> bytes:
    """Return the header up to the empty line, without that."""
    if content.startswith(b"\r\n"):
        return b""
    end = content.find(b"\r\n\r\n")
    return content[: end + 2] if end >= 0 else content


def _lines_fit(content: bytes, longest: int) -> bool:
    """Return whether each line has at most ``longest`` octets with its CRLF, looking at one line end in so many."""
    at, size, rfind = 0, len(content), content.rfind
    while size - at > longest:
        end = rfind(b"\n", at, at + longest)
        if end < 0:
            return False
        at = end + 1
    return True


def _field_count(header: bytes) -> int:
    return header.count(b"\r\n") - header.count(b"\r\n ") - header.count(b"\r\n\t")


class _StructureError(Exception):
    """Why the MIME structure is rejected."""


def _structure_fault(content: bytes, header: bytes, max_depth: int, max_parts: int) -> str | None:
    """Return what is wrong with the MIME structure, or None. ``header``: the header block with its last CRLF."""
    folded = header.lower()
    if b"content-type" not in folded or (b"multipart" not in folded and b"message" not in folded):
        return None
    if content.count(b"\r\n--") > MAX_HYPHEN_LINES:
        return f"Too many possible MIME boundaries: more than {MAX_HYPHEN_LINES} lines begin with two hyphens"
    try:
        parts = _count_parts(content, max_depth, max_parts)
    except _StructureError as error:
        return str(error)
    return f"Too many MIME parts: more than {max_parts}" if parts > max_parts else None


def _count_parts(content: bytes, max_depth: int, max_parts: int) -> int:
    """Return the number of parts; counting stops above ``max_parts``. Raises _StructureError."""
    open_parts = _OpenParts(max_depth)
    parts, start = 0, 0  # the entity that begins at start ends before the next line with hyphens
    for line in _HYPHENS.finditer(content):
        if start >= 0:
            open_parts.enter(content, start, line.start())
            start = -1
        if open_parts.meets(line[1].rstrip(b" \t")):
            start = line.end()
            parts += 1
            if parts > max_parts:
                return parts
    if start >= 0:
        open_parts.enter(content, start, len(content))
    return parts


def _boundaries(kind: MimeValue, field: bytes) -> Iterator[bytes]:
    """Yield every boundary that some reader may take: of several, of RFC 2231, and with the quotes misread."""
    for boundary in (*kind.all("boundary"), *(written[1] or written[2] for written in _AS_WRITTEN.finditer(field))):
        if boundary.strip():
            yield boundary.rstrip(b" \t")


class _OpenParts:
    """The boundaries of the open multiparts, outermost first."""

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth
        self._boundaries: dict[bytes, int] = {}  # and the depth of the parts between them
        self._depth = 0

    def enter(self, content: bytes, start: int, end: int) -> None:
        """Read the header of the entity in ``content[start:end]``, and of the messages it consists of."""
        while start < end:
            blank = content.find(b"\r\n\r\n", start, end)
            header = content[start : blank + 2] if blank >= 0 else content[start:end]
            fields = _TYPE.findall(header if header.startswith(b"\r\n") else b"\r\n" + header)
            fields = fields if len(fields) < 4 else [*fields[:2], *fields[-2:]]  # readers take the first or the last
            if any(len(field) > MAX_OCTETS for field in fields):
                raise _StructureError(f"Content-Type too long: more than {MAX_OCTETS} octets")
            kinds = [parse_mime_value(field) for field in fields]
            if not any(kind.kind.startswith(("multipart/", "message/rfc822", "message/global")) for kind in kinds):
                return
            self._depth += 1
            if self._depth > self._max_depth:
                raise _StructureError(f"MIME parts nested too deep: more than {self._max_depth} levels")
            for kind, field in zip(kinds, fields, strict=True):
                if kind.kind.startswith("multipart/"):
                    for boundary in _boundaries(kind, field):
                        self._boundaries.setdefault(boundary, self._depth)
            if blank < 0 or not any(kind.kind.startswith("message/") for kind in kinds):
                return
            start = blank + 4

    def meets(self, text: bytes) -> bool:
        """Return whether a part begins after the line ``--text``; close what was opened inside the part before it."""
        closes = False
        depth = self._boundaries.get(text)
        if depth is None:
            depth = self._boundaries.get(text.removesuffix(b"--"))
            if depth is None:
                return False
            closes = True
        self._depth = depth - 1 if closes else depth
        while self._boundaries:
            boundary, opened = self._boundaries.popitem()
            if opened <= self._depth:
                self._boundaries[boundary] = opened
                break
        return not closes
