"""A whole service under load whose connections to the database are cut at random messages: nothing is lost."""

from __future__ import annotations

import pytest

from tests.faults import cut_database
from tests.faults.crashes import strike, verify
from tests.faults.trial import seeds, trial

pytestmark = pytest.mark.crash


@pytest.mark.nightly
async def test_cut_database() -> None:
    async with cut_database.standing() as (standing, fault):
        for seed in seeds():
            async with trial(standing, seed, "cut_database") as this:
                verify(await strike(this, fault))
