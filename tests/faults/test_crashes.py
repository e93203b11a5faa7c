"""Every fault under load, for some seeds: nothing accepted is lost, nothing is torn, no worker stands idle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.crashes import FAULTS, strike, verify
from tests.faults.trial import Standing, seeds, stand, trial
from tests.flow.harness import open_directory

pytestmark = pytest.mark.crash
USUAL = ("kill_worker", "kill_database", "stop_in_order", "hostile_receivers")  # the others are nightly: 10 s each


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    """A service with a durable database of its own, which lives through all faults and seeds."""
    with open_directory() as directory:
        standing = stand(directory)
        yield standing
        standing.service.stop()


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize(
    "fault", [name if name in USUAL else pytest.param(name, marks=pytest.mark.nightly) for name in FAULTS]
)
async def test_fault(standing: Standing, fault: str, seed: int) -> None:
    async with trial(standing, seed, fault) as this:
        verify(await strike(this, FAULTS[fault]))
