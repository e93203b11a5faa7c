"""What a load is made of, and how its results are counted. No IO.

Invariants: memory does not grow with the number of messages.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

LINE = b"The quick brown fox jumps over the lazy dog; pack my box with five dozen jugs.\r\n"
MAX_REPLIES = 50  # different ones that are kept
_NUMBER = re.compile(r"\d[\d.:]*|\b[0-9a-z]{20,}\b|<[^>]*>")
_PRECISION = 1.02  # two latencies closer than this are one


class LoadTls(Enum):
    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class Load:
    """What to send. ``messages``: sent in turn as they are; without any, texts of ``size`` are made.

    ``recipients``: of each message. ``to``: their addresses, taken in turn; without, they are made, in ``domains``
    domains. ``rate``: messages a second of all sessions, None for as fast as they are answered. ``run``: makes
    Message-IDs unique.
    """

    sender: str
    to: tuple[str, ...] = ()
    count: int = 1
    sessions: int = 1
    per_connection: int = 100
    rate: float | None = None
    size: int = 10_240
    recipients: int = 1
    domains: int = 1
    messages: tuple[bytes, ...] = ()
    fields: tuple[str, ...] = ()
    run: str = ""

    def envelope(self, n: int) -> list[str]:
        """Return the recipients of the ``n``-th message, from 0."""
        first = n * self.recipients
        if self.to:
            return [self.to[(first + i) % len(self.to)] for i in range(self.recipients)]
        return [f"user{first + i}@d{(first + i) % self.domains}.example" for i in range(self.recipients)]

    def content(self, n: int, envelope: Sequence[str], date: str) -> bytes:
        """Return the ``n``-th message, dots doubled, with the final dot. ``date``: for its Date field."""
        extra = "".join(f"{line}\r\n" for line in self.fields).encode()
        if self.messages:
            return dot_stuffed(extra + self.messages[n % len(self.messages)])
        domain = self.sender.rpartition("@")[2] or "localhost"
        head = (
            f"From: <{self.sender}>\r\nTo: {', '.join(f'<{each}>' for each in envelope[:20])}\r\nSubject: Load {n}\r\n"
            f"Date: {date}\r\nMessage-ID: <load.{n}.{self.run}@{domain}>\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=us-ascii\r\n"
        ).encode()
        body = LINE * max(1, (self.size - len(head) - len(extra)) // len(LINE))
        return extra + head + b"\r\n" + body + b".\r\n"


def dot_stuffed(content: bytes) -> bytes:
    """Return ``content`` as it goes out after DATA: lines with CRLF, dots doubled, the final dot (RFC 5321 4.5.2)."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
    return re.sub(rb"(?m)^\.", b"..", lines.removesuffix(b"\r\n")) + b"\r\n.\r\n"


@dataclass(slots=True)
class Latencies:
    """How long answers took, in steps of two per cent."""

    steps: Counter[int] = field(default_factory=Counter)
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        self.longest = max(self.longest, seconds)
        self.steps[math.ceil(math.log(max(seconds, 1e-6), _PRECISION))] += 1

    def percentile(self, share: float) -> float:
        """Return the seconds within which ``share`` of the answers came; 0 if there were none."""
        wanted, seen = share * self.steps.total(), 0
        for step in sorted(self.steps):
            seen += self.steps[step]
            if seen >= wanted:
                return min(_PRECISION**step, self.longest)
        return 0.0


@dataclass(slots=True)
class LoadResult:
    """``broken``: messages whose connection was lost before their reply. ``replies``: alike ones together, with the
    first of each kind in full. ``connections``: made. ``late``: seconds that the worst message left after its turn."""

    accepted: int = 0
    rejected: int = 0
    broken: int = 0
    recipients: int = 0
    octets: int = 0
    connections: int = 0
    seconds: float = 0.0
    late: float = 0.0
    latencies: Latencies = field(default_factory=Latencies)
    replies: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def sent(self) -> int:
        return self.accepted + self.rejected + self.broken

    def note(self, text: str) -> None:
        """Count a reply, or why a connection ended; replies that differ in numbers, ids and addresses are one kind."""
        kind = text[:10] + _NUMBER.sub("#", text[10:])
        if kind not in self.replies and len(self.replies) >= MAX_REPLIES:
            kind = "others"
        first, times = self.replies.get(kind, (text if kind != "others" else kind, 0))
        self.replies[kind] = first, times + 1

    def kinds(self) -> Iterator[tuple[str, int]]:
        """Yield the first reply of each kind and how often the kind came, the most frequent first."""
        yield from sorted(self.replies.values(), key=lambda each: -each[1])
