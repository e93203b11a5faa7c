"""kill -9 of PostgreSQL under load: clients get 451 until it is back, which needs nobody's help."""

from __future__ import annotations

import pytest

from tests.flow.crash import Standing, seeds, trial

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("seed", seeds())
async def test_kill_the_database(standing: Standing, seed: int) -> None:
    async with trial(standing, seed) as this:
        async with this.load():
            await this.moment()
            standing.service.kill_database()
            this.struck()
            await this.moment()
        await this.settle()
        await this.judge()
