"""Where the parts of a multipart stand (RFC 2046 5.1.1).

Invariants: takes linear time; every octet of the body is in a part, a delimiter, the preamble or the epilogue.
"""

from __future__ import annotations

import re

from mta.mail.mime_value import MimeValue


def part_places(content: bytes, kind: MimeValue, start: int, end: int) -> list[tuple[int, int]] | None:
    """Return where each part of the multipart body ``content[start:end]`` begins and ends, header included; None if
    its boundary is not clear."""
    boundaries = kind.all("boundary")
    if len(boundaries) != 1 or not boundaries[0].strip():
        return None
    boundary = re.escape(boundaries[0].rstrip())
    delimiter = re.compile(rb"\r\n--%b(--)?[ \t]*(?=\r\n|\Z)" % boundary)
    places: list[tuple[int, int]] = []
    begun = None
    for found in delimiter.finditer(content, start - 2, end):  # the header before it ends with CRLF
        if begun is not None:
            places.append((begun, max(begun, found.start())))
        begun = min(end, found.end() + 2)
        if found[1]:
            return places
    if begun is not None:
        places.append((begun, end))
    return places or None
