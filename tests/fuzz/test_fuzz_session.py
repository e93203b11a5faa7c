"""Any octets in any packets: a session answers in form, ends, and takes the same messages however they were split."""

from __future__ import annotations

import asyncio
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from config.schema import Listener
from mta.smtp_server.connection import Connection
from tests.unit.mta.submission_rig import BEGIN, HELLO, MAIL, MESSAGE, RCPT, FakeTransport, submission

CLOCK = re.compile(rb"(?<=FUTURERELEASE )\d+ [\dTZ:-]+")  # a conversation may end in another second
REPLY = re.compile(rb"(?:\d{3}-[^\r\n]*\r\n)*(?:220|250|354|334|[2-5]\d\d [245]\.\d+\.\d+)[^\r\n]*\r\n")

pieces = st.sampled_from(
    [
        *(HELLO, MAIL, RCPT, b"DATA\r\n", MESSAGE + b".\r\n", b"BDAT 7\r\nA: b\r\n\n", b"BDAT 0 LAST\r\n", b"RSET\r\n"),
        *(BEGIN + b"DATA\r\n" + MESSAGE + b".\r\n", b"BDAT 3 LAST\r\nx\r\n", b"BDAT 99999\r\n", b"BDAT x\r\n"),
        *(b"MAIL FROM:<> HOLDFOR=9 BY=99;RT MT-PRIORITY=-3\r\n", b"MAIL FROM:<> HOLDUNTIL=2026-13-01T00:00:00Z\r\n"),
        *(b"MAIL FROM:<> SIZE=1 RET=FULL\r\n", b"RCPT TO:<x>\r\n", b"RCPT TO:<a@b.example> NOTIFY=NEVER\r\n"),
        *(b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n", b"*\r\n", b"AAAA\r\n", b"STARTTLS\r\n", b"HELO x\r\n", b"QUIT\r\n"),
        *(b"\r\n", b"\n", b"\r", b".", b".\r\n", b"\0", b"x" * 600, b"x" * 13_000, b"\xff\xfe", "ü".encode(), b" "),
    ]
)
streams = st.lists(pieces | st.binary(max_size=8), max_size=25).map(b"".join)


async def converse(stream: bytes, sizes: list[int]) -> tuple[bytes, list[bytes]]:
    """What is answered to ``stream`` in packets of ``sizes``, and the messages taken."""
    async with submission(listeners=[{"tls": "none", "auth_without_tls": "loopback"}], limits={"errors": 8}) as rig:
        listener = Listener(port=0, tls="none", auth_without_tls="loopback")
        session, transport = Connection(rig.listeners._context, listener), FakeTransport()
        session.connection_made(transport)
        await asyncio.sleep(0)
        at = n = 0
        while at < len(stream) and not transport.is_closing():
            size = sizes[n % len(sizes)]
            session.data_received(stream[at : at + size])
            at, n = at + size, n + 1
            await asyncio.sleep(0)
        session.eof_received()
        await transport.closed.wait()
        session.connection_lost(None)
        await session.task
        assert rig.listeners._context.message_budget.used == 0
        return CLOCK.sub(b"", transport.written), [taken.content for taken in rig.taken]


@settings(deadline=None, max_examples=150)
@given(streams, st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_any_octets_in_any_packets(stream: bytes, sizes: list[int]) -> None:
    with capture_logs() as logs:
        at_once = asyncio.run(converse(stream, [len(stream) or 1]))
        in_parts = asyncio.run(converse(stream, sizes))
    assert [line for line in logs if line["log_level"] == "error"] == []
    assert at_once == in_parts
    written, _ = at_once
    assert REPLY.sub(b"", written) == b""
