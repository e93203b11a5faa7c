"""An SMTP receiver that follows a script: the far end of the demo and of the flow tests.

It is friendly and fast (thousands of messages a second) until a rule of its ``Script`` says otherwise: reject, delay,
drip, garble, hang, close. What it was told and accepted is in its ``Ledger``.

    receiver = Receiver(Script(rules=MANNERS))
    port = await receiver.start("127.0.0.2")

Invariants: A message is recorded before it is answered with 250.
Limitations: It does not judge its client: bad syntax gets a 5xx and no more.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from mta.testing.script import (
    FRIENDLY,
    AfterReply,
    EnvelopePath,
    Ledger,
    Receipt,
    ReceiverStage,
    Script,
    ScriptedReply,
    ScriptRule,
)

MAX_LINE = 65536  # octets of one command

_PATH = re.compile(rb'(?i)(?:MAIL FROM|RCPT TO):[ ]?<((?:"(?:[^"\\]|\\.)*"|[^<>"])*)>(?: +(.*))?\Z')
_BDAT = re.compile(rb"(?i)BDAT (\d{1,12})( LAST)?\Z")


class ReceiverSession(asyncio.Protocol):
    """One connection: a command, or a piece of a message, at a time."""

    def __init__(
        self, script: Script, ledger: Ledger, sessions: set[ReceiverSession], hits: Counter[tuple[ScriptRule, str]]
    ) -> None:
        self._script = script
        self._ledger = ledger
        self._sessions = sessions
        self._hits = hits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._busy = False  # an act that takes time is going on
        self._task: asyncio.Task[None] | None = None
        self._tls: str | None = None
        self._hello = ""
        self._login: str | None = None
        self._dialogue: Callable[[bytes], None] | None = None  # takes the next line instead of a command (AUTH)
        self._number = 0
        self._reset()

    def _reset(self) -> None:
        self._sender: EnvelopePath | None = None
        self._recipients: list[EnvelopePath] = []
        self._in_data = False
        self._searched = 0  # octets of the buffer in which there is no final dot
        self._chunk: tuple[int, bool] | None = None  # octets of BDAT still to come, and whether it is the last
        self._chunks: list[bytes] = []
        self._body_seen = False

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._sessions.add(self)
        self._number = self._ledger.opened()
        self._client = str(transport.get_extra_info("peername")[0])
        self._address = str(transport.get_extra_info("sockname")[0])
        self._note_tls()
        self._perform(ReceiverStage.CONNECT, f"220 {self._script.name} ESMTP\r\n".encode())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._run()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._busy = True
        if self._task:
            self._task.cancel()
        self._sessions.discard(self)
        self._ledger.closed()

    def cut(self) -> None:
        if self._transport:
            self._transport.abort()

    def _flush(self) -> None:
        if self._out and self._transport:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _run(self) -> None:
        """Take what has come, piece by piece, and answer it all in one write."""
        while not self._busy and self._buffer and self._take():
            if self._script.forgets_pipelined and not (self._in_data or self._chunk):
                self._buffer.clear()
        self._flush()

    def _take(self) -> bool:
        """One command or piece of a message. False: more octets are needed."""
        if self._in_data:
            return self._take_message()
        if self._chunk:
            return self._take_chunk(*self._chunk)
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > MAX_LINE:
                self._buffer.clear()
                self._out.append(b"500 5.5.2 line too long\r\n")
            return False
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        self._ledger.heard(self._number, line)
        if self._dialogue:
            take, self._dialogue = self._dialogue, None
            take(line)
        else:
            verb = line[:4].upper()
            _VERBS.get(verb.rstrip(), ReceiverSession._unknown)(self, line)
        return True

    # --- doing what the script says

    def _perform(self, stage: ReceiverStage, usual: bytes, then: Callable[[bytes], None] | None = None) -> None:
        """Answer with ``usual``, or do what the script wants instead; go on with ``then(what was said)``."""
        who = [self._client] if stage is ReceiverStage.CONNECT else [each.address for each in self._recipients]
        self._do(self._act(stage, who), usual, then)

    def _act(self, stage: ReceiverStage, recipients: Sequence[str]) -> ScriptedReply:
        """What the script wants now; counts the hit."""
        if not self._script.rules or not (found := self._script.rule(stage, recipients)):
            return FRIENDLY
        hit = self._hits[found]
        self._hits[found] += 1
        self._ledger.changed()
        return found[0].acts[min(hit, len(found[0].acts) - 1)]

    def _do(
        self,
        act: ScriptedReply,
        usual: bytes,
        then: Callable[[bytes], None] | None = None,
        before: Callable[[bytes], None] | None = None,
    ) -> None:
        reply = usual if act.reply is None else act.reply
        if act.end is AfterReply.STAY and not act.wait and not act.pace:
            if before:
                before(reply)
            self._out.append(reply)
            if then:
                then(reply)
            return
        self._busy = True
        self._flush()
        self._task = asyncio.create_task(self._do_slowly(act, reply, then, before))

    async def _do_slowly(
        self,
        act: ScriptedReply,
        reply: bytes,
        then: Callable[[bytes], None] | None,
        before: Callable[[bytes], None] | None,
    ) -> None:
        transport = self._transport
        if transport is None:
            return
        await asyncio.sleep(act.wait)
        if before:
            before(reply)
        if act.pace:
            for octet in reply:
                transport.write(bytes([octet]))
                await asyncio.sleep(act.pace)
        else:
            transport.write(reply)
        match act.end:
            case AfterReply.STAY:
                self._busy = False
                if then:
                    then(reply)
                if not self._busy:
                    self._run()
            case AfterReply.CLOSE:
                transport.close()
            case AfterReply.RESET:
                linger = struct.pack("ii", 1, 0)
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                transport.abort()
            case AfterReply.HANG:
                pass
            case AfterReply.DEAF:
                transport.pause_reading()
            case AfterReply.FLOOD:
                while not transport.is_closing():
                    await asyncio.sleep(0)
                    if not transport.get_write_buffer_size():
                        transport.write(reply)

    # --- commands

    def _unknown(self, line: bytes) -> None:
        self._out.append(b"500 5.5.2 what?\r\n")

    def _ehlo(self, line: bytes) -> None:
        self._reset()
        self._hello = line[5:].decode("utf-8", "backslashreplace")
        extensions = list(self._script.extensions)
        if self._script.tls and not self._tls:
            extensions.append("STARTTLS")
        if self._script.logins:
            extensions.append(f"AUTH {self._script.mechanisms}")
        if line[:4].upper() == b"HELO":
            extensions = []
        lines = [self._script.name, *extensions]
        usual = "".join(f"250{'-' if n < len(lines) else ' '}{text}\r\n" for n, text in enumerate(lines, 1))
        self._perform(ReceiverStage.HELLO, usual.encode())

    def _starttls(self, line: bytes) -> None:
        if self._script.tls is None or self._tls:
            self._out.append(b"503 5.5.1 no\r\n")
        else:
            self._perform(ReceiverStage.STARTTLS, b"220 2.0.0 go ahead\r\n", self._begin_tls)

    def _begin_tls(self, said: bytes) -> None:
        if said.startswith(b"220"):
            self._busy = True
            self._flush()
            self._task = asyncio.create_task(self._upgrade())

    async def _upgrade(self) -> None:
        context = self._script.tls
        if self._transport is None or context is None:
            return
        self._buffer.clear()
        try:
            self._transport = await self._loop.start_tls(self._transport, self, context, server_side=True)
        except OSError:  # the client gave up; ssl.SSLError is one too
            self.cut()
            return
        self._reset()
        self._note_tls()
        self._busy = False
        self._run()

    def _note_tls(self) -> None:
        ssl_object = self._transport.get_extra_info("ssl_object") if self._transport else None
        self._tls = ssl_object.version() if ssl_object else None

    def _auth(self, line: bytes) -> None:
        words = line.split()
        match [word.upper() for word in words[1:2]]:
            case [b"PLAIN"] if len(words) == 3:
                self._finish_plain(words[2])
            case [b"PLAIN"]:
                self._dialogue = self._finish_plain
                self._out.append(b"334 \r\n")
            case [b"LOGIN"]:
                self._dialogue = self._take_login
                self._out.append(b"334 VXNlcm5hbWU6\r\n")
            case _:
                self._out.append(b"504 5.5.4 unknown mechanism\r\n")

    def _finish_plain(self, line: bytes) -> None:
        _, username, password = [*_decode(line).split("\0"), "", "", ""][:3]
        self._finish_auth(username, password)

    def _take_login(self, line: bytes) -> None:
        self._dialogue = lambda password: self._finish_auth(_decode(line), _decode(password))
        self._out.append(b"334 UGFzc3dvcmQ6\r\n")

    def _finish_auth(self, username: str, password: str) -> None:
        if self._script.logins.get(username) == password:
            self._login = username
            self._perform(ReceiverStage.AUTH, b"235 2.7.0 welcome\r\n")
        else:
            self._perform(ReceiverStage.AUTH, b"535 5.7.8 wrong user name or password\r\n")

    def _mail(self, line: bytes) -> None:
        match = _PATH.match(line)
        if self._sender:
            self._out.append(b"503 5.5.1 one sender is enough\r\n")
        elif not match:
            self._out.append(b"501 5.5.4 MAIL FROM:<address>\r\n")
        else:
            sender = _mailbox(match)
            self._perform(ReceiverStage.MAIL, b"250 2.1.0 sender ok\r\n", lambda said: self._set_sender(sender, said))

    def _set_sender(self, sender: EnvelopePath, said: bytes) -> None:
        if said.startswith(b"2"):
            self._sender = sender

    def _rcpt(self, line: bytes) -> None:
        match, limit = _PATH.match(line), self._script.max_recipients
        if not self._sender:
            self._out.append(b"503 5.5.1 MAIL first\r\n")
        elif not match:
            self._out.append(b"501 5.5.4 RCPT TO:<address>\r\n")
        elif limit is not None and len(self._recipients) >= limit:
            self._out.append(b"452 4.5.3 too many recipients\r\n")
        else:
            recipient = _mailbox(match)
            act = self._act(ReceiverStage.RCPT, [recipient.address])
            self._do(act, b"250 2.1.5 recipient ok\r\n", lambda said: self._add_recipient(recipient, said))

    def _add_recipient(self, recipient: EnvelopePath, said: bytes) -> None:
        if said.startswith(b"2") or not said:
            self._recipients.append(recipient)

    def _data(self, line: bytes) -> None:
        usual = b"354 end with a dot\r\n" if self._recipients else b"554 5.5.1 no valid recipients\r\n"
        self._perform(ReceiverStage.DATA, usual, self._begin_message)

    def _begin_message(self, said: bytes) -> None:
        self._in_data = said.startswith(b"354") or not said

    def _bdat(self, line: bytes) -> None:
        match = _BDAT.match(line)
        if not match:
            self._out.append(b"501 5.5.4 BDAT octets [LAST]\r\n")
            return
        self._chunk = (int(match[1]), match[2] is not None)
        if match[1] == b"0":
            self._take_chunk(0, match[2] is not None)

    def _rset(self, line: bytes) -> None:
        self._reset()
        self._perform(ReceiverStage.RSET, b"250 2.0.0 forgotten\r\n")

    def _noop(self, line: bytes) -> None:
        self._out.append(b"250 2.0.0 ok\r\n")

    def _quit(self, line: bytes) -> None:
        self._perform(ReceiverStage.QUIT, b"221 2.0.0 bye\r\n", lambda said: self._close())

    def _close(self) -> None:
        self._flush()
        if self._transport:
            self._transport.close()

    # --- messages

    def _body_begins(self) -> bool:
        """True if a rule took over at the message's first octets."""
        if self._body_seen:
            return False
        self._body_seen = True
        self._perform(ReceiverStage.BODY, b"")
        return self._busy

    def _take_message(self) -> bool:
        if self._script.rules and self._body_begins():
            return True
        if self._buffer.startswith(b".\r\n"):
            end, rest = 0, 3
        else:
            end = self._buffer.find(b"\r\n.\r\n", self._searched) + 2
            rest = end + 3
            if end < 2:
                self._searched = max(0, len(self._buffer) - 4)
                return False
        raw = bytes(self._buffer[:end])
        del self._buffer[:rest]
        self._in_data = False
        self._searched = 0
        self._finish_message(raw, chunked=False)
        return True

    def _take_chunk(self, octets: int, last: bool) -> bool:
        if self._script.rules and self._body_begins():
            return True
        if len(self._buffer) < octets:
            return False
        self._chunks.append(bytes(self._buffer[:octets]))
        del self._buffer[:octets]
        self._chunk = None
        if not last:
            self._out.append(b"250 2.0.0 more\r\n")
        else:
            self._finish_message(b"".join(self._chunks), chunked=True)
        return True

    def _finish_message(self, raw: bytes, *, chunked: bool) -> None:
        if self._sender is None or not self._recipients:
            self._reset()
            self._out.append(b"554 5.5.1 no valid recipients\r\n")
            return
        receipt = Receipt(
            self._number, self._client, self._address, self._hello, self._tls, self._login,
            self._sender, tuple(self._recipients), raw, chunked, time.time(),
        )  # fmt: skip
        self._ledger.got(receipt)
        act = self._act(ReceiverStage.END, receipt.addresses)
        if pacer := self._script.pacer:
            now = self._loop.time()
            act = replace(act, wait=act.wait + pacer.turn(now) - now)
        self._do(act, b"250 2.0.0 taken\r\n", before=lambda answer: self._ledger.answering(receipt, answer))
        self._reset()


