"""A message over HTTP: committed with 201, delivered at once by a worker, in the log, and after a crash of the web."""

from __future__ import annotations

import asyncio
import os
import signal

from aiohttp import ClientError, ClientSession

from mta.mail.identity import format_id, parse_id
from tests.flow.harness import World, kinds

BODY = {"from": "ann@sender.example", "to": ["bob@example.com"], "subject": "Order 17", "text": "Thanks."}


async def test_sent_over_http_and_delivered_by_a_worker(world: World) -> None:
    await world.start(queue={"poll": "20s"})
    added = ("token", "add", "app", "--role", "account", "--account", "shop")
    token = (await asyncio.to_thread(world.service.cli, *added)).strip()
    url = f"http://127.0.0.1:{world.service.admin_port}/v1/messages"
    async with ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
        async with http.post(url, json=BODY) as answer:
            assert answer.status == 201, await answer.text()
            first = parse_id((await answer.json())["id"])
        async with asyncio.timeout(10):  # a worker is told, and does not wait for its next look
            await world.until_ended(first)
        assert kinds(await world.events(first)) == ["delivered"]
        (receipt,) = world.taken
        assert b"with HTTP id" in receipt.content
        assert b"Thanks." in receipt.content

        os.kill(world.service.state()["web"], signal.SIGKILL)
        async with asyncio.timeout(30):  # the supervisor starts another one; mail goes on meanwhile
            while True:
                try:
                    async with http.post(url, json=BODY) as answer:
                        second = parse_id((await answer.json())["id"])
                        break
                except ClientError:
                    await asyncio.sleep(0.1)
        await world.until_ended(second)
    assert await world.db.fetchval("select count(*) from message") == 2
    await asyncio.to_thread(world.service.stop)
    logged = world.service.events.read_text()
    assert token not in logged + world.service.output()
    assert format_id(second) in logged
