"""Hosts that cannot be reached, or turn us away before the message: the next one gets it, and nobody is blamed."""

import asyncio
import socket
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from mta.delivery.courier import Courier
from mta.delivery.pool import DeliverySession, SessionKey
from mta.delivery.route import Target
from mta.delivery.shortage import Shortage
from mta.mail.delivery import Stage as Reached
from mta.observe.labels import Resource, Success
from mta.observe.metrics import Metrics
from mta.testing.nameserver import Node
from mta.testing.script import FRIENDLY, AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule, say
from tests.flow.far_end import FarEnd, deliver_to, far_end, replies


def at(stage: ReceiverStage, *acts: ScriptedReply) -> Script:
    return Script(rules=(ScriptRule(stage, "*", acts),))


async def two_hosts(far: FarEnd, first: Script | None) -> None:
    """example.com has a host at 127.0.0.2 that is dead or follows ``first``, and a good one behind it at 127.0.0.3."""
    far.domain("example.com", "127.0.0.2", "127.0.0.3")
    await far.receiver(address="127.0.0.3")
    if first:
        await far.receiver(first, "127.0.0.2")


@pytest.mark.parametrize(
    "first",
    [
        None,  # connection refused
        at(ReceiverStage.CONNECT, say("421 4.3.2 busy", end=AfterReply.CLOSE)),
        at(ReceiverStage.CONNECT, say("554 5.7.1 you are not welcome")),
        at(ReceiverStage.CONNECT, say("999 hello")),
        at(ReceiverStage.CONNECT, ScriptedReply(reply=b"SSH-2.0-OpenSSH_9.2p1\r\n")),
        at(ReceiverStage.CONNECT, ScriptedReply(reply=b"", end=AfterReply.CLOSE)),
        at(ReceiverStage.CONNECT, ScriptedReply(reply=b"", end=AfterReply.RESET)),
        at(ReceiverStage.HELLO, say("421 4.3.2 busy", end=AfterReply.CLOSE)),
        at(ReceiverStage.HELLO, say("550 5.7.1 go away")),
        at(ReceiverStage.HELLO, ScriptedReply(reply=b"", end=AfterReply.CLOSE)),
        at(ReceiverStage.MAIL, say("421 4.3.2 busy", end=AfterReply.CLOSE)),
        at(ReceiverStage.MAIL, ScriptedReply(reply=b"", end=AfterReply.CLOSE)),
        at(ReceiverStage.RCPT, ScriptedReply(reply=b"", end=AfterReply.RESET)),
        at(ReceiverStage.DATA, ScriptedReply(reply=b"", end=AfterReply.CLOSE)),
    ],
)
async def test_the_next_host_gets_it(first: Script | None) -> None:
    async with far_end() as far:
        await two_hosts(far, first)
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert attempt.host is not None
        assert attempt.host.address == "127.0.0.3"
        assert len(far.receivers[0].ledger.accepted) == 1


