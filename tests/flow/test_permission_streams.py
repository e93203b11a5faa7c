"""Mail that is sent as transactional and looks like a mailing: by its marks, and by how often one text is sent."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mta.store.journal.record_details import unpack
from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import SENDER, World, message
from tests.flow.permission import READER, shop

LATER = Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (say("451 4.3.0 later"),)),))


def own_profile(folder: Path, settings: str) -> Path:
    path = folder / "desk.toml"
    path.write_text(f'about = "ours"\nextends = "marketing"\n[transactional.rules.stream]\n{settings}\n')
    return path


def listed(subject: str) -> bytes:
    return b"List-Id: <desk.sender.example>\r\n" + message(subject)


async def test_what_looks_like_a_mailing_is_not_sent_after_an_objection(world: World, tmp_path: Path) -> None:
    """It is recorded only, and waits in the queue when the person objects."""
    world.receiver.script = LATER
    profile = own_profile(tmp_path, 'observe = ["list_id"]')
    delivery = {"queue": {"retry_schedule": ["1s"]}, "shaping": {"default": {"messages_per_connection": 1}}}
    async with shop(world, "desk", [profile], **delivery):
        looks_like_one = await world.accept(READER, content=listed("Hello ticket"))
        plain = await world.accept(READER)
        for message_id in (looks_like_one, plain):
            await world.until_event(message_id, "deferred")
        details = unpack(await world.db.fetchval("select details from message where id = $1", looks_like_one))
        observed = str(details["findings"])
        assert "would refuse: stream: the message is sent as transactional, but shows List-Id" in observed
        await asyncio.to_thread(
            world.service.cli, "consent", "revoke", READER, "--account", "shop", "--reason", "wrote to us", "--yes"
        )
        world.receiver.script = Script()
        stopped = await world.until_ended(looks_like_one)
        await world.until_ended(plain)

        (failed,) = [event for event in stopped if event.kind == "failed"]
        assert "the message shows List-Id, so it counts as a mailing" in failed.data["text"]
        assert [b"List-Id" in receipt.content for receipt in world.taken] == [False]


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """Let a worker take no connection."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_all_workers_count_one_text_together(world: World, tmp_path: Path) -> None:
    text = "Dear reader, all coats are half price this week, and shoes too. Our shop is open until nine.\r\n"
    crowd = [f"r{n}@example.com" for n in range(10)]
    profile = own_profile(tmp_path, "repeats = 45")

    async def send() -> str:
        return (await world.submit(*crowd, sender=SENDER, content=message(body=text))).reply.text

    async def counted(recipients: int) -> None:
        async def told() -> bool:
            return await world.db.fetchval("select max(recipients) from text_count") == recipients

        await world.until(told)

    async with shop(world, "desk", [profile], server={"workers": 2}):
        one, other = world.service.workers()
        with standing_still(one):
            assert "queued as" in await send()
            assert "queued as" in await send()
            await counted(20)
        with standing_still(other):
            assert "queued as" in await send()
            await counted(30)
            assert "queued as" in await send()
            await counted(40)
            refused = await send()
    assert "the same text to 50 recipients within an hour (limit 45)" in refused
