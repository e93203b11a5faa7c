"""Small parts of ASGI applications: bounded bodies, header fields of every response."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

CLOSE = {"Connection": "close"}  # what a client still sends of a body that was refused is not read


class ClientGone(Exception):
    """The client went away before its request was complete."""


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """Return the body of a request; None if it is longer than ``limit``, then the rest is not read.

    Raises ClientGone.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives ``body`` first."""
    given = False

    async def again() -> AsgiMessage:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def with_headers(send: Send, headers: Mapping[str, str], *, own_first: bool = False) -> Send:
    """Return a ``send`` that sets ``headers`` in the response, in place of its own of the same name; with ``own_first``
    only those that it has not set itself."""
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    names = {name for name, _ in encoded}

    async def send_with(message: AsgiMessage) -> None:
        if message["type"] == "http.response.start":
            own: Iterable[tuple[bytes, bytes]] = message.get("headers", ())
            if own_first:
                has = {name.lower() for name, _ in own}
                message["headers"] = [*own, *(each for each in encoded if each[0] not in has)]
            else:
                message["headers"] = [*(each for each in own if each[0].lower() not in names), *encoded]
        await send(message)

    return send_with


def where(error: BaseException) -> list[str]:
    """Return the last places of a traceback without the text of the exception, which can contain a token."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


async def respond(
    send: Send, status: int, body: bytes = b"", content_type: str = "text/plain", headers: Mapping[str, str] = {}
) -> None:
    """Send a response without any framework. ``headers``: their names in lower case."""
    given = {"content-type": content_type, "content-length": str(len(body)), **headers}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def send_unavailable(send: Send, seconds: int) -> None:
    """Answer that the service cannot serve the request now."""
    await respond(send, 503, b"not available now\n", headers={"retry-after": str(seconds)})
