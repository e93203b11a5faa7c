"""Everything through a smart host that wants a password."""

from __future__ import annotations

from mta.demo.script import Script
from tests.flow.harness import World, kinds


async def test_logged_in(world: World) -> None:
    smart = await world.add_receiver("127.0.0.4", Script(logins={"relay": "open sesame"}))
    password = world.directory / "relay.password"
    password.write_text("open sesame\n")
    password.chmod(0o600)
    route = {"domains": ["*"], "hosts": [f"[127.0.0.4]:{world.receiver_port}"], "tls": "none"}
    await world.start(routes=[{**route, "username": "relay", "password_file": str(password)}])
    message_id = await world.accept("ann@example.com")
    [receipt] = await world.received(1, smart.ledger)
    assert receipt.login == "relay"
    assert kinds(await world.until_ended(message_id)) == ["delivered"]
    assert world.receiver.ledger.connections == 0
    assert "open sesame" not in world.service.output() + world.service.events.read_text()


async def test_wrong_password_waits_for_the_operator(world: World) -> None:
    await world.add_receiver("127.0.0.4", Script(logins={"relay": "open sesame"}))
    password = world.directory / "relay.password"
    password.write_text("wrong\n")
    password.chmod(0o600)
    route = {"domains": ["*"], "hosts": [f"[127.0.0.4]:{world.receiver_port}"], "tls": "none"}
    await world.start(routes=[{**route, "username": "relay", "password_file": str(password)}])
    message_id = await world.accept("ann@example.com")
    events = await world.until_event(message_id, "deferred")
    assert events[0].data["fault"] != "recipient"
