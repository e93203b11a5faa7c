"""Every clause in the table for the reports listener, on the wire, towards one running service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from bench.service import free_port
from tests.conformance.dialogue import Check, read_table
from tests.conformance.server import Place, ServerDialogue
from tests.flow.harness import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECKS = read_table("reports")
DOMAIN = "returns.sender.example"


@dataclass(frozen=True, slots=True)
class Reports:
    world: World
    place: Place


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reports(world: World) -> AsyncIterator[Reports]:
    port = free_port()
    listener = {"address": "127.0.0.1", "port": port, "tls": "starttls"}
    await world.start(
        reports={"listeners": [listener], "postmaster_forward": "desk@example.com"}, return_path={"domain": DOMAIN}
    )
    yield Reports(world, Place(port))


@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_clause(reports: Reports, check: Check) -> None:
    variables = {"me": check.id.lower(), "domain": DOMAIN}
    await ServerDialogue(check, reports.place, reports.world, variables).play()
