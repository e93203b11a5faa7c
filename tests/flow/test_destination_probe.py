"""A destination is asked up to RCPT: what its hosts say, and that nothing is sent."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

import pytest
import trustme

from config.schema import Settings
from mta.delivery.probe import HostProbe, Prober
from mta.delivery.transaction import NO_UTF8_ADDRESS
from mta.mail.address import Address
from mta.mail.delivery import Stage
from mta.mail.reply import ReplyKind
from mta.testing.script import AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule, say
from tests.flow.far_end import far_end

ANN = Address.parse("ann@example.com")


async def _ask(world: Any, recipient: Address | None = ANN, sender: str = "", **more: Any) -> Sequence[HostProbe]:
    route = await world.route()
    settings: Settings = world.settings.model_copy(update=more)
    prober = Prober(settings, route, world.path(route), Address.parse(sender) if sender else None, recipient)
    return await prober.run(20)


def _said(probe: HostProbe, sent: bool) -> list[str]:
    return [line.text for line in probe.lines if line.sent is sent]


async def test_the_conversation_ends_before_data() -> None:
    async with far_end() as world:
        receiver = await world.receiver()
        world.domain("example.com", "127.0.0.2")
        (probe,) = await _ask(world, sender="desk@sender.example")
        assert (probe.went_well, probe.stage, probe.reply.code if probe.reply else 0) == (True, Stage.RECIPIENT, 250)
        verbs = [text.split()[0] for text in _said(probe, sent=True)]
        assert verbs == ["EHLO", "MAIL", "RCPT", "RSET", "QUIT"]
        assert "MAIL FROM:<desk@sender.example>" in _said(probe, sent=True)
        assert receiver.ledger.accepted == []


async def test_a_sender_that_the_host_cannot_be_told_is_said() -> None:
    async with far_end() as world:
        await world.receiver(Script(extensions=("PIPELINING",)))
        world.domain("example.com", "127.0.0.2")
        (probe,) = await _ask(world, sender="grüße@sender.example")
        assert (probe.stage, probe.reply) == (Stage.SENDER, NO_UTF8_ADDRESS)
        assert [text.split()[0] for text in _said(probe, sent=True)] == ["EHLO", "QUIT"]


async def test_with_a_domain_the_end_comes_before_mail() -> None:
    async with far_end() as world:
        await world.receiver()
        world.domain("example.com", "127.0.0.2")
        (probe,) = await _ask(world, recipient=None)
        assert (probe.went_well, probe.stage) == (True, Stage.HELLO)
        assert [text.split()[0] for text in _said(probe, sent=True)] == ["EHLO", "QUIT"]


async def test_what_a_host_refuses_is_told_in_its_own_words() -> None:
    refusal = ScriptRule(ReceiverStage.RCPT, "*", (say("550 5.7.1 192.0.2.1 is on our list"),))
    async with far_end() as world:
        await world.receiver(Script(rules=(refusal,)))
        await world.receiver(address="127.0.0.3")
        world.domain("example.com", "127.0.0.2", "127.0.0.3")
        (probe,) = await _ask(world)
        assert (probe.went_well, probe.stage) == (False, Stage.RECIPIENT)
        assert str(probe.reply) == "550 5.7.1 192.0.2.1 is on our list"


async def test_the_next_host_is_asked_if_one_is_away() -> None:
    busy = ScriptRule(ReceiverStage.CONNECT, "*", (say("421 4.3.2 too busy"),))
    async with far_end() as world:
        await world.receiver(Script(rules=(busy,)))
        await world.receiver(address="127.0.0.3")
        world.domain("example.com", "127.0.0.9", "127.0.0.2", "127.0.0.3")
        away, full, last = await _ask(world)
        assert (away.stage, away.lines) == (Stage.CONNECT, [])
        assert (full.stage, full.reply.kind if full.reply else None) == (Stage.HELLO, ReplyKind.TRANSIENT)
        assert last.went_well


async def test_a_host_that_says_nothing_more_ends_in_time() -> None:
    silent = ScriptRule(ReceiverStage.MAIL, "*", (ScriptedReply(end=AfterReply.HANG, reply=b""),))
    async with far_end(egress={"timeouts": {"mail": "1s"}}) as world:
        await world.receiver(Script(rules=(silent,)))
        world.domain("example.com", "127.0.0.2")
        (probe,) = await _ask(world)
        assert (probe.stage, str(probe.reply)) == (Stage.SENDER, "451 4.4.2 the receiver did not reply in time")


async def test_tls_that_is_required_and_not_offered_is_said() -> None:
    async with far_end(shaping={"default": {"tls": "required"}}) as world:
        await world.receiver()
        world.domain("example.com", "127.0.0.2")
        (probe,) = await _ask(world)
        assert probe.stage is Stage.TLS
        assert "TLS is required, but was not offered" in str(probe.reply)


async def test_the_certificate_of_a_host_is_shown() -> None:
    tls, authority = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), trustme.CA()
    authority.issue_cert("mx1.example.com").configure_cert(tls)
    async with far_end() as world:
        await world.receiver(Script(tls=tls))
        world.domain("example.com", "127.0.0.2")
        (probe,) = await _ask(world)
        assert (probe.went_well, probe.tls) == (True, "TLSv1.3")
        assert probe.certificate is not None
        assert probe.certificate.names == ("mx1.example.com",)


@pytest.mark.parametrize("by_route", [False, True])
async def test_an_address_that_is_not_public_is_asked_by_a_static_route_only(by_route: bool) -> None:
    async with far_end() as world:
        await world.receiver()
        world.domain("example.com", "127.0.0.2")
        if by_route:
            world.configure(routes=[{"domains": ["example.com"], "hosts": ["127.0.0.2"]}])
        testing = world.settings.testing.model_copy(update={"loopback_receivers": False})
        (probe,) = await _ask(world, testing=testing)
        assert probe.went_well is by_route
        assert ("is not a public address" in str(probe.reply)) is not by_route
