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
from io import IncrementalNewlineDecoder

from config.schema import Limits
from mta.mail.known_bodies import KnownBodies
from mta.mail.mime_value import MAX_OCTETS, MimeValue, parse_mime_value
from mta.mail.reply import Reply
from mta.smtp_server.line_faults import bare_fault, length_fault

BODIES = 1024 * 1024  # octets of bodies that are known to be sound, as those of a mailing's other messages
MAX_HYPHEN_LINES = 200_000  # lines that could be delimiters: about 0.1 s of looking

_SOUND: KnownBodies[bool] = KnownBodies(BODIES)
_TYPE = re.compile(rb"\r\ncontent-type[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)
_LEAF = re.compile(rb"[ \t]*(?:text|image|audio|video|font|application)/", re.IGNORECASE)  # holds no parts
_AS_WRITTEN = re.compile(rb'boundary[ \t]*=[ \t]*(?:"([^"\r\n]{1,200})"|([^\s;]{1,200}))', re.IGNORECASE)
_HYPHENS = re.compile(rb"\r\n--([^\r\n]*)")


def message_fault(content: bytes, limits: Limits) -> Reply | None:
    """Return why ``content`` is rejected (RFC 5321 2.3.8 and 4.5.3.1.6, RFC 5322 2.1.1), or None."""
    header = _header_block(content)
    body = content[len(header) :]
    beside = (*_types_of_holders(header), limits.line_length, limits.mime_depth, limits.mime_parts, limits.header_size)
    if _SOUND.find(body, beside):
        return _octets_fault(header, limits, 1) or _header_fault(header, limits)
    check = MessageCheck(limits)
    fault = check.feed(content) or check.end()
    if fault is None:
        _SOUND.keep(True, body, beside)
    return fault


class MessageCheck:
    """Checks a message that comes in pieces: whole lines each, and the first one has the whole header block."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parts: _PartCount | None = None

    def feed(self, piece: bytes, first_line: int = 1) -> Reply | None:
        """Return why the message is rejected, None if nothing is wrong so far. ``first_line``: its number."""
        limits = self._limits
        if fault := _octets_fault(piece, limits, first_line):
            return fault
        if first_line == 1:
            header = _header_block(piece)
            if fault := _header_fault(header, limits):
                return fault
            if _types_of_holders(header):
                self._parts = _PartCount(limits.mime_depth, limits.mime_parts, limits.header_size)
                return self._count(self._parts, piece)
            return None
        return self._count(self._parts, b"\r\n" + piece) if self._parts else None

    def end(self) -> Reply | None:
        """Return why the message is rejected after all."""
        if self._parts is None:
            return None
        try:
            self._parts.end()
        except _StructureError as error:
            return error.reply
        return None

    @staticmethod
    def _count(parts: _PartCount, piece: bytes) -> Reply | None:
        try:
            parts.feed(piece)
        except _StructureError as error:
            return error.reply
        return None


def _octets_fault(piece: bytes, limits: Limits, first_line: int) -> Reply | None:
    if b"\0" in piece or not _ends_with_crlf(piece):
        return bare_fault(piece, first_line)
    if not _lines_fit(piece, limits.line_length + 2):
        return length_fault(piece, limits.line_length, first_line)
    return None


def _header_fault(header: bytes, limits: Limits) -> Reply | None:
    if len(header) > limits.header_size:
        return Reply(554, "5.6.0", f"Header too large: more than {limits.header_size} octets")
    if header.count(b"\r\n") > limits.header_count and _field_count(header) > limits.header_count:
        return Reply(554, "5.6.0", f"Too many header fields: more than {limits.header_count}")
    return None


def _header_block(content: bytes) -> bytes:
    """Return the header up to the empty line, without that."""
    if content.startswith(b"\r\n"):
        return b""
    end = content.find(b"\r\n\r\n")
    return content[: end + 2] if end >= 0 else content


def _ends_with_crlf(content: bytes) -> bool:
    """Return whether CR and LF stand together wherever they stand: in one pass, of Python's reader of text files."""
    ends = IncrementalNewlineDecoder(None, translate=False)
    ends.decode(content.decode("latin-1"), final=True)
    return ends.newlines in (None, "\r\n")


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

    @property
    def reply(self) -> Reply:
        return Reply(554, "5.6.0", str(self))


def _types_of_holders(header: bytes) -> list[bytes]:
    """Return the Content-Type fields of a header block, of which readers take the first or the last, unless all of them
    plainly say that there are no parts."""
    fields: list[bytes] = _TYPE.findall(header if header.startswith(b"\r\n") else b"\r\n" + header)
    fields = fields if len(fields) < 4 else [*fields[:2], *fields[-2:]]
    return [] if all(_LEAF.match(field) and len(field) <= MAX_OCTETS for field in fields) else fields


class _PartCount:
    """Counts the parts of a message that comes in pieces. Whoever feeds it ends the pieces at line ends, and begins
    each but the first with the CRLF that went before.

    ``longest``: octets of an entity in which its header must end.
    """

    def __init__(self, max_depth: int, max_parts: int, longest: int) -> None:
        self._open = _OpenParts(max_depth)
        self._most, self._longest = max_parts, longest
        self._parts = self._hyphen_lines = 0
        self._entity: bytearray | None = bytearray()  # the one that began last, until the next line with hyphens

    def feed(self, piece: bytes) -> None:
        """Raises _StructureError."""
        if b"-" not in piece:  # an encoded attachment
            self._collect(piece, 0, len(piece))
            return
        self._hyphen_lines += piece.count(b"\r\n--")
        if self._hyphen_lines > MAX_HYPHEN_LINES:
            text = f"more than {MAX_HYPHEN_LINES} lines begin with two hyphens"
            raise _StructureError(f"Too many possible MIME boundaries: {text}")
        start = 0
        for line in _HYPHENS.finditer(piece):
            self._collect(piece, start, line.start())
            self.end()
            start = line.end()
            if self._open.meets(line[1].rstrip(b" \t")):
                self._entity = bytearray()
                self._parts += 1
                if self._parts > self._most:
                    raise _StructureError(f"Too many MIME parts: more than {self._most}")
        self._collect(piece, start, len(piece))

    def end(self) -> None:
        """Read the header of the entity that began last, unless that is done. Raises _StructureError."""
        if self._entity is not None:
            entity, self._entity = bytes(self._entity), None
            ended = self._open.enter(entity, 0, len(entity))
            if not ended and len(entity) > self._longest:
                raise _StructureError(f"Header of a MIME part too large: more than {self._longest} octets")

    def _collect(self, piece: bytes, start: int, end: int) -> None:
        if self._entity is not None:
            self._entity += piece[start : min(end, start + self._longest + 4 - len(self._entity))]


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

    def enter(self, content: bytes, start: int, end: int) -> bool:
        """Read the header of the entity in ``content[start:end]``, and of the messages it consists of; return whether
        the last one that was read has an end."""
        while start < end:
            blank = content.find(b"\r\n\r\n", start, end)
            header = content[start : blank + 2] if blank >= 0 else content[start:end]
            fields = _types_of_holders(header)
            if not fields:
                return blank >= 0
            if any(len(field) > MAX_OCTETS for field in fields):
                raise _StructureError(f"Content-Type too long: more than {MAX_OCTETS} octets")
            kinds = [parse_mime_value(field) for field in fields]
            if not any(kind.kind.startswith(("multipart/", "message/rfc822", "message/global")) for kind in kinds):
                return blank >= 0
            self._depth += 1
            if self._depth > self._max_depth:
                raise _StructureError(f"MIME parts nested too deep: more than {self._max_depth} levels")
            for kind, field in zip(kinds, fields, strict=True):
                if kind.kind.startswith("multipart/"):
                    for boundary in _boundaries(kind, field):
                        self._boundaries.setdefault(boundary, self._depth)
            if blank < 0 or not any(kind.kind.startswith("message/") for kind in kinds):
                return blank >= 0
            start = blank + 4
        return True

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
