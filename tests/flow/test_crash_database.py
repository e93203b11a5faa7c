"""kill -9 of PostgreSQL under load: clients get 451 until it is back, which needs nobody's help."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from bench import processes
from tests.flow.crash import Standing, seeds, stand, trial

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash-database")]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    standing = stand(tmp_path_factory.mktemp("database"))
    yield standing
    standing.service.stop()


@pytest.mark.parametrize("seed", seeds())
async def test_kill_the_database(standing: Standing, seed: int) -> None:
    async with trial(standing, seed) as this:
        async with this.load():
            await this.moment()
            for pid in processes.tree([standing.service.postmaster() or 0]):
                os.kill(pid, signal.SIGKILL)
            this.struck()
            await this.moment()
        await this.settle()
        await this.judge()
