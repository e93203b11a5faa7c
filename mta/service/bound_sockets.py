"""The listening sockets, bound once and shared by the children: those of SMTP by the workers, those of HTTP by the web
processes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from config.schema import Listener, Settings
from mta.service.control_channel import Sockets
from mta.smtp_server.listener import ListenAddress, ListenError, bind, listen

PORTS_FREE_WITHIN = 3.0  # seconds for the children of a killed supervisor to release its ports

AnyAddress = TypeVar("AnyAddress", bound=ListenAddress)
BoundListeners = list[tuple[Listener, socket.socket]]


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Where the web processes listen."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class BoundSockets:
    """``web``: by section."""

    submission: BoundListeners
    reports: BoundListeners
    web: Mapping[str, tuple[WebAddress, socket.socket]]

    @property
    def of_workers(self) -> tuple[socket.socket, ...]:
        return tuple(sock for _, sock in (*self.submission, *self.reports))

    @property
    def of_web(self) -> tuple[socket.socket, ...]:
        return tuple(sock for _, sock in self.web.values())

    def listen(self) -> None:
        """Let clients connect. Raises OSError."""
        every: Iterable[tuple[ListenAddress, socket.socket]] = (*self.submission, *self.reports, *self.web.values())
        for address, bound in every:
            listen(address, bound)


async def bind_all(settings: Settings, stack: contextlib.AsyncExitStack) -> BoundSockets:
    """Bind a socket for each listener and each port of the web processes; ``stack`` closes them. Raises OSError."""
    end = time.monotonic() + PORTS_FREE_WITHIN

    async def bound(address: AnyAddress) -> tuple[AnyAddress, socket.socket]:
        while True:
            try:
                return address, stack.enter_context(contextlib.closing(bind(address)))
            except ListenError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)

    return BoundSockets(
        [await bound(each) for each in settings.submission.listeners],
        [await bound(each) for each in settings.reports.listeners],
        {name: await bound(address) for name, address in web_addresses(settings).items()},
    )


def web_addresses(settings: Settings) -> dict[str, WebAddress]:
    """Return where the web processes listen, by section."""
    web = settings.web
    found = {"web": WebAddress(web.address, web.port)}
    for name, section in (("web.public", web.public), ("web.admin", web.admin)):
        if section.port is not None:
            found[name] = WebAddress(section.address, section.port)
    return found


def numbered(listeners: BoundListeners, after: int = 0) -> Sockets:
    """Number the sockets in the order in which a child gets them, ``after`` that many others."""
    return tuple((listener, place) for place, (listener, _) in enumerate(listeners, after))
