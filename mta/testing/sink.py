"""What `mta sink` keeps of the mail that arrives: counts, a line for each message, a Maildir.

Limitations: messages are counted, not kept in memory.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mta.testing.nameserver import Node
from mta.testing.script import Receipt

_SUBJECT = re.compile(rb"(?im)^subject:[ \t]*([^\r\n]*)")


@dataclass(slots=True)
class Tally:
    """What has arrived. ``replies``: how often each answer to a message was given, "" for none."""

    accepted: int = 0
    recipients: int = 0
    octets: int = 0
    replies: Counter[str] = field(default_factory=Counter)
    first: float | None = None  # seconds, of any clock that does not step
    last: float = 0.0

    def add(self, receipt: Receipt, now: float) -> None:
        self.replies[reply_text(receipt)] += 1
        if receipt.accepted:
            self.first = now if self.first is None else self.first
            self.last = now
            self.accepted += 1
            self.recipients += len(receipt.recipients)
            self.octets += len(receipt.raw)

    @property
    def rate(self) -> float:
        """Messages a second between the first and the last."""
        seconds = self.last - (self.first or 0.0)
        return (self.accepted - 1) / seconds if self.accepted > 1 and seconds > 0 else 0.0


def reply_text(receipt: Receipt) -> str:
    return (receipt.answer or b"").decode("utf-8", "backslashreplace").strip()


def describe(receipt: Receipt) -> dict[str, Any]:
    """Return what one JSON line says of a message."""
    subject = _SUBJECT.search(receipt.content.partition(b"\r\n\r\n")[0])
    return {
        "at": receipt.at,
        "client": receipt.client,
        "hello": receipt.hello,
        "tls": receipt.tls,
        "sender": receipt.sender.address,
        "recipients": receipt.addresses,
        "size": len(receipt.content),
        "subject": subject[1].decode("utf-8", "replace") if subject else None,
        "reply": reply_text(receipt),
    }


class Maildir:
    """A folder with ``tmp``, ``new`` and ``cur``, for any mail reader. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        for name in ("tmp", "new", "cur"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._host = socket.gethostname().replace("/", "\\057").replace(":", "\\072")
        self._count = 0

    def add(self, receipt: Receipt) -> Path:
        """Write the message below its envelope (Return-Path, Delivered-To); it appears whole or not at all."""
        self._count += 1
        name = f"{time.time_ns() // 1000}.P{os.getpid()}Q{self._count}.{self._host}"
        envelope = [f"Return-Path: <{receipt.sender.address}>", *(f"Delivered-To: {to}" for to in receipt.addresses)]
        with open(self._folder / "tmp" / name, "xb") as file:
            file.write("".join(f"{line}\n" for line in envelope).encode("utf-8", "backslashreplace"))
            file.write(receipt.content.replace(b"\r\n", b"\n"))
        path = self._folder / "new" / name
        os.rename(self._folder / "tmp" / name, path)
        return path


class EveryDomain(Mapping[str, Node]):
    """A zone in which ``host``, at ``addresses``, is the MX of every domain that exists; ``.invalid`` never does."""

    def __init__(self, host: str, addresses: tuple[str, ...]) -> None:
        self._host = host
        self._addresses = Node(
            a=tuple(each for each in addresses if ":" not in each),
            aaaa=tuple(each for each in addresses if ":" in each),
        )
        self._domain = Node(mx=((10, host),))

    def __getitem__(self, name: str) -> Node:
        if name == "invalid" or name.endswith(".invalid"):
            raise KeyError(name)
        return self._addresses if name == self._host else self._domain

    def __iter__(self) -> Iterator[str]:
        return iter((self._host,))

    def __len__(self) -> int:
        return 1
