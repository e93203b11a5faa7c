"""What a scripted receiver was told and what it took: in memory for tests, on the disk for those who kill processes.

It must never lose a message: what is noted is on the disk before the receiver goes on.

*Limits.* What is recorded stays in memory, unless ``record`` is off.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EnvelopePath:
    """A path of MAIL or RCPT: the address without its brackets, and the parameters as they came."""

    address: str
    parameters: tuple[str, ...] = ()


@dataclass(slots=True)
class Receipt:
    """A message that came to its end. ``answer``: what we said to it (None: nothing, or not yet)."""

    connection: int
    client: str
    address: str  # of ours
    hello: str
    tls: str | None
    login: str | None
    sender: EnvelopePath
    recipients: tuple[EnvelopePath, ...]
    raw: bytes  # as on the wire, dots still doubled, without the final dot
    chunked: bool
    at: float
    answer: bytes | None = None

    @property
    def content(self) -> bytes:
        """The message as its sender meant it (RFC 5321 4.5.2)."""
        return self.raw if self.chunked else re.sub(rb"(?m)^\.", b"", self.raw)

    @property
    def accepted(self) -> bool:
        """Whether we said so, and plainly."""
        return self.answer is not None and re.match(rb"2\d\d[ \r][^\n]*\n", self.answer) is not None


class Ledger:
    """``receipts``, ``commands`` (connection, line) and ``connections`` (so far, ``open`` now) tell what happened.

    ``path``: a file that gets a JSON line, fsynced, at each final dot ("got") and before each 250 ("accepted").
    """

    def __init__(
        self,
        *,
        on_receipt: Callable[[Receipt], None] | None = None,
        path: Path | None = None,
        record: bool = True,
    ) -> None:
        self.receipts: list[Receipt] = []
        self.commands: list[tuple[int, str]] = []
        self.connections = 0
        self.open = 0
        self._record = record
        self._on_receipt = on_receipt
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if path else None
        self._changed = asyncio.Event()

    @property
    def accepted(self) -> list[Receipt]:
        return [receipt for receipt in self.receipts if receipt.accepted]

    async def wait_until(self, condition: Callable[[Ledger], bool]) -> None:
        """Return once ``condition`` holds; it is asked again whenever something has happened."""
        while not condition(self):
            self._changed.clear()
            await self._changed.wait()

    def changed(self) -> None:
        """Let those who wait look again."""
        self._changed.set()

    def opened(self) -> int:
        """A connection was made; its number, from 1."""
        self.connections += 1
        self.open += 1
        self._changed.set()
        return self.connections

    def closed(self) -> None:
        self.open -= 1
        self._changed.set()

    def heard(self, connection: int, line: bytes) -> None:
        if self._record:
            self.commands.append((connection, line.decode("utf-8", "backslashreplace")))
            self._changed.set()

    def got(self, receipt: Receipt) -> None:
        """The final dot has come."""
        if self._record:
            self.receipts.append(receipt)
        self._note("got", receipt)
        if self._on_receipt:
            self._on_receipt(receipt)
        self._changed.set()

    def answering(self, receipt: Receipt, answer: bytes) -> None:
        """``answer`` is about to go out."""
        receipt.answer = answer
        if receipt.accepted:
            self._note("accepted", receipt)
        self._changed.set()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _note(self, what: str, receipt: Receipt) -> None:
        if self._file is None:
            return
        line = {
            "what": what,
            "at": time.time(),
            "connection": receipt.connection,
            "sender": receipt.sender.address,
            "recipients": [recipient.address for recipient in receipt.recipients],
            "sha256": hashlib.sha256(receipt.content).hexdigest(),
            "headers": receipt.content.partition(b"\r\n\r\n")[0].decode("utf-8", "backslashreplace"),
        }
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fsync(self._file)
