"""kill -9 of everything at once, PostgreSQL included: the next start picks up where it ended."""

from __future__ import annotations

import asyncio

import pytest

from tests.flow.crash import Standing, seeds, trial

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("seed", seeds())
async def test_kill_everything(standing: Standing, seed: int) -> None:
    async with trial(standing, seed) as this:
        async with this.load():
            await this.moment()
            await asyncio.to_thread(standing.service.kill_everything)
            this.struck()
            await asyncio.to_thread(standing.service.start)
            await this.moment()
        await this.settle()
        await this.judge()
