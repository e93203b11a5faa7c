"""kill -9 of one worker under load: what it held goes to the others, or to its successor."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.flow.crash import Standing, seeds, stand, trial

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash-worker")]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    standing = stand(tmp_path_factory.mktemp("worker"))
    yield standing
    standing.service.stop()


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
