"""Mail that is to leave later: by its header, by MAIL, in a send window; and mail that must arrive by some time."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import aiosmtplib
import orjson
import pytest

from mta.mail.identity import format_id
from mta.testing.script import FRIENDLY, ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import SENDER, World, kinds, message

DELAYED = "select due_at, expires_at, delayed_by::text, lease from queue where message_id = $1"


def with_header(field: str) -> bytes:
    return field.encode() + b"\r\n" + message()


def utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


async def mta(world: World, *arguments: str) -> str:
    return await asyncio.to_thread(world.service.cli, *arguments)


async def test_a_message_waits_for_its_release(world: World) -> None:
    await world.start(server={"workers": 2})
    release = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    by_header = await world.accept("ann@example.com", content=with_header(f"X-MTA-Send-At: {utc(release)}"))
    by_mail = await world.accept("bob@example.com", mail_options=["HOLDFOR=3"])
    later = await world.accept("cia@example.com", mail_options=[f"HOLDUNTIL={utc(release + timedelta(days=20))}"])
    linked = message(body="See https://pirate.example/film and more.")
    pirated = await world.accept("eve@example.com", mail_options=["HOLDFOR=3"], content=linked)
    await mta(world, "takedown", "add", "pirate.example", "--reason", "court order")
    at_once = await world.accept("dan@example.com")
    await world.until_ended(at_once)

    row = await world.db.fetchrow(DELAYED, by_header)
    assert (row["delayed_by"], row["lease"]) == ("release", None)
    assert abs(row["due_at"] - release) < timedelta(seconds=2)
    assert abs(row["expires_at"] - row["due_at"] - timedelta(days=5)) < timedelta(seconds=2)

    listed = orjson.loads(await mta(world, "queue", "list", "--json", "--state", "delayed"))
    assert {each["address"] for each in listed} >= {"cia@example.com"}
    assert await mta(world, "queue", "retry", "--all", "--yes")  # an operator's retry is not for them
    assert "waits for the time its sender asked for" in await mta(world, "explain", format_id(later))

    await world.until_ended(by_header)
    await world.until_ended(by_mail)
    received = {receipt.recipients[0].address: receipt for receipt in world.taken}
    assert set(received) == {"ann@example.com", "bob@example.com", "dan@example.com"}
    assert b"send-at" not in received["ann@example.com"].content.lower()
    delivered = await world.db.fetchval("select min(at) from event where message_id = $1", by_header)
    assert delivered >= release
    assert kinds(await world.events(later)) == []

    failed = (await world.until_ended(pirated))[0].data  # taken down after it was accepted
    assert (failed["code"], failed["rule"]) == (554, "takedown")
    assert "pirate.example was taken down while the message was queued" in failed["text"]


WRONG = (
    ("HOLDFOR=2592001", r"HOLDFOR: messages are held for at most 30 days, now until 20\S+Z; give an earlier time"),
    ("HOLDUNTIL=2020-01-01T00:00:00Z", r"HOLDUNTIL: this time is past .* give a later one, or none"),
    ("HOLDUNTIL=tomorrow", r"HOLDUNTIL: is no date and time with its offset; .* such as HOLDUNTIL=20"),
    ("HOLDFOR=-5", r"HOLDFOR: must be seconds from 1 to 999999999"),
    ("BY=0;R", r"BY: the time is over already"),
    ("BY=60", r"BY: must be seconds and a mode, R \(return\) or N \(notify\)"),
    ("BY=60;R HOLDFOR=3600", r"BY: the message would be held beyond this time"),
    ("HOLDFOR=60 HOLDUNTIL=2099-01-01T00:00:00Z", r"HOLDUNTIL: HOLDFOR and HOLDUNTIL exclude each other"),
    ("MT-PRIORITY=10", r"MT-PRIORITY: must be a whole number from -9 to 9"),
)


async def test_wrong_times_are_named_and_windows_are_kept(world: World) -> None:
    await world.start(queue={"send_windows": [closed_window(datetime.now(UTC))]})
    await wrong_parameters_are_named(world)
    await wrong_headers_are_named(world)
    await a_window_is_kept(world)


async def wrong_parameters_are_named(world: World) -> None:
    async with world.client() as smtp:
        await smtp.ehlo()
        for option, answer in WRONG:
            with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
                await smtp.mail(SENDER, options=option.split())
            assert refused.value.code == 501
            assert re.search(answer, refused.value.message), refused.value.message


async def wrong_headers_are_named(world: World) -> None:
    for value, answer in (
        ("2020-01-01T00:00:00Z", "X-MTA-Send-At: this time is past"),
        ("2099-01-01T00:00 Europe/Berlin", "messages are held for at most 30 days"),
        ("2027-01-01T00:00 Europe/Atlantis", "X-MTA-Send-At names an unknown time zone, Europe/Atlantis; write 2026"),
        ("2027-02-30T00:00:00Z", "X-MTA-Send-At is a day or a time that does not exist"),
        ("tomorrow", "X-MTA-Send-At is no date and time with its offset; write 2026-12-01T09:00:00+01:00"),
    ):
        refused = await world.submit("ann@example.com", content=with_header(f"X-MTA-Send-At: {value}"))
        assert refused.reply.code == 550
        assert answer in refused.reply.text
    both = await world.submit(
        "ann@example.com", content=with_header("X-MTA-Send-At: 2020-01-01T00:00:00Z"), mail_options=["HOLDFOR=60"]
    )
    assert "give one of them" in both.reply.text


def closed_window(now: datetime) -> dict[str, object]:
    hours = f"{(now + timedelta(hours=2)):%H:%M}-{(now + timedelta(hours=3)):%H:%M}"
    return {"name": "office", "domains": ["closed.example"], "times": [f"mon-sun {hours}"], "zone": "UTC"}


async def a_window_is_kept(world: World) -> None:
    now = datetime.now(UTC)
    waits = await world.accept("ann@closed.example")
    free = await world.accept("zoe@example.com")
    await world.until_ended(free)
    row = await world.db.fetchrow(DELAYED, waits)
    assert (row["delayed_by"], row["lease"]) == ("send_window", None)
    assert timedelta(hours=1, minutes=58) < row["due_at"] - now <= timedelta(hours=2, seconds=1)
    assert "its send window" in await mta(world, "queue", "list")

    # A window that is closed meanwhile holds what is due, too.
    await world.db.execute("update queue set due_at = now(), delayed_by = null where message_id = $1", waits)

    async def put_off() -> bool:
        row = await world.db.fetchrow(DELAYED, waits)
        return row["delayed_by"] == "send_window" and row["lease"] is None

    await world.until(put_off)
    assert kinds(await world.events(waits)) == []


async def test_what_is_not_delivered_by_its_time_comes_back(world: World) -> None:
    refusals = (say("451 4.3.0 try again later"),) * 50
    world.receiver.script = Script(rules=(ScriptRule(ReceiverStage.RCPT, "ann@*", (*refusals, FRIENDLY)),))
    await world.start()
    back = await world.accept("ann@example.com", mail_options=["BY=2;R"])
    events = await world.until_ended(back)
    assert "expired" in kinds(events)

    late = await world.accept("ann@example.com", mail_options=["BY=2;NT"])
    told = await world.until_event(late, "deferred")
    assert told
    await world.received(2, world.home.ledger)
    bounces = [receipt.content for receipt in world.home.ledger.accepted]
    assert b"Action: failed" in bounces[0]
    assert b"Action: delayed" in bounces[1]
    assert b"Deliver-By-Date: " in bounces[1]
