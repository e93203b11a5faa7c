"""The world of the flow tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.flow.crash import Standing, stand
from tests.flow.harness import World, open_directory, open_world


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    async with open_world(tmp_path, database_url) as world:
        yield world


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    """A service with a durable database of its own, which lives through all seeds of a file of crash tests."""
    with open_directory() as directory:
        standing = stand(directory)
        yield standing
        standing.service.stop()
