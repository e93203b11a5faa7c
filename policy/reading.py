"""What a message says: its text, links and attachments, decoded once for all rules that ask.

It must never raise for what is in a message, nor count hidden text as said.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Link:
    """A link and the words it is under (empty in plain text)."""

    url: str
    words: str


@dataclass(frozen=True, slots=True)
class Image:
    source: str
    alt: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """``name`` as the receiver's program would save it, ``type`` e.g. ``application/pdf``, ``size`` in octets."""

    name: str
    type: str
    size: int


class Reading:
    """``content``: the whole message. Nothing is decoded before somebody asks."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content
