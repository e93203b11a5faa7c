"""How long a client waits for its 250 at half load while workers are killed: percentiles of the accepted messages."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

from tests.faults.clients import Clients
from tests.faults.trial import Trial, stand, trial
from tests.flow.harness import open_directory

CLIENTS = 8
FULL = 6.0  # seconds in which the full load is measured
KILLS = 3


async def measure(seconds: float, seed: int) -> dict[str, float]:
    """Kill a worker three times in ``seconds`` at half of the load that this machine takes; what the clients saw."""
    with open_directory() as directory:
        standing = await asyncio.to_thread(stand, directory)
        try:
            async with trial(standing, seed, "latency") as this:
                full = await _rate(this, seed, 0.0, FULL)
                pause = 2 * CLIENTS / full - CLIENTS / full  # a client's own work takes the other half of its time
                clients = Clients(standing.service.port, seed, CLIENTS, pause)
                kills = asyncio.create_task(_kill(this, seconds))
                async with clients.load():
                    await asyncio.sleep(seconds)
                await kills
                this.clients = clients
                this.ended()
                await this.settle()
                waits = sorted(one.seconds for one in clients.accepted.values())
        finally:
            await asyncio.to_thread(standing.service.stop)
    return {
        "messages_per_second_at_full_load": round(full, 1),
        "messages_per_second": round(len(waits) / seconds, 1),
        "messages": len(waits),
        "kills": KILLS,
        "lost_connections": sum(one.reply == "" for one in clients.submissions.values()),
        "p50": _at(waits, 0.5),
        "p99": _at(waits, 0.99),
        "p99.9": _at(waits, 0.999),
        "most": round(waits[-1], 4),
    }


def _at(waits: list[float], share: float) -> float:
    return round(waits[min(len(waits) - 1, int(share * len(waits)))], 4)


async def _rate(this: Trial, seed: int, pause: float, seconds: float) -> float:
    clients = Clients(this.standing.service.port, seed + 1, CLIENTS, pause)
    began = time.monotonic()
    async with clients.load():
        await asyncio.sleep(seconds)
    return len(clients.accepted) / (time.monotonic() - began)


async def _kill(this: Trial, seconds: float) -> None:
    chance = random.Random(this.seed)
    for _ in range(KILLS):
        await asyncio.sleep(seconds / (KILLS + 1))
        os.kill(chance.choice(this.standing.service.workers()), signal.SIGKILL)
