"""Clients that submit without pause, whatever happens to their connections, and remember what they were told."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum

CLIENTS = 8
DOMAINS = 5
PAUSE = 0.05  # seconds before a client tries again
STOPPED = "s"  # recipients with this first letter are put off by their receiver at first, and suppressed meanwhile

_LETTERS = "abcdefghijklmnopqrstuvwxyz "


class Answer(Enum):
    """What a client knows of a message it sent."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"  # the connection was lost after the final dot


@dataclass(slots=True)
class Submission:
    """A message as its client knows it. ``seconds``: from MAIL to the answer."""

    recipients: tuple[str, ...]
    content: bytes
    answer: Answer = Answer.UNKNOWN
    reply: str = ""
    seconds: float = 0.0


@dataclass
class Clients:
    """``submissions``: by test id. ``pause``: seconds between the messages of one client (paced load)."""

    port: int
    seed: int
    count: int = CLIENTS
    pause: float = 0.0
    submissions: dict[str, Submission] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._stop = asyncio.Event()
        self._numbers = iter(range(1_000_000))

    @contextlib.asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Submit for as long as the block lasts."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.count):
                group.create_task(self._client())
            try:
                yield
            finally:
                self._stop.set()

    @property
    def accepted(self) -> dict[str, Submission]:
        return {key: one for key, one in self.submissions.items() if one.answer is Answer.ACCEPTED}

    async def _client(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._session()
            await asyncio.sleep(PAUSE)

    async def _session(self) -> None:
        """Submit one message after the other. Raises OSError, IncompleteReadError when the connection is lost."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            await _reply(reader)
            await _command(reader, writer, b"EHLO client.sender.example\r\n")
            while not self._stop.is_set():
                await self._submit(reader, writer)
                if self.pause:
                    await asyncio.sleep(self.random.uniform(0, 2 * self.pause))
        finally:
            writer.close()

    async def _submit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        test_id, submission = self._compose()
        began = time.perf_counter()
        commands = ["MAIL FROM:<ann@sender.example>", *(f"RCPT TO:<{to}>" for to in submission.recipients), "DATA"]
        for command in commands:
            if (await _command(reader, writer, command.encode() + b"\r\n")).startswith(("4", "5")):
                await _command(reader, writer, b"RSET\r\n")
                await asyncio.sleep(PAUSE)
                return
        self.submissions[test_id] = submission
        submission.reply = await _command(reader, writer, submission.content + b".\r\n")
        submission.answer = Answer.ACCEPTED if submission.reply.startswith("250") else Answer.REFUSED
        submission.seconds = time.perf_counter() - began

    def _compose(self) -> tuple[str, Submission]:
        test_id = f"{self.seed}-{next(self._numbers)}-{time.time_ns()}"
        domains = self.random.sample(range(DOMAINS), self.random.choice((1, 1, 1, 2, 3)))
        recipients = [f"r{test_id}@d{n}.example" for n in domains]
        if self.random.random() < 0.1:
            recipients.append(f"{STOPPED}{test_id}@d0.example")
        line = "".join(self.random.choices(_LETTERS, k=70)) + "\r\n"
        head = f"From: ann@sender.example\r\nMessage-ID: <{test_id}@sender.example>\r\nX-Test-Id: {test_id}\r\n\r\n"
        return test_id, Submission(tuple(recipients), (head + line * self.random.randint(1, 300)).encode())


async def _command(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> str:
    if writer.is_closing():
        raise ConnectionResetError
    writer.write(line)
    return await _reply(reader)


async def _reply(reader: asyncio.StreamReader) -> str:
    """The last line of the next reply. Raises IncompleteReadError at the end of the connection."""
    while True:
        line = await reader.readuntil(b"\n")
        if line[3:4] != b"-":
            return line.decode().strip()
