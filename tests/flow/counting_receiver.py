"""A receiver that only counts: how many sessions are open at once, and when each message begins.

It runs on threads of its own and asks the kernel which connections are established, so that what it counts does not
depend on the order in which an event loop hears of them.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ESTABLISHED = 1  # tcp_states.h
_ID = re.compile(rb"(?i)^Subject: (\S+)", re.MULTILINE)


class CountingReceiver:
    """``pause``: seconds before each final reply. ``most_open``: sessions at once. ``begun``: time of each MAIL.

    ``taken``: how often each message (by the first word of its subject) was accepted.
    """

    def __init__(self, address: str, port: int, pause: Callable[[], float] = lambda: 0.0) -> None:
        self.pause = pause
        self.most_open = 0
        self.begun: list[float] = []
        self.taken: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((address, port), backlog=500)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        with self._lock:
            for each in self._open:
                each.close()

    def most_begun_within(self, seconds: float) -> int:
        """Return the largest number of messages that began in any window of this length."""
        first, most = 0, 0
        for last, at in enumerate(self.begun):
            while self.begun[first] <= at - seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(client)
                self.most_open = max(self.most_open, sum(_is_established(each) for each in self._open))
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client.makefile("rwb") as stream:
                self._talk(client, stream)  # type: ignore[arg-type]
        except (OSError, ValueError):
            pass
        with self._lock:
            self._open.discard(client)
            client.close()

    def _talk(self, client: socket.socket, stream: socket.SocketIO) -> None:
        def say(line: str) -> None:
            stream.write(line.encode() + b"\r\n")
            stream.flush()

        say("220 counting ESMTP")
        while line := stream.readline():
            match line[:4].upper():
                case b"EHLO":
                    say("250-counting\r\n250 8BITMIME")
                case b"MAIL":
                    with self._lock:
                        self.begun.append(time.monotonic())
                    say("250 2.1.0 OK")
                case b"DATA":
                    say("354 go on")
                    lines = []
                    while (text := stream.readline()) not in (b".\r\n", b""):
                        lines.append(text)
                    if not text:
                        return
                    time.sleep(self.pause())
                    found = _ID.search(b"".join(lines))
                    with self._lock:
                        self.taken[found[1].decode() if found else ""] += 1
                    say("250 2.0.0 taken")
                case b"QUIT":
                    say("221 2.0.0 bye")
                    return
                case _:
                    say("250 2.0.0 OK")


def _is_established(client: socket.socket) -> bool:
    try:
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    except OSError:
        return False
    return bool(struct.unpack("B", info[:1])[0] == _ESTABLISHED)


@contextmanager
def counting(address: str, port: int, longest: float = 0.0, seed: int = 1) -> Iterator[CountingReceiver]:
    """A receiver that takes up to ``longest`` seconds for each message."""
    chance = random.Random(seed)
    receiver = CountingReceiver(address, port, lambda: chance.uniform(0, longest))
    try:
        yield receiver
    finally:
        receiver.close()
