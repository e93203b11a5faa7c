"""How a scripted receiver behaves, at which stage and to whom; and what it was told and accepted.

    Script(rules=(
        ScriptRule(ReceiverStage.RCPT, "grey*@*", (say("451 4.7.1 come back"), FRIENDLY)),
        ScriptRule(ReceiverStage.END, "*@lost.example", (ScriptedReply(reply=b"", end=AfterReply.CLOSE),)),
        ScriptRule(ReceiverStage.CONNECT, "*", (ScriptedReply(wait=20),)),
    ))

Invariants: A script has no state: the receiver counts the hits. What the ledger notes is on disk before the receiver
goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from fnmatch import fnmatchcase
from pathlib import Path


class ReceiverStage(Enum):
    """The points at which the receiver has something to say."""

    CONNECT = auto()
    HELLO = auto()
    STARTTLS = auto()
    AUTH = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()  # DATA, or the first octet count of BDAT
    BODY = auto()  # the message's first octets have come; nothing is said here unless a rule says so
    END = auto()  # the final dot, or BDAT LAST
    RSET = auto()
    QUIT = auto()


class AfterReply(Enum):
    """What follows what was said."""

    STAY = auto()
    CLOSE = auto()
    RESET = auto()  # TCP RST
    HANG = auto()  # never say anything again
    DEAF = auto()  # hang, and let the TCP window fill up
    FLOOD = auto()  # repeat the reply for ever


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """``reply``: octets with CRLF, None for the usual ones. ``wait``: seconds before, ``pace``: between octets."""

    reply: bytes | None = None
    wait: float = 0.0
    pace: float = 0.0
    end: AfterReply = AfterReply.STAY


FRIENDLY = ScriptedReply()


def say(text: str, *, wait: float = 0.0, pace: float = 0.0, end: AfterReply = AfterReply.STAY) -> ScriptedReply:
    """Answer with ``text``, one reply a line, LF between lines."""
    return ScriptedReply("".join(line + "\r\n" for line in text.split("\n")).encode(), wait, pace, end)


@dataclass(frozen=True, slots=True)
class ScriptRule:
    """At ``stage``, if a recipient matches ``who`` (``fnmatch``): the n-th hit gets the n-th act, or the last.

    Hits are counted for each recipient. At CONNECT the client's address takes its place; from there to RCPT only ``*``
    matches. ``share``: how often the rule applies at all, 1 for always.
    """

    stage: ReceiverStage
    who: str
    acts: tuple[ScriptedReply, ...]
    share: float = 1.0


class Pacer:
    """Turns at an even ``rate`` a second. A turn that was missed is not made up for."""

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate
        self._next = 0.0

    def turn(self, now: float) -> float:
        """Return the time of the next turn, ``now`` or later."""
        turn = max(now, self._next)
        self._next = turn + self._step
        return turn


@dataclass(frozen=True, slots=True)
class Script:
    """``logins``: user name -> password. ``max_recipients``: more get 452 4.5.3. ``pacer``: of messages taken."""

    name: str = "mx.receiver.example"
    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 52428800", "DSN", "ENHANCEDSTATUSCODES")
    rules: tuple[ScriptRule, ...] = ()
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    logins: Mapping[str, str] = field(default_factory=dict)
    mechanisms: str = "PLAIN LOGIN"
    max_recipients: int | None = None
    forgets_pipelined: bool = False
    pacer: Pacer | None = None

    def rule(self, stage: ReceiverStage, recipients: Iterable[str]) -> tuple[ScriptRule, str] | None:
        """The first rule that applies, and the recipient it applies to ("" if it is for everybody)."""
        for rule in self.rules:
            if rule.stage is not stage or (rule.share < 1 and random.random() >= rule.share):  # noqa: S311
                continue
            if rule.who == "*":
                return rule, ""
            for recipient in recipients:
                if fnmatchcase(recipient.lower(), rule.who):
                    return rule, recipient.lower()
        return None


MANNERS = (
    ScriptRule(ReceiverStage.RCPT, "grey*@*", (say("451 4.7.1 greylisted, please come back"), FRIENDLY)),
    ScriptRule(ReceiverStage.RCPT, "unknown*@*", (say("550 5.1.1 no such user here"),)),
    ScriptRule(ReceiverStage.RCPT, "full*@*", (say("452 4.2.2 mailbox full"),)),
    ScriptRule(ReceiverStage.RCPT, "blocked*@*", (say("554 5.7.1 message refused by policy"),)),
    ScriptRule(ReceiverStage.RCPT, "slow*@*", (ScriptedReply(wait=2.0),)),
    ScriptRule(ReceiverStage.RCPT, "busy*@*", (say("421 4.3.2 too busy, closing", end=AfterReply.CLOSE),)),
    ScriptRule(ReceiverStage.END, "spam*@*", (say("550 5.7.1 message content rejected"),)),
    ScriptRule(ReceiverStage.END, "later*@*", (say("451 4.3.0 try again later"),)),
    ScriptRule(ReceiverStage.END, "lost*@*", (ScriptedReply(reply=b"", end=AfterReply.CLOSE),)),
)
"""A receiver's whole range, told by the local part: everybody else is accepted."""


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
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    @property
    def addresses(self) -> tuple[str, ...]:
        """The recipients, without their parameters."""
        return tuple(recipient.address for recipient in self.recipients)

    @property
    def accepted(self) -> bool:
        """Whether we said so, and plainly."""
        return self.answer is not None and re.match(rb"2\d\d[ \r][^\n]*\n", self.answer) is not None


class Ledger:
    """``receipts``, ``commands`` (connection, line) and ``connections`` (so far, ``open`` now) tell what happened.

    ``on_answer`` runs before each answer goes out. ``path``: a file that gets a JSON line, fsynced, at each final dot
    ("got") and before each 250 ("accepted").
    """

    def __init__(
        self,
        *,
        on_receipt: Callable[[Receipt], None] | None = None,
        on_answer: Callable[[Receipt], None] | None = None,
        path: Path | None = None,
        record: bool = True,
    ) -> None:
        self.receipts: list[Receipt] = []
        self.commands: list[tuple[int, str]] = []
        self.connections = 0
        self.open = 0
        self._record = record
        self._on_receipt, self._on_answer = on_receipt, on_answer
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
        """``answer`` is about to go out; b"" if there will be none."""
        receipt.answer = answer or None
        if receipt.accepted:
            self._note("accepted", receipt)
        if self._on_answer:
            self._on_answer(receipt)
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
            "recipients": receipt.addresses,
            "sha256": hashlib.sha256(receipt.content).hexdigest(),
            "headers": receipt.content.partition(b"\r\n\r\n")[0].decode("utf-8", "backslashreplace"),
        }
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fsync(self._file)
