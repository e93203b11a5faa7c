"""Every clause in the client's table: the real outbound stage towards a receiver that says what the table says."""

from __future__ import annotations

import ssl

import pytest
import trustme

from tests.conformance.client import ScriptedReceiver, converse
from tests.conformance.dialogue import Check, read_table
from tests.flow.far_end import far_end

CHECKS = read_table("client")


@pytest.fixture(scope="module")
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("mx1.example.com").configure_cert(context)
    return context


@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_clause(check: Check, tls: ssl.SSLContext) -> None:
    receiver = ScriptedReceiver(check, tls)
    port = await receiver.start("127.0.0.2")
    mode = "opportunistic" if "tls" in check.places else "none"
    async with far_end(
        testing={"receiver_port": port}, egress={"max_hosts": 1}, shaping={"default": {"tls": mode}}
    ) as far:
        far.receivers.append(receiver)  # closed with the far end
        far.port = port
        far.configure()
        assert await converse(check, far, receiver) == []
