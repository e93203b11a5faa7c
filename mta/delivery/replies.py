"""Octets from a receiver in, SMTP replies out.

Receivers are not to be trusted: what comes may be cut anywhere, endless, or no SMTP at all. It must never keep more
than MAX_REPLY octets, and never guess: what is not three digits and a text is ``Garbled``.

*Limits.* A line may end with a bare LF (RFC 5321 2.3.8 forbids it; some receivers do it, and mean what they say).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

MAX_REPLY = 64 * 1024  # octets of one reply, all its lines together

_LINE = re.compile(rb"([0-9]{3})(?:([ -])([^\n]*)|\r?)\n")
_SHOWN = 100  # octets of a garbled reply that are told


@dataclass(frozen=True, slots=True)
class Garbled:
    """What came is not SMTP. ``text`` says what it was."""

    text: str


class ReceiverReply(NamedTuple):
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

    def feed(self, data: bytes) -> list[ReceiverReply | Garbled]:
        """The replies that are complete with ``data``. Behind a Garbled the reader is of no more use."""
        self._rest = self._rest + data if self._rest else data
        replies: list[ReceiverReply | Garbled] = []
        if b"\n" in data:  # a line that comes octet by octet is not to be read again for each of them
            self._take_lines(replies)
        if len(self._rest) + self._octets > MAX_REPLY:
            replies.append(_TOO_LONG)
        return replies

    def _take_lines(self, replies: list[ReceiverReply | Garbled]) -> None:
        buffer, start = self._rest, 0
        while match := _LINE.match(buffer, start):
            code, more, text = match.groups()
            start = match.end()
            if self._lines and code != self._code:
                codes = f"{self._code.decode()} and {code.decode()}"
                replies.append(Garbled(f"the lines of one reply have the codes {codes}"))
                return
            self._code = code
            self._lines.append(text.strip() if text else b"")
            self._octets += start - match.start()
            if self._octets > MAX_REPLY:
                return
            if more != b"-":
                whole, self._lines, self._octets = b"\n".join(self._lines), [], 0
                replies.append(ReceiverReply(int(code), whole.decode("utf-8", "replace")))
        self._rest = buffer[start:]
        if b"\n" in self._rest:
            line = self._rest.partition(b"\n")[0][:_SHOWN]
            replies.append(Garbled(f"this is no reply: {line.decode('ascii', 'backslashreplace')!r}"))


_TOO_LONG = Garbled(f"a reply of more than {MAX_REPLY} octets")
