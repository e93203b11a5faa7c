"""Hosts that cannot be reached, or turn us away before the message: the next one gets it, and nobody is blamed."""

import asyncio
import socket
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from mta.delivery.courier import Courier
from mta.delivery.egress.sources import EgressSource, SourceFailed
from mta.mail.delivery import Stage as Reached
from mta.observe.labels import Success
from mta.observe.metrics import Metrics
from mta.testing.nameserver import Node
from mta.testing.script import FRIENDLY, AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule, say
from tests.flow.far_end import CONTENT, FarEnd, deliver_to, far_end, replies


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
        attempt = await far.courier.deliver(delivery, route, far.path(route), b"x\r\n")
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


async def test_an_address_that_we_do_not_have_is_no_attempt() -> None:
    async with far_end() as far:
        receiver = await far.receiver()
        metrics = Metrics()
        far.courier = Courier(far.courier._settings, "out.sender.example", loopback_receivers=True, metrics=metrics)
        route, gone = await far.route(), EgressSource("gone", "192.0.2.77")
        with capture_logs() as lines, pytest.raises(SourceFailed, match="gone"):
            await far.courier.deliver(deliver_to("bob@example.com"), route, far.path(route, gone), CONTENT)
        assert receiver.ledger.connections == 0
        assert metrics.source_backoffs.value == 1
        assert (metrics.connections[Success.YES].value, metrics.connections[Success.NO].value) == (0, 0)
        assert [line["source"] for line in lines if line["log_level"] == "error"] == ["gone"]
        assert not far.courier.sources.usable(gone, asyncio.get_running_loop().time())


async def test_a_source_goes_to_hosts_of_its_family_only() -> None:
    async with far_end(egress={"ipv6": True}) as far:
        await far.receiver()
        far.zone["dest.example"] = Node(a=("127.0.0.2",), aaaa=("::1",))
        route = await far.route("dest.example")
        for n in range(4):
            attempt = await far.courier.deliver(
                deliver_to(f"u{n}@dest.example"), route, far.path(route, EgressSource("four", "127.0.0.8")), CONTENT
            )
            assert (attempt.source, replies(attempt)) == ("127.0.0.8", {f"u{n}": "250 2.0.0"})
