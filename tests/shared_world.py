"""Fixtures of suites in which one service serves a whole file: ``from tests.shared_world import *`` in a conftest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import new_database
from tests.flow.harness import World, open_directory, open_world

__all__ = ["directory", "module_database_url", "world"]


@pytest.fixture(scope="module")
def module_database_url(postgres_server: str) -> Iterator[str]:
    yield from new_database(postgres_server)


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with open_directory() as directory:
        yield directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(directory: Path, module_database_url: str) -> AsyncIterator[World]:
    """A world without its service, which a fixture of the file starts with the settings that it needs."""
    async with open_world(directory, module_database_url) as world:
        yield world
