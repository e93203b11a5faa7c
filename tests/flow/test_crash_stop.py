"""SIGTERM under load: what runs is finished, what waits is kept, and nothing is sent twice."""

from __future__ import annotations

import asyncio

import pytest

from tests.flow.crash import Standing, seeds, trial

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("seed", seeds())
async def test_stop_in_order(standing: Standing, seed: int) -> None:
    async with trial(standing, seed) as this:
        async with this.load():
            await this.moment()
            assert await asyncio.to_thread(standing.service.stop) == 0
            this.struck()
        await asyncio.to_thread(standing.service.start)
        await this.settle()
        await this.judge(duplicates_allowed=False)
