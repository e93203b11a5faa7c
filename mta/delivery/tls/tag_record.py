"""Read the TXT records of MTA-STS and of TLS reports, which have the same form (RFC 8461 3.1, RFC 8460 3).

Invariants: a record that is not exactly as the RFC has it is an error, with the reason; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_EXTENSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[\x21-\x3A\x3C\x3E-\x7E]+")


class RecordError(ValueError):
    """Why a record is invalid."""


def values(texts: Iterable[str], version: str, tag: str) -> list[str]:
    """Return the values of ``tag``, at least one, in the only record that begins with ``version``; none if there is no
    such record. Raises RecordError."""
    begins = re.compile(rf"v={version}[ \t]*;")
    records = [text for text in texts if begins.match(text)]
    if not records:
        return []
    if len(records) > 1:
        raise RecordError(f"{len(records)} records that begin with v={version}")
    found: list[str] = []
    for field in records[0].rstrip(" \t").removesuffix(";").split(";")[1:]:
        name, _, value = field.strip(" \t").partition("=")
        if name == tag:
            found.append(value)
        elif not _EXTENSION.fullmatch(f"{name}={value}"):
            raise RecordError(f"invalid field {field.strip()!r} in the record")
    if not found:
        raise RecordError(f"the record has no {tag}")
    return found
