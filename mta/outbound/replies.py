"""Octets from a receiver in, SMTP replies out.

Receivers are not to be trusted: what comes may be cut anywhere, endless, or no SMTP at all. It must never keep more
than MAX_REPLY octets, and never guess: what is not three digits and a text is ``Garbled``.

*Limits.* A line may end with a bare LF (RFC 5321 2.3.8 forbids it; some receivers do it, and mean what they say).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_REPLY = 64 * 1024  # octets of one reply, all its lines together

_LINE = re.compile(rb"([0-9]{3})(?:([ -])([^\n]*)|\r?)\n")
_SHOWN = 100  # octets of a garbled reply that are told


class Garbled(Exception):
    """What came is not SMTP; the text says what it was."""


class Answer(NamedTuple):
    """A reply as it came: the code, and its lines joined by LF."""

    code: int
    text: str

    @property
    def is_positive(self) -> bool:
        return 200 <= self.code <= 299

    @property
    def is_regular(self) -> bool:
        """A code that may answer a command (RFC 5321 4.2.1); anything else means that we misunderstand each other."""
        return 200 <= self.code <= 599


class ReplyReader:
    """Feed it what comes, in pieces of any size."""

    __slots__ = ("_code", "_lines", "_octets", "_rest")

    def __init__(self) -> None:
        self._rest = b""  # a line that is not complete
        self._lines: list[bytes] = []  # of a reply that is not complete
        self._code = b""
        self._octets = 0  # in self._lines

    @property
    def is_empty(self) -> bool:
        """True between two replies."""
        return not self._rest and not self._lines

    def feed(self, data: bytes) -> Iterator[Answer]:
        """The replies that are complete with ``data``. Raises Garbled behind the last good one: end the connection."""
        self._rest = self._rest + data if self._rest else data
        if b"\n" in data:  # a line that comes octet by octet is not to be read again for each of them
            yield from self._take_lines()
        if len(self._rest) + self._octets > MAX_REPLY:
            raise Garbled(f"a reply of more than {MAX_REPLY} octets")

    def _take_lines(self) -> Iterator[Answer]:
        buffer, start = self._rest, 0
        while match := _LINE.match(buffer, start):
            code, more, text = match.groups()
            start = match.end()
            if self._lines and code != self._code:
                raise Garbled(f"the lines of one reply have the codes {self._code.decode()} and {code.decode()}")
            self._code = code
            self._lines.append(text.strip() if text else b"")
            self._octets += start - match.start()
            if self._octets > MAX_REPLY:
                raise Garbled(f"a reply of more than {MAX_REPLY} octets")
            if more != b"-":
                whole, self._lines, self._octets = b"\n".join(self._lines), [], 0
                yield Answer(int(code), whole.decode("utf-8", "replace"))
        self._rest = buffer[start:]
        if b"\n" in self._rest:
            line = self._rest.partition(b"\n")[0][:_SHOWN]
            raise Garbled(f"this is no reply: {line.decode('ascii', 'backslashreplace')!r}")
