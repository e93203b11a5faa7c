"""SIGSTOP of a worker for longer than its lease: others take over, and what it says when it wakes is not believed."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.flow.crash import CONNECTIONS, DOMAINS, LEASE, WORKERS, Standing, seeds, trial

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("seed", seeds())
async def test_stall_a_worker(standing: Standing, seed: int) -> None:
    async with trial(standing, seed) as this:
        async with this.load():
            victim = this.random.choice(standing.service.workers())
            await this.moment()
            os.kill(victim, signal.SIGSTOP)
            this.struck()
            await asyncio.sleep(LEASE + this.random.uniform(3, 5))
            os.kill(victim, signal.SIGCONT)
            await this.moment()
        await this.settle()
        await this.judge(in_flight=DOMAINS * CONNECTIONS // WORKERS)
