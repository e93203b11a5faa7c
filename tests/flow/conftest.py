"""The world of the flow tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.flow.harness import World


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """Receivers, name server and database; the service is started by the test, with the settings it needs."""
    world = World(tmp_path, database_url)
    await world.open()
    try:
        yield world
    finally:
        await world.close()
