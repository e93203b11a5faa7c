"""Read and check the configuration in a process of its own.

To check a file is to compile its rules and to try them, which copies a part of the memory that the supervisor shares
with its children, for as long as it lives. So a forked process does that, and sends what it found.

Invariants: the supervisor waits ``PATIENCE`` seconds at most. A failure of the reader is a mistake like any other.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from config.schema import Settings
from config.toml import ConfigError
from mta.service.config_validation import load_valid
from mta.service.fork_server import ForkServer

MODULE = __name__
PATIENCE = 60.0  # seconds, on a busy machine


@dataclass(frozen=True, slots=True)
class ReadConfig:
    """A configuration that can be used. ``remarks``: what will not work or may surprise, a line each."""

    settings: Settings
    remarks: list[str]


async def read_config(fork_server: ForkServer, path: Path | None) -> ReadConfig:
    """Return what is in the file, or in the shipped one. Raises ConfigError with every mistake."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = await fork_server.start("config", MODULE, [theirs])
        except OSError as error:
            ours.close()
            raise ConfigError([f"the configuration cannot be read: {error}"]) from None
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await _ask(ours, pickle.dumps(path))
    except TimeoutError:
        process.kill()
        raise ConfigError([f"the configuration was not read within {PATIENCE:g} s"]) from None
    if not answer:
        raise ConfigError(["the configuration cannot be read: the process that reads it ended; see the service's log"])
    found: ReadConfig | list[str] = pickle.loads(answer)  # noqa: S301  from our own process, over a socket of its own
    if isinstance(found, list):
        raise ConfigError(found)
    return found


async def _ask(control: socket.socket, request: bytes) -> bytes:
    """Return the answer of the process at the other end, nothing if it ended."""
    reader, writer = await asyncio.open_connection(sock=control)
    try:
        writer.write(request)
        writer.write_eof()
        return await reader.read(-1)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def main(control: socket.socket, _: Sequence[socket.socket]) -> None:
    """Read the file whose path comes over ``control``, and answer."""
    with control, control.makefile("rb") as request:
        path: Path | None = pickle.load(request)  # noqa: S301  from our supervisor
        try:
            valid = load_valid(path)
            found: ReadConfig | list[str] = ReadConfig(valid.settings, valid.remarks)
        except ConfigError as error:
            found = error.lines
        with suppress(ConnectionError):  # the supervisor has ended, or waited long enough
            control.sendall(pickle.dumps(found))
