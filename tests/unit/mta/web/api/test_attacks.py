"""What an attacker of the API must not get: a forged token, a secret a second time, our own network, our memory."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import re
import resource
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mta.http_client import HttpClient, HttpError
from tests.unit.mta.web.api.rig import Api
from tests.unit.mta.web.api.test_contract import filled, operations

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
OWN_NETWORK = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]",
    "0.0.0.0", "localhost", "localhost.", "LOCALHOST", "169.254.169.254", "10.0.0.1", "[fd00::1]", "127.0.0.1\u3002",
    "user:secret@127.0.0.1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def patient(api: Api) -> None:
    """These tests guess more often than a client may."""
    api.port._guesses.configure(1e6, 10**6)


async def test_no_token_is_accepted_that_was_not_made(api: Api) -> None:
    token = api.tokens["operator"]
    forged = [token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in range(len(token))]
    forged += [token[:-1], token[1:], token + "A", token.swapcase(), token.upper(), token[::-1], "imp_", token * 2]
    for text in forged:
        answer = await api.get("/v1/health", by=None, headers={"Authorization": f"Bearer {text}"})
        assert answer.status == 401, text
    assert (await api.get("/v1/health")).status == 200


async def test_a_secret_is_shown_when_it_is_made_and_never_again(api: Api) -> None:
    hook = (await api.post("/v1/webhooks", {"url": "https://h.example/x", "paused": True}, by="shop")).json
    number = hook["webhook"]["id"]
    credential = (await api.post("/v1/credentials", {}, by="shop")).json
    secrets = {
        "token": (await api.post("/v1/tokens", {"name": "once", "role": "operator"})).json["token"],
        "password": credential["secret"],
        "webhook": hook["secret"],
        "rotated": (await api.post(f"/v1/webhooks/{number}/rotate", {}, by="shop")).json["secret"],
    }
    assert all(len(each) >= 20 for each in secrets.values())
    known = {"number": number, "username": credential["username"], "name": "once", "account": "shop"}
    seen = 0
    for path, method, _ in operations():
        if method != "GET":
            continue
        target = re.sub(r"\{([^}]+)\}", lambda match: str(known.get(match[1], "shop")), path)
        for by in ("operator", "shop"):
            for kind in ("application/json", "text/csv"):
                answer = await api.get(target, by=by, headers={"Accept": kind})
                seen += answer.status == 200
                shown = [name for name, secret in secrets.items() if secret in answer.text]
                assert not shown, (by, target, shown)
                assert "PRIVATE KEY" not in answer.text, target
    assert seen > 60


@pytest.mark.parametrize("host", OWN_NETWORK)
async def test_no_webhook_reaches_our_own_network(api: Api, host: str) -> None:
    """Either it is refused when it is made, or nothing is connected to."""
    connected: list[Any] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer.get_extra_info("peername"))
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as trap:
        port = trap.sockets[0].getsockname()[1]
        url = f"https://{host}:{port}/"
        answer = await api.post("/v1/webhooks", {"url": url, "paused": True}, by="shop")
        assert answer.status in (201, 409, 422), answer.text
        if answer.status == 201:
            client = HttpClient(timeout=5)
            try:
                with pytest.raises(HttpError):
                    await client.post(url, b"{}", ())
            finally:
                await client.close()
    assert connected == []


NESTED = b'{"a":' * 100_000
BOMBS = {
    "nested objects": NESTED,
    "nested lists": b"[" * 500_000,
    "nested lists that end": b"[" * 100_000 + b"]" * 100_000,
    "a long number": b'{"limit": ' + b"9" * 500_000 + b"}",
    "an endless exponent": b'{"limit": 1e999999999}',
    "many fields": b"{" + b",".join(b'"f%d":1' % n for n in range(60_000)) + b"}",
    "one field many times": b'{"reason":"x"' + b',"reason":"x"' * 60_000 + b"}",
    "no text at all": bytes(range(256)) * 1000,
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_no_body_is_a_bomb(api: Api, bomb: str) -> None:
    """No operation makes a fault of it, a long answer, or much memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path, method, operation in operations():
        if method != "GET" and "requestBody" in operation:
            kind = {"Content-Type": "application/json"}
            answer = await api.ask(method, filled(path, "1"), data=BOMBS[bomb], headers=kind)
            assert answer.status < 500, (path, answer)
            assert len(answer.text) < 20_000, path
            gc.collect(1)  # what one leaves is not the next one's
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


async def test_nothing_is_unpacked(api: Api) -> None:
    """A body in gzip of 200 MB is as long as it is sent, and no JSON."""
    packed = await asyncio.to_thread(gzip.compress, b" " * (200 * MIB))
    assert len(packed) < MIB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in ("/v1/messages", "/v1/suppressions", "/v1/webhooks"):
        fields = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        answer = await api.ask("POST", path, data=packed, headers=fields)
        assert 400 <= answer.status < 500, (path, answer.text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


async def test_a_body_that_does_not_say_its_length_is_bounded_too(api: Api) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 * MIB:
            sent += 64 * 1024
            yield b"x" * 64 * 1024

    try:
        answer = await api.ask("POST", "/v1/suppressions", data=endless())
    except (ConnectionError, OSError):  # closed while we were still sending
        pass
    else:
        assert answer.status == 413
    assert sent < 32 * MIB, "the server stopped reading"


async def test_a_message_of_attachments_is_bounded(api: Api) -> None:
    limit = api.sender.limits.message_size
    body = {
        "from": "news@shop.example", "to": ["ann@example.net"], "subject": "x", "text": "y",
        "attachments": [{"filename": "a", "content": "QUFB" * (limit // 3 + 1)}],
    }  # fmt: skip
    answer = await api.ask("POST", "/v1/messages", data=json.dumps(body), headers={"Content-Type": "application/json"},
                           by="shop")  # fmt: skip
    assert answer.status in (413, 422), answer.text[:300]
    assert api.sender.budget.used == 0, "what was reserved is free again"
