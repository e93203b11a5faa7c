"""How a profile deals with what it finds: it drops, observes, caps; and it may be changed while mail flows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from mta.demo.cases import newsletter
from mta.mail.identity import format_id
from mta.store.accounts.reviews import Setting
from tests.flow.harness import SENDER, World
from tests.flow.permission import READER, Shop, shop

pytestmark = pytest.mark.nightly

OTHER, STRANGER = "otto@example.com", "stranger@example.com"


def house(folder: Path, text: str) -> Path:
    """A profile of the operator's own, standing on ``cleverreach``."""
    path = folder / "house.toml"
    path.write_text(f'about = "ours"\nextends = "cleverreach"\n[marketing]\n{text}\n')
    return path


async def use(desk: Shop) -> None:
    """Let the account be judged by the operator's profile, and wait until it is."""
    await desk.store.reviews.set(desk.id, {Setting.PROFILE: "house"}, by="test")

    async def judged() -> bool:
        reply = (await desk.send("info@example.com")).reply
        record = await desk.world.db.fetchval("select record ->> 'profile' from rejection order by id desc limit 1")
        return reply.code >= 500 and record == "house"

    await desk.world.until(judged)


async def test_dropping_sends_to_the_others_and_says_who_was_dropped(world: World, tmp_path: Path) -> None:
    profile = house(tmp_path, 'failing = "drop"')
    async with shop(world, profiles=[profile]) as desk:
        await desk.agree(OTHER)
        await use(desk)
        # A credential for both streams: who may get the message is only known when it is there.
        submitted = await desk.send(READER, OTHER, STRANGER, content=letter(READER, OTHER, STRANGER))
        if submitted.id is None:  # refused when it was named: the client goes on without it
            assert STRANGER in submitted.reply.text
            submitted = await desk.send(READER, OTHER)
        assert submitted.id
        receipts = await world.received(2)
        assert sorted(receipt.recipients[0].address for receipt in receipts) == [OTHER, READER]

    async def told() -> list[dict[str, Any]]:
        lines = world.service.events.read_text().splitlines(keepends=True)
        logged = [orjson.loads(line) for line in lines if line.endswith("\n")]
        return [line for line in logged if line.get("recipient") == STRANGER]

    dropped = await world.until(told)
    assert "opt_in" in str(dropped[-1])


async def test_an_observed_rule_is_written_down_and_changes_nothing(world: World, tmp_path: Path) -> None:
    async with shop(world, profiles=[house(tmp_path, 'observe = ["imprint"]')]) as desk:
        await desk.store.reviews.set(desk.id, {Setting.PROFILE: "house"}, by="test")

        async def accepted() -> str:
            submitted = await desk.send(READER, imprint=False)
            return format_id(submitted.id) if submitted.id else ""

        message_id = await world.until(accepted)
        told = await asyncio.to_thread(world.service.cli, "explain", message_id)
    assert "imprint: observe (would refuse: imprint: " in told


async def test_a_reload_brings_a_changed_profile_and_a_bad_one_changes_nothing(world: World, tmp_path: Path) -> None:
    path = house(tmp_path, "")
    async with shop(world, profiles=[path]) as desk:
        await use(desk)
        assert (await desk.send(READER, imprint=False)).reply.code == 550
        path.write_text(path.read_text() + 'observe = ["imprynt"]\n')
        with pytest.raises(RuntimeError, match="imprynt"):
            await asyncio.to_thread(world.service.cli, "reload")
        assert (await desk.send(READER, imprint=False)).reply.code == 550
        house(tmp_path, 'observe = ["imprint"]')
        await asyncio.to_thread(world.service.cli, "reload")

        async def accepted() -> bool:
            return (await desk.send(READER, imprint=False)).id is not None

        await world.until(accepted)


async def test_nobody_is_mailed_too_often_and_nothing_dangerous_is_attached(world: World) -> None:
    async with shop(world, "spotler") as desk:
        for _ in range(3):
            assert (await desk.send(READER)).id
        refused = (await desk.send(READER)).reply
        assert (refused.code, "frequency: " in refused.text) == (450, True)
        await desk.agree(OTHER)
        attached = letter(OTHER).replace(
            b'Content-Type: text/html; charset="utf-8"', b'Content-Type: text/html; name="a.exe"'
        )
        refused = (await desk.send(OTHER, content=attached)).reply
        assert "attachments: " in refused.text
        barred = letter(OTHER).replace(b"unsubscribe", b"imprint").replace(b"Unsubscribe", b"Read more")
        refused = (await desk.send(OTHER, content=barred)).reply
        assert "unsubscribe: " in refused.text


def letter(*readers: str) -> bytes:
    return newsletter(SENDER, readers, "Offers", fields={"X-MTA-Stream": "marketing", "X-MTA-Mailing": "spring-1"})
