"""Small proxies: a SOCKS5 server (RFC 1928) and one that reads the PROXY protocol, which note what they were asked."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from ipaddress import ip_address

from mta.delivery.egress.proxy import proxy_header


@dataclass
class ForwardingProxy:
    """``asked``: where each connection was to lead. ``reply``: of SOCKS5 instead of success."""

    socks: bool
    reply: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    async def start(self) -> int:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = await (self._read_socks(reader, writer) if self.socks else self._read_header(reader))
        if target is None:
            writer.close()
            return
        self.asked.append(target)
        onward_reader, onward_writer = await asyncio.open_connection(*target)
        for source, sink in ((reader, onward_writer), (onward_reader, writer)):
            task = asyncio.create_task(_copy(source, sink))
            self._tasks.add(task)

    async def _read_socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int] | None:
        assert await reader.readexactly(3) == b"\5\1\0"
        writer.write(b"\5\0")
        version, command, _, family = await reader.readexactly(4)
        assert (version, command) == (5, 1)
        address = str(ip_address(await reader.readexactly(4 if family == 1 else 16)))
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        writer.write(bytes((5, self.reply, 0, 1)) + bytes(6))
        return None if self.reply else (address, port)

    async def _read_header(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        head = await reader.readexactly(16)
        (length,) = struct.unpack("!H", head[14:])
        rest = await reader.readexactly(length)
        size = (length - 4) // 2
        source, address = (str(ip_address(rest[n : n + size])) for n in (0, size))
        port = struct.unpack("!H", rest[-2:])[0]
        assert head + rest == proxy_header(source, address, port)
        self.sources.append(source)
        return address, port


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        writer.write(part)
    writer.close()
