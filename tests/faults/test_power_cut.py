"""A power cut and a full disk under load: what had not reached the disk is gone, and nothing acknowledged is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.crashes import strike, verify
from tests.faults.disk import Disk, NoDisk, standing_on_disk
from tests.faults.trial import Standing, seeds, trial

pytestmark = pytest.mark.crash


@pytest.fixture(scope="module")
def on_disk() -> Iterator[tuple[Standing, Disk]]:
    try:
        with standing_on_disk() as both:
            yield both
    except NoDisk as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("seed", seeds())
async def test_power_cut(on_disk: tuple[Standing, Disk], seed: int) -> None:
    standing, disk = on_disk
    async with trial(standing, seed, "power_cut") as this:
        verify(await strike(this, disk.power_cut))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", seeds())
async def test_full_disk(on_disk: tuple[Standing, Disk], seed: int) -> None:
    standing, disk = on_disk
    async with trial(standing, seed, "full_disk") as this:
        verify(await strike(this, disk.full_disk))
