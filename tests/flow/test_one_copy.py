"""A reader who is on the list in several spellings gets a mailing once; who submits again is told that it is queued."""

from __future__ import annotations

from mta.mail.identity import format_id
from tests.flow.harness import World
from tests.flow.permission import READER, shop


async def test_one_copy_of_a_mailing(world: World) -> None:
    async with shop(world) as opened:
        first = await opened.send(READER, again=False)
        assert first.id, first.reply
        await world.until_ended(first.id)
        second = await opened.send(f'"{READER.partition("@")[0].upper()}"@EXAMPLE.com', again=False)
        assert second.reply.code == 250
        assert second.reply.text.endswith(f"has its copy of this mailing, queued as {format_id(first.id)}")
        await opened.announce("another")
        third = await opened.send(READER, mailing="another", again=False)
        assert third.id not in (None, first.id)
        await world.until_ended(third.id)
    assert len(world.taken) == 2
