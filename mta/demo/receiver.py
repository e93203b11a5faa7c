"""The demo's SMTP receiver. It accepts all mail, except where the recipient's local part asks for something else.

    grey...     451 at the first attempt           unknown...  550, no such user
    full...     452, mailbox full                  blocked...  554, rejected by policy
    slow...     answers RCPT after two seconds     busy...     421, closes the connection
    spam...     550 after the message              later...    451 after the message
    lost...     closes the connection without a reply to the message

Invariants: A message is recorded before it is answered with 250.
Limitations: For a handful of connections: each has a thread.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import ssl
import threading
import time
from dataclasses import dataclass

TIMEOUT = 120.0  # seconds for the client's next line
MAX_LINE = 64 * 1024  # bytes

_PATH = re.compile(rb"(?i)(?:MAIL FROM|RCPT TO):\s?<([^<>]*)>")
_RCPT = {
    "unknown": "550 5.1.1 no such user here",
    "full": "452 4.2.2 mailbox full",
    "blocked": "554 5.7.1 message refused by policy",
    "busy": "421 4.3.2 too busy, closing",
}
_END = {"spam": "550 5.7.1 message content rejected", "later": "451 4.3.0 try again later", "lost": ""}
_SLOW = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that was accepted. ``tls``: the protocol version, None for plain text."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    tls: str | None

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


class DemoReceiver:
    """Listens on one or more addresses, at the same port. ``accepted``: all messages, in order."""

    def __init__(self, name: str, tls: ssl.SSLContext) -> None:
        self.name, self.tls = name, tls
        self.accepted: list[ReceivedMessage] = []
        self._greylisted: set[str] = set()
        self._servers: list[_ReceiverServer] = []

    def start(self, address: str, port: int = 0) -> int:
        """Listen on ``address``; return the port, a free one for 0. Raises OSError."""
        server = _ReceiverServer((address, port), self)
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, name=f"demo-smtp-{address}", daemon=True).start()
        return int(server.server_address[1])

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def reply_to_recipient(self, address: str) -> str:
        local = address.lower().partition("@")[0]
        if local.startswith("grey") and address not in self._greylisted:
            self._greylisted.add(address)
            return "451 4.7.1 greylisted, please try again later"
        if local.startswith("slow"):
            time.sleep(_SLOW)
        return next((reply for prefix, reply in _RCPT.items() if local.startswith(prefix)), "250 2.1.5 recipient ok")

    def reply_to_message(self, message: ReceivedMessage) -> str:
        for recipient in message.recipients:
            for prefix, reply in _END.items():
                if recipient.lower().startswith(prefix):
                    return reply
        self.accepted.append(message)
        return "250 2.0.0 accepted"


class _ReceiverServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], receiver: DemoReceiver) -> None:
        self.receiver = receiver
        super().__init__(address, _Session)


class _Session(socketserver.StreamRequestHandler):
    """One connection."""

    server: _ReceiverServer
    timeout = TIMEOUT
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._connection: socket.socket = self.request
        self._tls: str | None = None
        self._reset()

    def _reset(self) -> None:
        self._sender: str | None = None
        self._recipients: list[str] = []

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone; ssl.SSLError and timeouts too
            self._say(f"220 {self.server.receiver.name} ESMTP")
            while line := self.rfile.readline(MAX_LINE):
                if not self._command(line.rstrip(b"\r\n")):
                    break

    def _command(self, line: bytes) -> bool:
        """Answer one command. Return False to close the connection."""
        match line[:4].upper():
            case b"EHLO" | b"HELO":
                self._reset()
                offers = ["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 52428800", "ENHANCEDSTATUSCODES"]
                lines = [self.server.receiver.name, *offers, *([] if self._tls else ["STARTTLS"])]
                self._say(*(f"250-{text}" for text in lines[:-1]), f"250 {lines[-1]}")
            case b"STAR" if not self._tls:
                self._say("220 2.0.0 ready to start TLS")
                self._start_tls()
            case b"MAIL" if (path := _PATH.match(line)) and self._sender is None:
                self._sender = path[1].decode("utf-8", "replace")
                self._say("250 2.1.0 sender ok")
            case b"RCPT" if (path := _PATH.match(line)) and self._sender is not None:
                recipient = path[1].decode("utf-8", "replace")
                reply = self.server.receiver.reply_to_recipient(recipient)
                if reply.startswith("250"):
                    self._recipients.append(recipient)
                self._say(reply)
                return not reply.startswith("421")
            case b"DATA" if self._recipients:
                self._say("354 end with a dot")
                return self._message()
            case b"RSET":
                self._reset()
                self._say("250 2.0.0 ok")
            case b"NOOP":
                self._say("250 2.0.0 ok")
            case b"QUIT":
                self._say("221 2.0.0 bye")
                return False
            case b"STAR" | b"MAIL" | b"RCPT" | b"DATA":
                self._say("503 5.5.1 bad sequence of commands")
            case _:
                self._say("500 5.5.2 command not recognized")
        return True

    def _message(self) -> bool:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return False
            lines.append(line.removeprefix(b"."))
        message = ReceivedMessage(self._sender or "", tuple(self._recipients), b"".join(lines), self._tls)
        self._reset()
        reply = self.server.receiver.reply_to_message(message)
        if reply:
            self._say(reply)
        return bool(reply)

    def _start_tls(self) -> None:
        """Raises OSError (ssl.SSLError) if the handshake fails."""
        encrypted = self.server.receiver.tls.wrap_socket(self._connection, server_side=True)
        self._connection, self._tls = encrypted, encrypted.version()
        self.rfile, self.wfile = encrypted.makefile("rb"), encrypted.makefile("wb")
        self._reset()

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())
        self.wfile.flush()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self._connection.close()
