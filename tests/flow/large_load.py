"""Clients that all send one large message at once, in a process of their own; prints the replies' codes as JSON.

python -m tests.flow.large_load PORT COUNT OCTETS RECIPIENT
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator

HEADER = (
    b"From: ann@sender.example\r\nTo: <%s>\r\nSubject: large %d\r\nDate: Mon, 3 Mar 2025 09:30:00 +0000\r\n"
    b"Message-ID: <large-%d@sender.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\n\r\nSee the file.\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
)


def pieces(recipient: bytes, number: int, octets: int) -> Iterator[bytes]:
    block = (base64.b64encode(os.urandom(57)) + b"\r\n") * 800
    yield HEADER % (recipient, number, number)
    for _ in range(octets // len(block)):
        yield block
    yield b"--b--\r\n.\r\n"


async def send(port: int, number: int, octets: int, recipient: bytes) -> str:
    """Return the code of the last reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def reply() -> str:
        while (line := await reader.readline())[3:4] == b"-":
            pass
        return line[:3].decode()

    code = await reply()
    for command in (b"EHLO load.example", b"MAIL FROM:<ann@sender.example>", b"RCPT TO:<%s>" % recipient, b"DATA"):
        writer.write(command + b"\r\n")
        if (code := await reply())[:1] not in "23":
            return code
    for piece in pieces(recipient, number, octets):
        writer.write(piece)
        await writer.drain()
    code = await reply()
    writer.close()
    return code


async def main(port: int, count: int, octets: int, recipient: str) -> None:
    codes = await asyncio.gather(*(send(port, number, octets, recipient.encode()) for number in range(count)))
    print(json.dumps(Counter(codes)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
