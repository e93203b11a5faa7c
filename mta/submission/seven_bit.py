"""Write a message in seven bits before it is signed: for receivers without 8BITMIME (RFC 6152 3).

Done only where the operator says so (``submission.eightbit = "encode"``): it makes a message larger, and nearly all
receivers take eight bits. After the signature it would be too late.

Invariants: what readers see does not change, and nothing signed by the application is touched: a message with such a
part (multipart/signed), or one whose structure can be read in two ways, is left as it is.
Limitations: a message that is too large for memory (``mta.mail.large_body``) is left as it is.
"""

from __future__ import annotations

import re
from base64 import encodebytes
from binascii import b2a_qp

from mta.mail.encoded_words import NotEncodable
from mta.mail.headers import HeaderError, Headers, unfold
from mta.mail.mime_value import MimeValue, parse_mime_value
from mta.mail.multipart import part_places
from mta.submission.header_cleanup import readable_field

DEPTH = 50
_BARE_LF = re.compile(rb"(?<!\r)\n")
_IDENTITY = frozenset({"", "7bit", "8bit", "binary"})


def to_seven_bit(content: bytes) -> bytes:
    """Return ``content`` in ASCII. Raises NotEncodable."""
    return content if content.isascii() else _entity(content, 0)


def _entity(content: bytes, depth: int) -> bytes:
    """Return a message or part in ASCII, each leaf encoded for itself (RFC 2045 6.4)."""
    if content.isascii():
        return content
    try:
        headers = Headers.split(content)
    except HeaderError as error:
        raise NotEncodable(f"the header of a part: {error}") from None
    if depth > DEPTH or headers.count(b"content-type") > 1 or headers.count(b"content-transfer-encoding") > 1:
        raise NotEncodable("its structure is not clear")
    raw_type = next(iter(headers.all(b"content-type")), b"text/plain")
    kind, body = parse_mime_value(raw_type), content[headers.size :]
    encoding = unfold(next(iter(headers.all(b"content-transfer-encoding")), b"")).lower()
    if body.isascii():
        return _header(headers, None) + body
    if encoding not in _IDENTITY:
        raise NotEncodable(f"a part in {encoding[:20]} has octets beyond ASCII")
    if kind.kind in ("multipart/signed", "multipart/encrypted"):
        raise NotEncodable(f"{kind.kind} must not be changed")
    if kind.kind.startswith("multipart/"):
        return _header(headers, b"7bit") + _parts(content, kind, headers.size, depth)
    if kind.kind in ("message/rfc822", "message/global"):
        return _header(headers, b"7bit") + _entity(body, depth + 1)
    if kind.kind.startswith("text/") or kind.kind == "":
        return _header(headers, b"quoted-printable") + _quoted_printable(body)
    return _header(headers, b"base64") + encodebytes(body).replace(b"\n", b"\r\n")


def _quoted_printable(body: bytes) -> bytes:
    """``b2a_qp`` takes the end of its soft line breaks from the first line of the text, which may have none."""
    return _BARE_LF.sub(b"\r\n", b2a_qp(body, istext=True, header=False))


def _header(headers: Headers, encoding: bytes | None) -> bytes:
    """Return the header block with its empty line; ``encoding``: the new transfer encoding, None to leave it."""
    fields = [
        raw if raw.isascii() else readable_field(name, raw, smtputf8=False)
        for name, raw in headers.fields
        if encoding is None or name != b"content-transfer-encoding"
    ]
    if encoding is not None:
        fields.append(b"Content-Transfer-Encoding: " + encoding)
    return b"".join(raw + b"\r\n" for raw in fields) + b"\r\n"


def _parts(content: bytes, kind: MimeValue, start: int, depth: int) -> bytes:
    """Return the body of a multipart, which begins at ``start``, with each of its parts in ASCII."""
    places = part_places(content, kind, start, len(content))
    if places is None:
        raise NotEncodable("where the parts of a multipart begin is not clear")
    pieces, done = [], start
    for begin, end in places:
        pieces += [_prose(content[done:begin]), _entity(content[begin:end], depth + 1)]
        done = end
    return b"".join([*pieces, _prose(content[done:])])


def _prose(text: bytes) -> bytes:
    """Return what stands around the parts, which no reader is shown; delimiters are ASCII, as the header was."""
    return text if text.isascii() else bytes(octet if octet < 0x80 else 0x3F for octet in text)
