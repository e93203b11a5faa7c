"""Consent that is taken back while mail is queued: the copies go in the same transaction, and nothing else does."""

from __future__ import annotations

import asyncio
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mta.demo.account import TOPIC, opt_in
from mta.mail.address import Address
from mta.store.accounts.reviews import Setting
from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds
from tests.flow.permission import HOST, READER, shop

OTHER = "otto@example.com"
LATER = Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (say("451 4.3.0 later"),)),))


async def test_queued_copies_are_pulled_with_the_revocation(world: World) -> None:
    world.receiver.script = LATER
    async with shop(
        world, queue={"retry_schedule": ["1s"]}, shaping={"default": {"messages_per_connection": 1}}
    ) as desk:
        await desk.agree(OTHER)
        revoked, kept, invoice = [
            (await desk.send(READER)).id,
            (await desk.send(OTHER)).id,
            await world.accept(READER),
        ]
        assert revoked
        assert kept
        for message_id in (revoked, kept, invoice):
            await world.until_event(message_id, "deferred")
        await asyncio.to_thread(
            world.service.cli, "consent", "revoke", READER, "--account", "shop", "--reason", "wrote to us", "--yes"
        )
        left = await world.db.fetch("select message_id from queue")
        assert {row["message_id"] for row in left} == {kept, invoice}
        suppressed = await world.db.fetch("select address, topic, reason from suppression")
        assert [tuple(row) for row in suppressed] == [(READER, "*", "revoked")]

        world.receiver.script = Script()
        await world.until_ended(kept)
        await world.until_ended(invoice)
        assert "delivered" not in kinds(await world.events(revoked))
        assert "dropped" in kinds(await world.events(revoked))
        assert sorted(receipt.recipients[0].address for receipt in world.taken) == [OTHER, READER]

        answer = (await desk.send(READER)).reply
        assert answer.code == 550
        assert READER in answer.text


async def test_only_a_later_consent_ends_an_objection_and_only_when_asked(world: World) -> None:
    async with shop(world) as desk:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        await desk.store.consents.revoke(
            desk.id, Address.parse(READER), TOPIC, reason="had enough", by="test", at=yesterday - timedelta(hours=1)
        )
        older, newer = opt_in(READER, host=HOST, ago=timedelta(days=20)), opt_in(READER, host=HOST, ago=timedelta())
        newer = replace(newer, confirmed_at=datetime.now(UTC))
        assert (await desk.store.consents.record(desk.id, [older], by="test", lift=True)).lifted == 0
        assert (await desk.send(READER)).reply.code == 550
        assert (await desk.store.consents.record(desk.id, [newer], by="test")).lifted == 0
        assert (await desk.send(READER)).reply.code == 550
        again = replace(newer, confirmed_at=datetime.now(UTC))
        assert (await desk.store.consents.record(desk.id, [again], by="test", lift=True)).lifted == 1
        assert (await desk.send(READER)).id
        assert len(await world.received(1)) == 1


async def test_a_rule_that_raises_puts_off_its_message_and_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody's own rule, installed beside ours, with a mistake in it."""
    install(tmp_path / "plugin", monkeypatch)
    profile = tmp_path / "house.toml"
    profile.write_text('about = "ours"\nextends = "cleverreach"\n[marketing]\nalso = ["house_rule"]\n')
    world.service.environment["PYTHONPATH"] = str(tmp_path / "plugin")
    async with shop(world, profiles=[profile]) as desk:
        await desk.store.reviews.set(desk.id, {Setting.PROFILE: "house"}, by="test")

        async def put_off() -> bool:
            reply = (await desk.send(READER, subject="break it")).reply
            return (reply.code, "house_rule" in reply.text) == (451, True)

        await world.until(put_off)
        before = len(world.taken)  # those of the moments before the profile was in force
        assert (await desk.send(READER)).id
        assert await world.accept(READER)
        assert len(await world.received(before + 2)) == before + 2
        metrics = await asyncio.to_thread(page, world.service.web_port)
        assert "imprimatur_rule_errors_total 1" in metrics.replace(".0", "")


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with one rule and its entry point, as an installer leaves it."""
    (folder / "house_rule-1.dist-info").mkdir(parents=True)
    (folder / "house_rule-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: house-rule\nVersion: 1\n")
    (folder / "house_rule-1.dist-info" / "entry_points.txt").write_text(
        "[imprimatur.rules]\nhouse_rule = house_rule:HouseRule\n"
    )
    (folder / "house_rule.py").write_text(RULE)
    monkeypatch.syspath_prepend(str(folder))


def page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


RULE = """
from config.types import Section
from policy.base import Pass


class HouseRule:
    name = "house_rule"

    class Settings(Section):
        pass

    def __init__(self, settings, context):
        pass

    def on_content(self, message, facts, now):
        if b"break it" in message.content:
            raise ValueError("a mistake")
        return Pass(), "fine"
"""
