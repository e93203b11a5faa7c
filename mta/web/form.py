"""What a posted form says: its fields, read whole or not at all.

Both ways in which RFC 8058 lets a mail program post: ``application/x-www-form-urlencoded`` and
``multipart/form-data`` (RFC 7578).

It must never raise, nor read a form that is not well formed as one with fewer fields.

*Limits.* Files, and parts with a transfer encoding, are no fields: such a form is refused.
"""

from __future__ import annotations

import re
from email.message import Message
from urllib.parse import parse_qsl

MOST_FIELDS = 10

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}"  # noqa: S105 - RFC 9110 5.6.2
_NAMED = re.compile(rf'form-data\s*;\s*name=(?:"([^"\\]{{1,100}})"|({_TOKEN}))\s*', re.IGNORECASE)

Fields = tuple[tuple[str, str], ...]


def read_form(content_type: str, body: bytes) -> Fields | None:
    """The fields in their order; None if this is no form."""
    header = Message()
    header["Content-Type"] = content_type if content_type.isprintable() else ""
    try:
        match header.get_content_type():
            case "application/x-www-form-urlencoded":
                return _urlencoded(body)
            case "multipart/form-data":
                return _multipart(header.get_boundary(""), body)
            case _:
                return None
    except ValueError:  # not UTF-8, too many fields, not a form
        return None


def _urlencoded(body: bytes) -> Fields:
    text = body.decode("ascii")
    pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MOST_FIELDS)
    return tuple(pairs)


def _multipart(boundary: str, body: bytes) -> Fields:
    """RFC 2046 5.1.1: ``--boundary`` begins each part, ``--boundary--`` ends them."""
    if not 1 <= len(boundary) <= 70:
        raise ValueError("a boundary has 1 to 70 characters")
    before, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("ascii"), MOST_FIELDS + 1)
    if before.strip() or not parts or parts.pop().strip() != b"--":
        raise ValueError("parts without an end")
    return tuple(_part(part) for part in parts)


def _part(part: bytes) -> tuple[str, str]:
    head, found, value = part.partition(b"\r\n\r\n")
    start, *lines = head.decode("utf-8").split("\r\n")
    fields = dict(_header(line) for line in lines)
    named = _NAMED.fullmatch(fields.get("content-disposition", ""))
    if start.strip() or not found or named is None or "content-transfer-encoding" in fields:
        raise ValueError("a part that is no field")
    return named[1] or named[2], value.decode("utf-8")


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()
