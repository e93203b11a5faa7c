"""The relaxed canonical form of body and header fields (RFC 6376 3.4.2 and 3.4.4), fast.

The body is where the time goes. Single octets are searched for first, and the patterns begin with two literals, which
are found faster than by any method of ``bytes``: ten to twenty times faster than collapsing every run by pattern, with
the same result, which the tests compare with dkimpy.

A body that comes in pieces is hashed by ``BodyHash``, any other by ``body_hash``.

Limitations: content has CRLF line ends only, as ``mta.mail.message`` demands. A vertical tab or form feed at the end of
a field value is kept, as RFC 6376 2.8 has it (dkimpy strips them).
"""

from __future__ import annotations

import base64
import hashlib
import re

_SPACES = re.compile(rb"   *")  # two literals, then the repetition
_TRAILING = re.compile(rb" \r\n")
_WSP = re.compile(rb"[ \t]+")
_LINE_ENDS = 16 * 1024  # hashed at once


def body_hash(body: bytes) -> bytes:
    """Return the ``bh=`` tag: base64 of SHA-256."""
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"  # as it will be on the wire, before trailing white space is removed
    text = _relaxed(body).rstrip(b"\r\n")
    digest = hashlib.sha256(text)
    if text:
        digest.update(b"\r\n")
    return base64.b64encode(digest.digest())


class BodyHash:
    """The ``bh=`` tag of a body that comes in pieces: whole lines each."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._has_text = False
        self._line_ends = 0  # after the last text: only one of them counts if nothing follows

    def feed(self, lines: bytes) -> None:
        lines = _relaxed(lines)
        text = lines.rstrip(b"\r\n")
        if text:
            for start in range(0, self._line_ends, _LINE_ENDS):
                self._digest.update(b"\r\n" * min(_LINE_ENDS, self._line_ends - start))
            self._digest.update(text)
            self._has_text, self._line_ends = True, 0
        self._line_ends += (len(lines) - len(text)) // 2

    def tag(self) -> bytes:
        """Return the tag. Call it once, after the last piece."""
        if self._has_text:
            self._digest.update(b"\r\n")
        return base64.b64encode(self._digest.digest())


def _relaxed(lines: bytes) -> bytes:
    """Return whole lines with their white space reduced."""
    if b"\t" in lines:
        lines = lines.replace(b"\t", b" ")
    if b" " not in lines:  # an encoded attachment
        return lines
    return _TRAILING.sub(b"\r\n", _SPACES.sub(b" ", lines))


def header_field(name: bytes, raw: bytes) -> bytes:
    """Return one field with its CRLF; ``name`` is already in lower case, ``raw`` has no CRLF at its end."""
    _, _, value = raw.partition(b":")
    if b"\x0b" in value or b"\x0c" in value:  # white space to bytes.split, but not to RFC 6376
        return b"%b:%b\r\n" % (name, _WSP.sub(b" ", value.replace(b"\r\n", b"")).strip(b" "))
    return b"%b:%b\r\n" % (name, b" ".join(value.split()))
