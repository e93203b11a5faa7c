"""How deeply a message is nested and of how many parts it consists: only as much MIME as it takes to bound both.

One pass over the lines that begin with two hyphens, a dictionary of the boundaries that are open, no recursion, no
decoding. A message that is neither ``multipart`` nor ``message`` costs one look at its header.

It must never take more than linear time, and never refuse what it merely does not understand.

*Limits.* A boundary given in the form of RFC 2231 (``boundary*0=``) is not seen, so what is below it is not counted.
"""

from __future__ import annotations

import re

MAX_HYPHEN_LINES = 200_000  # lines that could be delimiters: about 0.1 s of looking

_TYPE = re.compile(rb"\r\ncontent-type[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)
_BOUNDARY = re.compile(rb';[ \t\r\n]*boundary[ \t]*=[ \t]*(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_HYPHENS = re.compile(rb"\r\n--([^\r\n]*)")


class _TooDeep(Exception):
    pass


def structure_fault(content: bytes, header: bytes, max_depth: int, max_parts: int) -> str | None:
    """What is wrong with the structure of ``content``, or None. ``header`` is its header block, with its last CRLF."""
    folded = header.lower()
    if b"content-type" not in folded or (b"multipart/" not in folded and b"message/" not in folded):
        return None
    if content.count(b"\r\n--") > MAX_HYPHEN_LINES:
        return f"more than {MAX_HYPHEN_LINES} lines begin with two hyphens"
    try:
        parts = _count_parts(content, max_depth, max_parts)
    except _TooDeep:
        return f"the MIME parts are nested more than {max_depth} deep"
    return f"there are more than {max_parts} MIME parts" if parts > max_parts else None


def _count_parts(content: bytes, max_depth: int, max_parts: int) -> int:
    """The number of parts; counting stops above ``max_parts``. Raises _TooDeep."""
    opened = _Opened(max_depth)
    parts, start = 0, 0  # the entity that begins at start ends before the next line with hyphens
    for line in _HYPHENS.finditer(content):
        if start >= 0:
            opened.enter(content, start, line.start())
            start = -1
        if opened.meets(line[1].rstrip(b" \t")):
            start = line.end()
            parts += 1
            if parts > max_parts:
                return parts
    if start >= 0:
        opened.enter(content, start, len(content))
    return parts


class _Opened:
    """The boundaries of the multiparts we are in, outermost first."""

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth
        self._boundaries: dict[bytes, int] = {}  # to the depth of the parts that it parts
        self._depth = 0

    def enter(self, content: bytes, start: int, end: int) -> None:
        """Look at the headers of the entity in ``content[start:end]``, and of the messages it consists of."""
        while start < end:
            blank = content.find(b"\r\n\r\n", start, end)
            header = content[start : blank + 2] if blank >= 0 else content[start:end]
            field = _TYPE.search(header if header.startswith(b"\r\n") else b"\r\n" + header)
            kind = field[1].strip().lower() if field else b""
            if not kind.startswith((b"multipart/", b"message/rfc822", b"message/global")):
                return
            self._depth += 1
            if self._depth > self._max_depth:
                raise _TooDeep
            if kind.startswith(b"multipart/"):
                boundary = _BOUNDARY.search(field[1]) if field else None
                if boundary:
                    self._boundaries.setdefault(boundary[1] or boundary[2], self._depth)
                return
            if blank < 0:
                return
            start = blank + 4

    def meets(self, text: bytes) -> bool:
        """Whether a part begins after the line ``--text``. What was opened inside the part before it is over."""
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