@pytest.mark.parametrize(
    ("script", "reply", "stage"),
    [
        (at(ReceiverStage.CONNECT, say("421 4.3.2 busy", end=AfterReply.CLOSE)), "421 4.3.2", Reached.HELLO),
        (at(ReceiverStage.CONNECT, say("554 5.7.1 no")), "554 5.7.1", Reached.HELLO),
        (at(ReceiverStage.CONNECT, ScriptedReply(reply=b"", end=AfterReply.CLOSE)), "451 4.4.2", Reached.HELLO),
        (at(ReceiverStage.HELLO, say("421 4.3.2 busy", end=AfterReply.CLOSE)), "421 4.3.2", Reached.HELLO),
        (at(ReceiverStage.MAIL, say("421 4.3.2 busy", end=AfterReply.CLOSE)), "421 4.3.2", Reached.SENDER),
        (at(ReceiverStage.MAIL, say("451 4.3.0 later")), "451 4.3.0", Reached.SENDER),
        (at(ReceiverStage.MAIL, say("550 5.7.1 we know you")), "550 5.7.1", Reached.SENDER),
        (at(ReceiverStage.MAIL, ScriptedReply(reply=b"", end=AfterReply.CLOSE)), "451 4.4.2", Reached.SENDER),
        (at(ReceiverStage.RCPT, say("421 4.3.2 busy", end=AfterReply.CLOSE)), "421 4.3.2", Reached.RECIPIENT),
        (at(ReceiverStage.RCPT, ScriptedReply(reply=b"", end=AfterReply.CLOSE)), "451 4.4.2", Reached.RECIPIENT),
        (at(ReceiverStage.DATA, say("421 4.3.2 busy", end=AfterReply.CLOSE)), "421 4.3.2", Reached.DATA),
        (at(ReceiverStage.DATA, say("451 4.3.0 later")), "451 4.3.0", Reached.DATA),
        (at(ReceiverStage.DATA, say("554 5.3.0 no")), "554 5.3.0", Reached.DATA),
        (at(ReceiverStage.DATA, ScriptedReply(reply=b"", end=AfterReply.CLOSE)), "451 4.4.2", Reached.DATA),
        (at(ReceiverStage.END, say("421 4.3.2 busy", end=AfterReply.CLOSE)), "421 4.3.2", Reached.FINAL_DOT),
        (at(ReceiverStage.END, say("554 5.6.0 no")), "554 5.6.0", Reached.FINAL_DOT),
    ],
)
@pytest.mark.parametrize("pipelining", [True, False])
async def test_what_the_only_host_says_is_told(script: Script, reply: str, stage: Reached, pipelining: bool) -> None:
    extensions = ("PIPELINING",) if pipelining else ()
    async with far_end() as far:
        receiver = await far.receiver(Script(extensions=extensions, rules=script.rules))
        attempt = await far.deliver("bob@example.com", "eve@example.com")
        assert replies(attempt) == {"bob": reply, "eve": reply}
        assert {result.stage for result in attempt.results} == {stage}
        assert not any(result.delivery_unknown for result in attempt.results)
        assert attempt.host is not None
        assert attempt.host.address == "127.0.0.2"
        assert receiver.ledger.accepted == []
        assert receiver.ledger.connections == 1


@pytest.mark.parametrize("stage", [ReceiverStage.MAIL, ReceiverStage.RCPT])
async def test_a_4xx_from_the_site_is_its_answer(stage: ReceiverStage) -> None:
    """It said so of this sender or recipient: another host of the same site would only be asked for the same."""
    async with far_end() as far:
        await two_hosts(far, at(stage, say("451 4.7.1 greylisted")))
        assert replies(await far.deliver("bob@example.com")) == {"bob": "451 4.7.1"}
        assert far.receivers[0].ledger.connections == 0


async def test_of_two_troubles_the_one_that_got_further_is_told() -> None:
    async with far_end() as far:
        far.domain("example.com", "127.0.0.2", "127.0.0.4")
        await far.receiver(at(ReceiverStage.CONNECT, say("554 5.7.1 blocked")), "127.0.0.2")
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "554 5.7.1"}
        await far.receiver(at(ReceiverStage.CONNECT, say("450 4.7.1 not now")), "127.0.0.4")
        assert replies(await far.deliver("bob@example.com")) == {"bob": "450 4.7.1"}


async def test_nobody_answers_the_syn() -> None:
    """A full backlog on loopback drops SYNs as a black hole does."""
    async with far_end(egress={"timeouts": {"connect": "500ms"}}) as far:
        await two_hosts(far, None)
        with closing(socket.socket()) as hole, closing(socket.socket()) as filler:
            hole.bind(("127.0.0.2", far.port))
            hole.listen(0)
            filler.connect(("127.0.0.2", far.port))
            attempt = await far.deliver("bob@example.com")
            assert replies(attempt) == {"bob": "250 2.0.0"}
            far.domain("hole.example", "127.0.0.2")
            attempt = await far.deliver("bob@hole.example")
            assert replies(attempt) == {"bob": "451 4.4.1"}
            assert attempt.results[0].stage is Reached.CONNECT
            assert attempt.host is None


async def test_at_most_so_many_hosts() -> None:
    async with far_end(egress={"max_hosts": 2}) as far:
        far.domain("example.com", "127.0.0.4", "127.0.0.5", "127.0.0.2")
        await far.receiver(address="127.0.0.2")
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "451 4.4.1"}
        assert "127.0.0.5" in attempt.results[0].reply.text or "127.0.0.4" in attempt.results[0].reply.text


async def test_a_receiver_by_our_own_name_is_ourselves() -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(name="out.sender.example"))
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}  # loopback_receivers
        route = await far.route()
        far.configure(testing={"loopback_receivers": False})
        delivery = deliver_to("bob@example.com")
        attempt = await far.courier.deliver(delivery, route, b"x\r\n")
        assert replies(attempt) == {"bob": "554 5.4.6"}
        assert len(receiver.ledger.receipts) == 1


