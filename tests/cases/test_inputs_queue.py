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
from tests.flow.far_end import FarEnd, far_end, replies

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