_VERBS: dict[bytes, Callable[[ReceiverSession, bytes], None]] = {
    b"EHLO": ReceiverSession._ehlo,
    b"HELO": ReceiverSession._ehlo,
    b"STAR": ReceiverSession._starttls,
    b"AUTH": ReceiverSession._auth,
    b"MAIL": ReceiverSession._mail,
    b"RCPT": ReceiverSession._rcpt,
    b"DATA": ReceiverSession._data,
    b"BDAT": ReceiverSession._bdat,
    b"RSET": ReceiverSession._rset,
    b"NOOP": ReceiverSession._noop,
    b"QUIT": ReceiverSession._quit,
}


def _mailbox(match: re.Match[bytes]) -> EnvelopePath:
    parameters = match[2].decode("utf-8", "backslashreplace").split() if match[2] else ()
    return EnvelopePath(match[1].decode("utf-8", "backslashreplace"), tuple(parameters))


def _decode(line: bytes) -> str:
    with contextlib.suppress(binascii.Error, UnicodeDecodeError):
        return base64.b64decode(line, validate=True).decode()
    return ""


class Receiver:
    """``script`` may be exchanged; sessions that are open keep theirs."""

    def __init__(self, script: Script | None = None, ledger: Ledger | None = None) -> None:
        self.script = script or Script()
        self.ledger = ledger or Ledger()
        self._hits: Counter[tuple[ScriptRule, str]] = Counter()
        self._sessions: set[ReceiverSession] = set()
        self._servers: list[asyncio.Server] = []

    async def start(self, address: str = "127.0.0.1", port: int = 0) -> int:
        """Listen there too; the port (0: a free one is chosen). Raises OSError."""
        server = await asyncio.get_running_loop().create_server(
            lambda: ReceiverSession(self.script, self.ledger, self._sessions, self._hits),
            address,
            port,
            backlog=4096,
            ssl=self.script.tls if self.script.implicit_tls else None,
        )
        self._servers.append(server)
        return cast(int, server.sockets[0].getsockname()[1])

    def hits(self, stage: ReceiverStage) -> int:
        """How often rules for ``stage`` have applied."""
        return sum(count for (rule, _), count in self._hits.items() if rule.stage is stage)

    async def stop(self) -> None:
        """Stop listening and cut every session off."""
        for server in self._servers:
            server.close()
        for session in list(self._sessions):
            session.cut()
        self.ledger.close()