async def test_our_own_door_for_what_comes_back_is_no_loop() -> None:
    """An account of ours answers to postmaster at the returns domain."""
    async with far_end() as far:
        receiver = await far.receiver(Script(name="out.sender.example"))
        far.configure(testing={"loopback_receivers": False}, return_path={"domain": "example.com"})
        assert replies(await far.deliver("postmaster@example.com")) == {"postmaster": "250 2.0.0"}
        assert len(receiver.ledger.receipts) == 1


async def test_greylisted_and_later_taken_once() -> None:
    async with far_end() as far:
        receiver = await far.receiver(
            Script(rules=(ScriptRule(ReceiverStage.RCPT, "*@example.com", (say("451 4.7.1 later"), FRIENDLY)),))
        )
        first, second = await far.deliver("bob@example.com"), await far.deliver("bob@example.com")
        assert (replies(first), replies(second)) == ({"bob": "451 4.7.1"}, {"bob": "250 2.0.0"})
        assert len(receiver.ledger.receipts) == 1
        assert first.source == second.source


async def test_connections_are_counted() -> None:
    async with far_end() as far:
        await two_hosts(far, None)
        metrics = Metrics()
        far.courier = Courier(far.courier._settings, "out.sender.example", metrics=metrics)
        await far.deliver("bob@example.com")
        assert metrics.connections[Success.YES].value == 1
        assert metrics.connections[Success.NO].value == 1
        assert metrics.connections_open.value == 1
        await far.courier.close()
        assert metrics.connections_open.value == 0


async def test_an_address_that_we_do_not_have_steps_aside() -> None:
    """It is left out after its first failure; nobody is blamed for it."""
    async with far_end(egress={"sources": ["192.0.2.77", "127.0.0.1"]}) as far:
        receiver = await far.receiver()
        metrics = Metrics()
        settings = far.courier._settings
        far.courier = Courier(settings, "out.sender.example", loopback_receivers=True, metrics=metrics)
        far.courier._pool.idle = 0
        with capture_logs() as lines:
            attempts = [await far.deliver("bob@example.com") for _ in range(5)]
        assert [(replies(attempt), attempt.source) for attempt in attempts] == [({"bob": "250 2.0.0"}, "127.0.0.1")] * 5
        assert len(receiver.ledger.accepted) == 5
        assert metrics.source_backoffs.value == 1
        assert (metrics.connections[Success.YES].value, metrics.connections[Success.NO].value) == (5, 0)
        assert [line["source"] for line in lines if line["log_level"] == "error"] == ["192.0.2.77"]


async def test_without_another_source_it_is_no_attempt() -> None:
    async with far_end(egress={"sources": ["192.0.2.77"]}) as far:
        receiver = await far.receiver()
        for _ in range(3):
            with pytest.raises(Shortage) as raised:
                await far.deliver("bob@example.com")
            assert raised.value.resource is Resource.SOURCES
            assert 0 < raised.value.seconds <= 30
        assert receiver.ledger.connections == 0


async def test_a_family_without_a_source_that_works_leaves_the_other() -> None:
    async with far_end(egress={"sources": ["2001:db8::77", "127.0.0.1"], "ipv6": True}) as far:
        await far.receiver()
        far.zone["dest.example"] = Node(a=("127.0.0.2",), aaaa=("::1",))
        assert replies(await far.deliver("bob@dest.example")) == {"bob": "250 2.0.0"}


async def test_a_source_that_the_site_turns_away_is_not_used_there() -> None:
    """The site's dislike of one address costs a few attempts, not every second one."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 5.7.1 not from there\r\n")
        writer.close()

    shaping = {"default": {"backoff_after": 2}}
    async with far_end(egress={"sources": ["127.0.0.1", "127.0.0.5"]}, shaping=shaping) as far:
        await far.receiver()
        refusing = await asyncio.start_server(greet, "127.0.0.9", far.port)
        dial = far.courier._dialer.dial

        async def divert(target: Target, key: SessionKey, *rest: Any) -> DeliverySession:
            address = "127.0.0.9" if key.source == "127.0.0.5" else target.address
            return await dial(replace(target, address=address), key._replace(address=address), *rest)

        far.courier._dialer.dial = divert  # type: ignore[method-assign]
        far.courier._pool.idle = 0
        codes = [replies(await far.deliver("bob@example.com"))["bob"][:3] for _ in range(20)]
        refusing.close()
        assert codes.count("554") == 2
        assert set(codes[-15:]) == {"250"}
