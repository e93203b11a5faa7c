"""Receivers, name servers and replies that outsiders met, each by its own script, against the outbound stage."""

from __future__ import annotations

import asyncio
import ctypes.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from mta.testing.nameserver import Node
from mta.testing.script import MANNERS, AfterReply, ReceiverStage, Script, ScriptRule, say
from tests.flow.far_end import FarEnd, far_end, replies
from tests.flow.harness import kinds, message, open_world

INPUTS = Path(__file__).parent / "inputs"
PATIENCE = 30.0  # seconds


async def free_port(address: str = "127.0.0.1") -> int:
    server = await asyncio.start_server(lambda *_: None, address, 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


@asynccontextmanager
async def running(script: str, *arguments: object, cwd: Path | None = None) -> AsyncIterator[None]:
    """Run one of the inputs for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(sys.executable, INPUTS / script, *map(str, arguments), cwd=cwd)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def listening(address: str, port: int) -> None:
    """Wait until somebody listens there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection(address, port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def reach(far: FarEnd, address: str, port: int) -> None:
    """example.com is served at ``address``, by something that is no receiver of the far end."""
    far.port = port
    far.domain("example.com", address)
    far.configure()


@pytest.mark.parametrize("place", ["banner", "ehlo"])
async def test_12_a_blank_line_before_the_banner_or_in_the_ehlo_reply(place: str) -> None:
    port = await free_port()
    async with far_end() as far, running("12-receiver-blank-line.py", port, place):
        await listening("127.0.0.1", port)
        reach(far, "127.0.0.1", port)
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}


async def test_30_a_receiver_without_rfc_5746_is_encrypted(tmp_path: Path) -> None:
    if not ctypes.util.find_library("gnutls"):
        pytest.skip("needs libgnutls")
    issued = trustme.CA().issue_cert("legacy.example")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    async with far_end() as far, running("30-receiver-without-rfc5746.py", "127.0.2.40", cwd=tmp_path):
        await listening("127.0.2.40", 22025)
        reach(far, "127.0.2.40", 22025)
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert attempt.host is not None
        assert attempt.host.tls == "TLSv1.2"


@pytest.mark.parametrize("mode", ["formerr", "drop"])
async def test_13_a_name_server_that_does_not_know_edns(mode: str) -> None:
    async with far_end() as far, running("13-nameserver-without-edns.py", port := await free_port(), mode):
        receiver = await far.receiver(address="127.0.0.1")
        far.configure(dns={"servers": [f"127.0.0.1:{port}"], "timeout": "6s"})
        for _ in range(2):
            assert replies(await far.deliver("a@plain.example")) == {"a": "250 2.0.0"}
        assert len(receiver.ledger.accepted) == 2


async def test_p3_an_mx_that_is_an_address_or_lacks_its_dot() -> None:
    records = [line.split() for line in (INPUTS / "P3-mx-is-an-address.txt").read_text().splitlines()]
    async with far_end() as far:
        await far.receiver()
        told = []
        for domain, _, preference, host in records:
            far.zone[domain.rstrip(".")] = Node(mx=((int(preference), host.rstrip(".")),))
            told.append((await far.refusal(domain.rstrip("."))).text)
    assert told == [
        "the MX of d.example is 192.0.2.9, an address instead of a host name",
        "no mail host of e.example has an address: mail.e.example.e.example does not exist: a dot missing in the zone?",
    ]


@pytest.mark.parametrize("retried", ["due mail", "greylisted mail"])
async def test_32_a_domain_whose_mx_moved_does_not_wait_for_the_dead_host(
    retried: str, tmp_path: Path, database_url: str
) -> None:
    """Nothing listens at 127.0.0.99; its backoff lasts longer than this test may."""
    async with open_world(tmp_path, database_url) as world:
        world.receiver.script = Script(rules=MANNERS)
        world.zone["mx.dead.example"] = Node(a=("127.0.0.99",), ttl=1)
        dead = Node(mx=((10, "mx.dead.example"),), ttl=1)
        world.zone.update({"moved.example": dead, "stays.example": dead})
        await world.start(
            queue={"retry_schedule": ["2s"]},
            dns={"min_ttl": "1s"},
            shaping={"default": {"backoff": "60s"}},
            observe={"events": str(world.directory / "events.jsonl")},
        )
        stuck = [await world.accept(f"ann{n}@{name}.example") for n in range(2) for name in ("stays", "moved")]

        async def in_backoff() -> bool:
            return "destination_backoff" in (world.directory / "events.jsonl").read_text()

        await world.until(in_backoff)
        world.zone["moved.example"] = Node(mx=((10, "mx1.example.com"),), ttl=1)
        if retried == "due mail":
            await world.received(2)
            assert {kinds(await world.until_ended(message))[-1] for message in stuck[1::2]} == {"delivered"}
        else:
            grey = await world.accept("grey@moved.example")
            assert kinds(await world.until_ended(grey)) == ["deferred", "delivered"]
        assert not [receipt for receipt in world.taken if "stays" in str(receipt.recipients)]


@pytest.mark.nightly
async def test_33_a_receiver_that_limits_us_is_given_less_and_no_breaker_trips(
    tmp_path: Path, database_url: str
) -> None:
    reply = (INPUTS / "33-rate-limited-by-receiver.txt").read_text().strip()
    async with open_world(tmp_path, database_url) as world:
        limited = ScriptRule(ReceiverStage.END, "*", (say(reply, end=AfterReply.CLOSE),))
        world.receiver.script = Script(rules=(limited,))
        await world.start(shaping={"default": {"backoff": "2s"}}, queue={"retry_schedule": ["1s"]})
        async with world.client() as smtp:
            for n in range(100):
                await smtp.sendmail("ann@sender.example", f"r{n}@example.com", message())
        await world.patiently(world.receiver.ledger.wait_until(lambda ledger: len(ledger.receipts) >= 5))
        assert len(world.receiver.ledger.receipts) < 20
        world.receiver.script = Script()
        await world.received(100)
        assert await world.db.fetchval("select count(*) from breaker") == 0
