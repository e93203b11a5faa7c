"""SIGHUP and `mta reload`: a good file takes effect, a bad one changes nothing and is refused with its lines."""

from __future__ import annotations

import asyncio

import pytest

from bench.service import free_port
from tests.flow.harness import World


async def largest(world: World) -> str:
    """What the service says about SIZE."""
    async with world.client() as smtp:
        await smtp.ehlo()
        return smtp.esmtp_extensions["size"]


async def test_good_then_bad(world: World) -> None:
    await world.start(submission={"limits": {"message_size": "1MB"}})
    assert await largest(world) == "1000000"

    world.service.configure(submission={"limits": {"message_size": "2MB"}})
    told = await asyncio.to_thread(world.service.cli, "reload", "--dry-run")
    assert told.splitlines() == [
        "Would change:",
        "  submission.limits.message_size: 1000000, then 2000000",
        "For queued mail:",
        "  nothing",
    ]
    assert await largest(world) == "1000000"
    await asyncio.to_thread(world.service.cli, "reload")
    assert await largest(world) == "2000000"

    world.service.configure(submission={"limits": {"message_sise": "3MB"}})
    with pytest.raises(RuntimeError, match=r"mta\.toml:\d+.*message_sise"):
        await asyncio.to_thread(world.service.cli, "reload")
    assert await largest(world) == "2000000"
    await world.accept("ann@example.com")
    await world.received(1)


async def test_what_needs_a_restart_is_named_and_does_not_change(world: World) -> None:
    await world.start()
    told = await asyncio.to_thread(world.service.cli, "reload")
    assert told == "Configuration reloaded.\n"

    old, new = world.service.port, free_port()
    listener = {"address": "127.0.0.1", "port": new, "tls": "none"}
    world.service.configure(submission={"listeners": [listener]}, server={"workers": 2}, database={"lease": "40s"})
    told = await asyncio.to_thread(world.service.cli, "reload")
    assert told.splitlines() == [
        "Configuration reloaded.",
        "Needs a restart: server.workers: 1 in use, 2 after a restart",
        "Needs a restart: database.lease: 5s in use, 40s after a restart",
        f"Needs a restart: submission.listeners[0].port: {old} in use, {new} after a restart",
    ]
    await world.accept("ann@example.com")  # at the old port
    await world.received(1)
    assert '"after_a_restart":["server.workers: 1 in use' in world.service.output()
