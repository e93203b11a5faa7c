"""kill -9 of one worker under load: what it held goes to the others, or to its successor."""

from __future__ import annotations

import os
import signal

import pytest

from tests.flow.crash import Standing, seeds, trial

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("seed", seeds())
async def test_kill_a_worker(standing: Standing, seed: int) -> None:
    async with trial(standing, seed) as this:
        async with this.load():
            await this.moment()
            os.kill(this.random.choice(standing.service.workers()), signal.SIGKILL)
            this.struck()
            await this.moment()
        await this.settle()
        await this.judge()
