"""The preferred mail exchanger is down: the next one gets the message, in the same attempt."""

from __future__ import annotations

import pytest

from mta.testing.nameserver import DnsFault, Node
from tests.flow.harness import World, kinds

pytestmark = pytest.mark.nightly


async def test_next_host(world: World) -> None:
    backup = await world.add_receiver("127.0.0.4")
    world.domain("two.example", "127.0.0.99", "127.0.0.4")
    await world.start()
    message_id = await world.accept("ann@two.example")
    await world.received(1, backup.ledger)
    events = await world.until_ended(message_id)
    assert kinds(events) == ["delivered"]
    assert events[0].data["host"] == "mx2.two.example"


async def test_a_domain_that_does_not_exist_fails_at_once(world: World) -> None:
    await world.start()
    message_id = await world.accept("ann@nowhere.example")
    events = await world.until_ended(message_id)
    assert kinds(events)[0] == "failed"
    assert events[0].data["status"] == "5.1.2"


async def test_a_null_mx_fails_at_once(world: World) -> None:
    world.zone["null.example"] = Node(mx=((0, "."),))
    await world.start()
    events = await world.until_ended(await world.accept("ann@null.example"))
    assert kinds(events)[0] == "failed"
    assert events[0].data["status"] == "5.1.10"


async def test_trouble_in_dns_is_waited_out(world: World) -> None:
    world.zone["trouble.example"] = DnsFault.SERVFAIL
    await world.start(dns={"min_ttl": "0s"})
    message_id = await world.accept("ann@trouble.example")
    [event, *_] = await world.until_event(message_id, "deferred")
    assert event.data["status"] == "4.4.3"
    world.domain("trouble.example", "127.0.0.2")
    await world.received(1)
    assert kinds(await world.until_ended(message_id))[-1] == "delivered"
