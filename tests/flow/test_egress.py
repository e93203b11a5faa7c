"""Sources, pools and paths as a running service uses them."""

from __future__ import annotations

from typing import Any

import pytest

from mta.delivery.egress.sources import EgressSource, Proxy, SourceFailed
from mta.mail.delivery import Stage
from mta.testing.script import AfterReply, ReceiverStage, Script, ScriptRule, say
from tests.flow.far_end import CONTENT, deliver_to, far_end, replies
from tests.flow.harness import World
from tests.flow.proxies import ForwardingProxy


def source(name: str, address: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "address": address, **more}


async def leaves_from(world: World, recipient: str, count: int = 1) -> set[str]:
    """The addresses that the next messages are sent from."""
    found = set()
    for _ in range(count):
        (event,) = await world.until_event(await world.accept(recipient), "delivered")
        found.add(event.data["source"])
    return found


async def test_rules_and_accounts_choose_the_pool(world: World) -> None:
    world.domain("gmail.example", "127.0.0.2")
    await world.start(
        egress={
            "sources": [
                source("one", "127.0.1.1", ehlo="one.sender.example"),
                source("two", "127.0.1.2"),
                source("gold", "127.0.1.3", certified=True),
            ],
            "pools": [
                {"name": "own", "members": [{"source": "two"}]},
                {"name": "picky", "members": [{"source": "one"}]},
                {"name": "csa", "members": [{"source": "gold"}]},
            ],
            "rules": [
                {"pool": "picky", "domains": ["gmail.example"]},
                {"pool": "csa", "profiles": ["transactional"]},  # whose mail is not certified
            ],
        },
        shaping={"default": {"messages_per_connection": 1}},
    )
    assert await leaves_from(world, "ann@example.com", 4) == {"127.0.1.1", "127.0.1.2"}
    assert await leaves_from(world, "ann@gmail.example", 2) == {"127.0.1.1"}
    assert world.taken[-1].hello == "one.sender.example"
    world.service.cli("account", "set", "shop", "--pool", "own")
    await world.until(lambda: _own_pool(world))
    assert await leaves_from(world, "ann@example.com", 2) == {"127.0.1.2"}


async def _own_pool(world: World) -> bool:
    return await leaves_from(world, "ann@example.com") == {"127.0.1.2"}


async def test_a_source_that_fails_moves_its_mail_and_not_the_site(world: World) -> None:
    proxy = ForwardingProxy(socks=False)
    nameless = source("nameless", "192.0.2.78", proxy=f"haproxy://127.0.0.1:{await proxy.start()}")
    await world.start(
        egress={"sources": [source("gone", "192.0.2.77"), nameless, source("here", "127.0.1.1")]},
        shaping={"default": {"messages_per_connection": 1, "backoff_after": 1, "backoff": "1h"}},
    )

    async def moved() -> bool:  # "nameless" works, and is passed over for its DNS
        return await leaves_from(world, "ann@example.com", 6) == {"127.0.1.1"}

    await world.until(moved)
    await proxy.stop()
    rows = await world.db.fetch(
        "select data ->> 'source' as source from event where kind = 'source_taken_out' order by 1"
    )
    assert [row["source"] for row in rows] == ["gone", "nameless"]
    assert await world.db.fetchval("select count(*) from backoff") == 0
    assert await world.db.fetchval("select count(*) from event where kind = 'deferred'") == 0


async def test_a_source_that_is_turned_away_backs_off_alone(world: World) -> None:
    busy = ScriptRule(ReceiverStage.CONNECT, "127.0.1.9", (say("421 4.7.0 too much from you", end=AfterReply.CLOSE),))
    world.receiver.script = Script(rules=(busy,))
    await world.start(
        egress={"sources": [source("bad", "127.0.1.9"), source("good", "127.0.1.1")]},
        shaping={"default": {"messages_per_connection": 1, "backoff_after": 1, "backoff": "1h"}},
    )
    assert await leaves_from(world, "ann@example.com", 8) == {"127.0.1.1"}
    rows = await world.db.fetch("select source, site from backoff")
    assert [tuple(row) for row in rows] == [("bad", "mx1.example.com")]


async def test_limits_of_a_path_and_its_own_expiry(world: World) -> None:
    world.receiver.script = Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (say("451 4.2.0 later"),)),))
    world.domain("slow.example", "127.0.0.2")
    await world.start(
        egress={"sources": [source("one", "127.0.1.1")]},
        shaping={
            "providers": [{"name": "slow", "domains": ["slow.example"], "expire_after": "300ms", "backoff_after": 99}],
            "sources": [{"source": "one", "provider": "slow", "retry_schedule": ["100ms"]}],
        },
        queue={"retry_schedule": ["1h"]},
    )
    (expired,) = await world.until_event(await world.accept("ann@slow.example"), "expired")
    assert expired.data["text"].startswith("later")


@pytest.mark.parametrize("socks", [True, False], ids=["socks5", "haproxy"])
async def test_a_proxy_connects_from_the_sources_address(socks: bool) -> None:
    proxy = ForwardingProxy(socks)
    async with far_end() as far:
        receiver = await far.receiver()
        ours = EgressSource(
            "far", "192.0.2.77", proxy=Proxy("socks5" if socks else "haproxy", "127.0.0.1", await proxy.start())
        )
        route = await far.route()
        attempt = await far.courier.deliver(deliver_to("ann@example.com"), route, far.path(route, ours), CONTENT)
        assert (replies(attempt), attempt.source) == ({"ann": "250 2.0.0"}, "192.0.2.77")
        assert proxy.asked == [("127.0.0.2", far.port)]
        assert proxy.sources == ([] if socks else ["192.0.2.77"])
        assert len(receiver.ledger.accepted) == 1
    await proxy.stop()


async def test_a_proxy_that_is_gone_is_no_attempt_and_one_that_cannot_get_there_is() -> None:
    async with far_end() as far:
        await far.receiver()
        route = await far.route()
        proxy = ForwardingProxy(socks=True, reply=5)
        port = await proxy.start()
        path = far.path(route, EgressSource("far", "192.0.2.77", proxy=Proxy("socks5", "127.0.0.1", port)))
        attempt = await far.courier.deliver(deliver_to("ann@example.com"), route, path, CONTENT)
        assert (attempt.results[0].stage, str(attempt.results[0].reply.code)) == (Stage.CONNECT, "451")
        assert "SOCKS5: connection refused" in attempt.results[0].reply.text
        proxy.reply = 2
        with pytest.raises(SourceFailed, match="not allowed by its rules"):
            await far.courier.deliver(deliver_to("ann@example.com"), route, path, CONTENT)
        await proxy.stop()
        with pytest.raises(SourceFailed, match="proxy 127"):
            await far.courier.deliver(deliver_to("ann@example.com"), route, path, CONTENT)
