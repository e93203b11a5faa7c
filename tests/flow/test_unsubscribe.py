"""One click while 100,000 copies are queued: effective when it is answered, and a forged one never."""

from __future__ import annotations

import asyncio
import re
import time

from aiohttp import ClientSession

from bench.service import free_port
from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds
from tests.flow.permission import Shop, shop

READERS = [f"reader-{n}@example.com" for n in range(5)]
QUEUED = 100_000
LATER = Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (say("451 4.3.0 later"),)),))
CLICK = {"List-Unsubscribe": "One-Click"}

_COPY = """
with copied as (
    insert into message (id, account_id, sender, size, recipients, received_at, record, details)
    select gen_random_uuid(), account_id, sender, size, $2, received_at, record, details from message where id = $1
    returning id
)
insert into queue
    (message_id, recipient_index, account_id, mailing, destination, address, address_key, stream, topic, due_at,
    expires_at)
select copied.id, one.recipient_index, q.account_id, q.mailing, q.destination, one.recipient_index || '@example.com',
    decode(md5(one.recipient_index::text), 'hex'), q.stream, q.topic, now() + interval '1 hour', now() + interval '1
    day'
from queue q, copied, generate_series(1, $2::int) as one (recipient_index) where q.message_id = $1"""


async def test_one_click_during_a_queue_of_100_000(world: World) -> None:
    world.receiver.script = LATER
    port = free_port()
    async with (
        shop(world, queue={"retry_schedule": ["1h"]}, web={"public": {"port": port}}) as desk,
        ClientSession() as http,
    ):
        url = f"http://127.0.0.1:{port}/u/"
        await desk.agree(*READERS)
        tokens = [await queued(world, desk, reader) for reader in READERS]
        await world.db.execute("update queue set due_at = now() + interval '1 hour' where lease is null")
        first = await world.db.fetchval("select message_id from queue limit 1")
        await world.db.execute(_COPY, first, QUEUED, timeout=60)
        everything = QUEUED + len(READERS)

        for forged in (tokens[0][:-6], "A" * len(tokens[0]), tokens[0][::-1]):
            async with http.post(url + forged, data=CLICK) as answer:
                assert answer.status == 404
        async with http.get(url + tokens[0]) as answer:
            assert "<button" in await answer.text()
        assert await world.db.fetchval("select count(*) from queue") == everything
        assert await world.suppressed() == {}

        seconds = []
        for left, (reader, token) in enumerate(zip(READERS, tokens, strict=True), 1):
            began = time.monotonic()
            async with http.post(url + token, data=CLICK) as answer:
                assert answer.status == 200
            seconds.append(time.monotonic() - began)
            assert await world.db.fetchval("select count(*) from queue") == everything - left
            assert (await world.suppressed())[reader] == "unsubscribe_one_click"
        assert min(seconds) < 1, seconds

        refused = (await desk.send(READERS[0])).reply
        assert refused.code == 550
        for path in ("/metrics", "/healthz", "/readyz", "/"):
            async with http.get(f"http://127.0.0.1:{port}{path}") as answer:
                assert answer.status == 404
        await asyncio.to_thread(world.service.stop)
        logged = world.service.output() + world.service.events.read_text()
        assert not [token for token in tokens if token in logged]


async def queued(world: World, desk: Shop, reader: str) -> str:
    """Send ``reader`` a newsletter that has to wait; the token in its List-Unsubscribe."""
    message_id = (await desk.send(reader)).id
    assert message_id
    events = await world.until_event(message_id, "deferred")
    assert "delivered" not in kinds(events)
    parts = await world.db.fetch("select octets from content where message_id = $1 order by part", message_id)
    content = b"".join(row["octets"] for row in parts).decode()
    found = re.search(r"<https://mta\.sender\.example/u/([A-Za-z0-9_-]+)>", content)
    assert found, content[:3000]
    return found[1]
