"""What this machine lacks is neither the message's nor the site's fault."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any

import pytest
from structlog.testing import capture_logs

from mta.delivery import shortage as shortages
from mta.delivery.name_servers import DnsError, NotAsked
from mta.delivery.shortage import Shortage, ShortageLog, shortage, shortage_at_connect
from mta.mail.delivery import Stage
from mta.observe.labels import Resource
from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.far_end import CONTENT, deliver_to, far_end


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "resource"),
    [
        (errno.EMFILE, Resource.DESCRIPTORS),
        (errno.ENFILE, Resource.DESCRIPTORS),
        (errno.ENOBUFS, Resource.MEMORY),
        (errno.ENOMEM, Resource.MEMORY),
        (errno.ECONNREFUSED, None),
        (errno.ENETUNREACH, None),
    ],
)
def test_which_errors_are_shortages(number: int, resource: Resource | None) -> None:
    assert shortage(error(number)) is resource
    assert shortage_at_connect(error(number), "127.0.0.1") is resource


def test_no_local_port_is_a_shortage_but_no_local_address_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shortage_at_connect(error(errno.EADDRNOTAVAIL), "127.0.0.1") is Resource.PORTS
    monkeypatch.setattr(shortages, "_has_source_address", lambda _: False)
    assert shortage_at_connect(error(errno.EADDRNOTAVAIL), "2001:db8::1") is None


def test_a_line_a_minute_for_each_resource() -> None:
    now = 0.0
    subject = ShortageLog(lambda: now)
    with capture_logs() as lines:
        for _ in range(100):
            subject.note(Resource.DESCRIPTORS)
        subject.note(Resource.PORTS)
        now = 60.0
        subject.note(Resource.DESCRIPTORS)
    assert [(line["resource"], line["attempts"]) for line in lines] == [
        ("descriptors", 1),
        ("ports", 1),
        ("descriptors", 100),
    ]


class Short:
    """``socket.socket`` that raises from the ``after``-th TCP socket on."""

    def __init__(self, number: int, after: int = 0) -> None:
        self.number, self.left, self.real = number, after, socket.socket

    def __call__(self, family: int = -1, kind: int = -1, *args: Any, **more: Any) -> socket.socket:
        if family == socket.AF_INET and kind & socket.SOCK_STREAM:
            self.left -= 1
            if self.left < 0:
                raise error(self.number)
        return self.real(family, kind, *args, **more)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_without_a_socket_there_is_no_attempt(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with far_end() as far:
        receiver = await far.receiver()
        route = await far.route()
        monkeypatch.setattr("mta.delivery.dialer.socket.socket", Short(number))
        with pytest.raises(Shortage):
            await far.courier.deliver(deliver_to("ann@example.com"), route, far.path(route), CONTENT)
        monkeypatch.undo()
        await far.deliver("ann@example.com")
        assert len(receiver.ledger.receipts) == 1


async def test_a_host_that_answered_counts_though_the_next_one_could_not_be_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = Script(rules=(ScriptRule(ReceiverStage.MAIL, "*", (say("451 4.3.2 busy"),)),))
    async with far_end() as far:
        await far.receiver(busy)
        await far.receiver(None, "127.0.0.3")
        far.domain("two.example", "127.0.0.2", "127.0.0.3")
        route = await far.route("two.example")
        monkeypatch.setattr("mta.delivery.dialer.socket.socket", Short(errno.EMFILE, after=1))
        attempt = await far.courier.deliver(deliver_to("ann@two.example"), route, far.path(route), CONTENT)
        assert [(result.stage, result.reply.code) for result in attempt.results] == [(Stage.SENDER, 451)]


async def test_recipients_whose_turn_did_not_come_are_not_attempted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with far_end(shaping={"default": {"recipients_per_transaction": 1, "messages_per_connection": 1}}) as far:
        receiver = await far.receiver()
        route = await far.route()
        monkeypatch.setattr("mta.delivery.dialer.socket.socket", Short(errno.EMFILE, after=1))
        attempt = await far.courier.deliver(
            deliver_to("ann@example.com", "ben@example.com"), route, far.path(route), CONTENT
        )
        assert [str(result.recipient.address) for result in attempt.results] == ["ann@example.com"]
        assert attempt.delivery.recipients == tuple(result.recipient for result in attempt.results)
        assert not attempt.delivery.whole
        assert [str(recipient.address) for recipient in attempt.untried] == ["ben@example.com"]
        assert len(receiver.ledger.receipts) == 1


async def test_the_dns_that_cannot_be_asked_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with far_end() as far:
        await far.receiver()

        async def short(*_: Any, **__: Any) -> None:
            raise error(errno.EMFILE)

        monkeypatch.setattr("mta.delivery.name_servers._by_udp", short)
        with pytest.raises(NotAsked):
            await far.resolver.route("other.example")
        with pytest.raises(DnsError):
            await far.resolver.txt("other.example")
        monkeypatch.undo()
        assert (await far.refusal("other.example")).status == "5.1.2"


async def test_no_look_up_goes_on_when_another_could_not_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find(name: str, family: socket.AddressFamily) -> None:
        if family is socket.AF_INET6:
            raise NotAsked(Resource.DESCRIPTORS)
        await asyncio.sleep(60)

    async with far_end() as far:
        await far.receiver()
        monkeypatch.setattr(far.resolver, "_families", (socket.AF_INET6, socket.AF_INET))
        monkeypatch.setattr(far.resolver, "_find_family", find)
        before = asyncio.all_tasks()
        with pytest.raises(NotAsked):
            await far.resolver._find_families("mx.example.com")
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


async def test_idle_sessions_make_room() -> None:
    async with far_end() as far:
        await far.receiver()
        await far.receiver(None, "127.0.0.3")
        far.domain("other.example", "127.0.0.3")
        far.courier.connections = 1
        await far.deliver("ann@example.com")
        assert len(far.courier._pool) == 1
        await far.deliver("ann@other.example")
        assert [key.address for key in far.courier._pool._sessions] == ["127.0.0.3"]
