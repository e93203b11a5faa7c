"""One database and one server for the tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from config.schema import DatabaseSettings
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.conftest import new_database
from tests.unit.mta.web.pages.rig import WARMING, Site, open_site


@pytest.fixture(scope="module")
def module_database(postgres_server: str) -> Iterator[str]:
    yield from new_database(postgres_server)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _lease_goes_on(site: Site) -> None:
    """Let what a test puts into the queue be its own, however slow the tests before it were."""
    await site.store.lease.renew()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    secrets = Secrets(bytes(range(32)))
    store = await Store.open(module_database, DatabaseSettings(), secrets)
    try:
        await store.lease.register()
        async with open_site(store, secrets, tmp_path_factory.mktemp("data"), **WARMING) as opened:
            yield opened
    finally:
        await store.close()
