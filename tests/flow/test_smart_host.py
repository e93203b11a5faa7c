"""Everything through a smart host that wants TLS and a password."""

from __future__ import annotations

import ssl
from typing import Any

import trustme

from mta.testing.nameserver import Node
from mta.testing.receiver import Receiver
from mta.testing.script import Script
from tests.flow.harness import World, kinds


async def smart_host(world: World, password: str) -> tuple[Receiver, dict[str, Any]]:
    """A smart host with a certificate that the service trusts, and the route to it with ``password``."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("smart.example").configure_cert(context)
    trusted, secret = world.directory / "authority.pem", world.directory / "relay.password"
    authority.cert_pem.write_to_path(str(trusted))
    world.service.environment["SSL_CERT_FILE"] = str(trusted)
    secret.touch(mode=0o600)
    secret.write_text(f"{password}\n")
    world.zone["smart.example"] = Node(a=("127.0.0.4",))
    receiver = await world.add_receiver("127.0.0.4", Script(tls=context, logins={"relay": "open sesame"}))
    route = {"domains": ["*"], "hosts": [f"smart.example:{world.receiver_port}"], "tls": "required"}
    return receiver, {**route, "username": "relay", "password_file": str(secret)}


async def test_logged_in(world: World) -> None:
    smart, route = await smart_host(world, "open sesame")
    await world.start(routes=[route])
    message_id = await world.accept("ann@example.com")
    [receipt] = await world.received(1, smart.ledger)
    assert receipt.login == "relay"
    assert receipt.tls
    assert kinds(await world.until_ended(message_id)) == ["delivered"]
    assert world.receiver.ledger.connections == 0
    assert "open sesame" not in world.service.output() + world.service.events.read_text()


async def test_wrong_password_waits_for_the_operator(world: World) -> None:
    smart, route = await smart_host(world, "wrong")
    await world.start(routes=[route])
    message_id = await world.accept("ann@example.com")
    [event, *_] = await world.until_event(message_id, "deferred")
    assert event.data["fault"] != "recipient"
    assert smart.ledger.receipts == []
