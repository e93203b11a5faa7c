"""``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header): a POST that is repeated changes nothing again.

Invariants: of several processes one runs the request. What may be tried again (429, 5xx, what its handler calls
``unfinished``) is not stored, nor is a result over MAX_RESULT: the repetition takes over, and finds the messages that
were queued.
Limitations: a body with a key is held in memory. Results are kept for three days.
"""

from __future__ import annotations

import hashlib

from mta.store.journal.idempotency import Recorded
from mta.store.store import Store
from mta.web.api import problems
from mta.web.asgi import Asgi, AsgiMessage, Receive, Scope, Send, replayed

HEADER = "idempotency-key"
MAX_KEY = 200  # characters
MAX_RESULT = 1024 * 1024  # octets of a result that is stored
_KEPT = frozenset({"content-type", "location", "retry-after", "link"})


async def run_once(
    store: Store, token_id: int, key: str, app: Asgi, scope: Scope, body: bytes, receive: Receive, send: Send
) -> None:
    """Run ``app``, or answer as it did when the same request was made before. Raises StoreUnavailable, and what ``app``
    raises."""
    if not key.isascii() or not key.isprintable() or len(key) > MAX_KEY:
        wrong = problems.problem(400, f"Idempotency-Key: 1 to {MAX_KEY} printable characters")
        return await wrong(scope, receive, send)
    line = f"{scope['method']} {scope['path']}?{scope['query_string'].decode('latin-1')}\n".encode()
    claim = await store.idempotency.claim(token_id, key, hashlib.sha256(line + body).digest())
    if isinstance(claim, Recorded):
        return await _repeated(claim, scope, receive, send)
    scope["state"]["session"] = session_of(token_id, key)
    scope["state"]["first_at"] = claim.first_at
    return await _run(store, token_id, key, app, scope, body, receive, send)


def session_of(token_id: int, key: str) -> str:
    """Return the session that messages of a request carry, so that they are found again."""
    return f"api-{hashlib.sha256(f'{token_id} {key}'.encode()).hexdigest()[:16]}"


async def _repeated(recorded: Recorded, scope: Scope, receive: Receive, send: Send) -> None:
    if not recorded.is_same:
        return await problems.problem(422, "Idempotency-Key was used for another request")(scope, receive, send)
    if recorded.status is None:
        running = problems.problem(409, "the request with this Idempotency-Key runs", headers={"Retry-After": "5"})
        return await running(scope, receive, send)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in recorded.headers]
    headers += [(b"content-length", b"%d" % len(recorded.body)), (b"idempotency-replayed", b"true")]
    await send({"type": "http.response.start", "status": recorded.status, "headers": headers})
    return await send({"type": "http.response.body", "body": recorded.body})


async def _run(
    store: Store,
    token_id: int,
    key: str,
    app: Asgi,
    scope: Scope,
    body: bytes,
    receive: Receive,
    send: Send,
) -> None:
    status, headers, result = 500, list[tuple[str, str]](), bytearray()

    async def recorded(message: AsgiMessage) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            fields = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in message["headers"]]
            headers = [(name, value) for name, value in fields if name in _KEPT]
        elif len(result) <= MAX_RESULT:
            result.extend(message.get("body", b""))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            await _store()  # before the client hears of it
        await send(message)

    async def _store() -> None:
        unfinished = status == 429 or status >= 500 or scope["state"].get("unfinished", False)
        if unfinished or len(result) > MAX_RESULT:
            await store.idempotency.free(token_id, key)
        else:
            await store.idempotency.end(token_id, key, status, headers, bytes(result))

    try:
        await app(scope, replayed(body, receive), recorded)
    except BaseException:
        await store.idempotency.free(token_id, key)
        raise
