"""SIGHUP and `mta reload`: a good file takes effect, a bad one changes nothing and is refused with its lines."""

from __future__ import annotations

import asyncio

import pytest

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
    await asyncio.to_thread(world.service.cli, "reload")
    assert await largest(world) == "2000000"

    world.service.configure(submission={"limits": {"message_sise": "3MB"}})
    with pytest.raises(RuntimeError, match=r"mta\.toml:\d+.*message_sise"):
        await asyncio.to_thread(world.service.cli, "reload")
    assert await largest(world) == "2000000"
    await world.accept("ann@example.com")
    await world.received(1)
