"""Read a posted form, as mail programs, browsers and scripts send it.

RFC 8058 names two types of body, ``application/x-www-form-urlencoded`` and ``multipart/form-data`` (RFC 7578). What
counts is the fields: a script's ``fetch`` calls them ``text/plain``, others put a line end behind them, headers before
them, or fields beside them.

Invariants: never raises; what is no field is passed over, so that a body without any has none.
Limitations: at most MAX_FIELDS fields are read; files are fields too.
"""

from __future__ import annotations

import base64
import binascii
import quopri
from collections.abc import Iterator
from urllib.parse import unquote_plus

from mta.mail.mime_value import parse_mime_value

MAX_FIELDS = 40

FormFields = tuple[tuple[str, str], ...]


def read_form(content_type: str, body: bytes) -> FormFields:
    """Return the fields of ``body`` in order: (name, value), decoded."""
    value = parse_mime_value(content_type.encode("utf-8", "replace"))
    if value.kind.startswith("multipart/"):
        return tuple(_multipart(next(iter(value.all("boundary")), b""), body))
    if value.kind in ("", "application/x-www-form-urlencoded", "text/plain"):
        return tuple(_urlencoded(body))
    return ()


def _urlencoded(body: bytes) -> Iterator[tuple[str, str]]:
    text = body.decode("utf-8", "replace").replace("\r", "&").replace("\n", "&")
    for pair in text.split("&", MAX_FIELDS)[:MAX_FIELDS]:
        name, equals, value = pair.partition("=")
        if equals:
            yield unquote_plus(name).strip(), unquote_plus(value).strip()


def _multipart(boundary: bytes, body: bytes) -> Iterator[tuple[str, str]]:
    """Yield the field of each part (RFC 2046 5.1.1); without a boundary the first line is taken for one."""
    body = b"\n" + body.replace(b"\r\n", b"\n")
    if not boundary:
        boundary = body.lstrip().partition(b"\n")[0].removeprefix(b"--")
    if not boundary:
        return
    for part in body.split(b"\n--" + boundary, MAX_FIELDS + 1)[1 : MAX_FIELDS + 1]:
        if part.startswith(b"--"):
            return
        head, blank, content = part.partition(b"\n\n")
        fields = dict(_field(line) for line in head.split(b"\n"))
        names = parse_mime_value(fields.get(b"content-disposition", b"")).all("name")
        if blank and names:
            decoded = _decoded(content, fields.get(b"content-transfer-encoding", b"").strip().lower())
            yield names[0].decode("utf-8", "replace").strip(), decoded.decode("utf-8", "replace").strip()


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value


def _decoded(content: bytes, encoding: bytes) -> bytes:
    """Undo a transfer encoding, which RFC 7578 4.7 deprecates and some senders write."""
    try:
        match encoding:
            case b"base64":
                return base64.b64decode(content)
            case b"quoted-printable":
                return quopri.decodestring(content)
            case _:
                return content
    except binascii.Error:
        return content
