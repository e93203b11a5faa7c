"""A child for the tests of ``mta.service.child``: reports each message it gets, and ends itself, or asks for a dry run,
when a reload says so by its log level."""

from __future__ import annotations

import asyncio
import os
import socket

from mta.service import control_channel
from mta.service.control_channel import Reload, ReloadRequest, Start


def main(control: socket.socket, _: object) -> None:
    asyncio.run(_answer(control))


async def _answer(control: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=control)
    while (message := await control_channel.receive(reader)) is not None:
        level = message.settings.observe.log_level if isinstance(message, Start | Reload) else None
        control_channel.report(writer, {"message": type(message).__name__, "level": level})
        await writer.drain()
        if isinstance(message, Reload) and level == "warning":
            control_channel.ask(writer, ReloadRequest(1, dry_run=True))
        if isinstance(message, Reload) and level == "error":
            os._exit(7)
    writer.close()
