"""The web process killed, stopped and back: mail goes on meanwhile, and requests that waited are answered."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from uuid import UUID

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from tests.flow.harness import World, kinds, message

QUICKLY_REPLACED = {"timeout": "1s", "lease": "3s"}


async def mail_goes_on(world: World, mark: str, count: int = 5) -> list[UUID]:
    """Take messages over SMTP and wait until the receiver has them; their ids."""
    before = len(world.taken)
    accepted = [await world.accept(f"{mark}{n}@example.com", content=message(f"{mark} {n}")) for n in range(count)]
    await world.received(before + count)
    return accepted


def web(world: World) -> int | None:
    return world.service.state()["web"]


def state_of(pid: int) -> str:
    """Return the letter of a process's state: T is stopped."""
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


async def reports(world: World, name: str) -> None:
    """Wait for the next report of a child: before its first one it may be silent for longer."""
    now = time.time()

    async def reported() -> bool:
        state = orjson.loads((world.service.data / "run" / "state.json").read_bytes())
        return any(child["name"] == name and child["seen_at"] > now for child in state["children"])

    await world.until(reported)


async def came_back(world: World, victim: int) -> None:
    async def replaced() -> bool:
        return web(world) not in (None, victim) and await asyncio.to_thread(world.service.is_ready)

    await world.until(replaced)
    await reports(world, "web")


async def test_mail_goes_on_while_the_only_web_process_is_killed_or_stopped(world: World) -> None:
    await world.start(database=QUICKLY_REPLACED)
    workers = world.service.workers()
    accepted = await mail_goes_on(world, "before")

    victim = web(world)
    assert victim
    os.kill(victim, signal.SIGKILL)
    accepted += await mail_goes_on(world, "killed")
    await came_back(world, victim)
    accepted += await mail_goes_on(world, "back")

    victim = web(world)
    assert victim
    os.kill(victim, signal.SIGSTOP)
    health = f"http://127.0.0.1:{world.service.web_port}/healthz"
    async with ClientSession(timeout=ClientTimeout(60)) as http:
        waiting = asyncio.create_task(http.get(health))
        accepted += await mail_goes_on(world, "stopped")
        assert state_of(victim) == "T", "it stood still all the time"
        assert not waiting.done()
        try:
            async with await waiting as answer:  # it waited on the socket, and the successor took it
                assert answer.status == 200
        finally:
            if web(world) == victim:
                os.kill(victim, signal.SIGCONT)
    await came_back(world, victim)
    accepted += await mail_goes_on(world, "again")

    assert world.service.workers() == workers, "no worker was touched"
    for each in accepted:
        await world.until_ended(each)
        assert kinds(await world.events(each)) == ["delivered"]
    assert len(world.taken) == len(accepted), "each once"


async def test_one_of_two_web_processes_stands_still_and_clients_do_not_notice(world: World) -> None:
    await world.start(web={"processes": 2}, database=QUICKLY_REPLACED)
    state = world.service.state()
    assert {"web", "web-1"} <= state.keys()
    victim = state["web-1"]
    assert victim
    await reports(world, "web-1")
    os.kill(victim, signal.SIGSTOP)
    base = f"http://127.0.0.1:{world.service.web_port}"
    async with asyncio.timeout(60):
        for _ in range(20):
            async with ClientSession() as http, http.get(f"{base}/healthz") as answer:
                assert answer.status == 200
    await mail_goes_on(world, "meanwhile")

    async def replaced() -> bool:
        return world.service.state()["web-1"] not in (None, victim)

    await world.until(replaced)
    assert world.service.state()["web"] == state["web"]


async def test_messages_over_http_while_the_web_process_dies_are_sent_once(world: World) -> None:
    """Each has a key, and is repeated until it is answered 201: all are sent, none twice."""
    await world.start()
    arguments = ("token", "add", "app", "--role", "account", "--account", "shop")
    token = (await asyncio.to_thread(world.service.cli, *arguments)).strip()
    url = f"http://127.0.0.1:{world.service.admin_port}/v1/messages"

    async def send(http: ClientSession, n: int) -> None:
        body = {"from": "ann@sender.example", "to": [f"reader{n}@example.com"], "subject": f"No {n}", "text": "Thanks."}
        for _ in range(600):
            try:
                headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"order {n}"}
                async with http.post(url, json=body, headers=headers) as answer:
                    if answer.status == 201:
                        return
                    assert answer.status in (409, 503), await answer.text()
            except ClientError:
                pass
            await asyncio.sleep(0.05)
        raise AssertionError(f"no {n} was never accepted: {world.service.output()}")

    async with ClientSession() as http:
        sending = asyncio.gather(*(send(http, n) for n in range(40)))
        await world.until(lambda: world.db.fetchval("select count(*) > 3 from message"))
        victim = web(world)
        assert victim
        os.kill(victim, signal.SIGKILL)
        await mail_goes_on(world, "meanwhile")
        await came_back(world, victim)
        await world.db.execute("update idempotency set begun_at = begun_at - interval '1 hour' where status is null")
        await sending
    await world.received(45)
    copies = [recipient.address for each in world.taken for recipient in each.recipients]
    wanted = [f"reader{n}@example.com" for n in range(40)] + [f"meanwhile{n}@example.com" for n in range(5)]
    assert sorted(copies) == sorted(wanted)
