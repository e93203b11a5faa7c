"""Smart hosts: which destinations, which hosts in which order, and AUTH."""

import ssl
from pathlib import Path

import pytest
import trustme

from mta.delivery.route import SmartHostLogin, TlsPolicy
from mta.mail.delivery import Stage as Reached
from mta.testing.nameserver import DnsFault, Node
from mta.testing.script import AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule, say
from tests.flow.far_end import far_end, replies


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    authority.issue_cert("mx1.example.com").configure_cert(context)
    return context


@pytest.fixture
def password(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text("open sesame\n")
    path.chmod(0o600)
    return str(path)


async def test_routes_come_before_dns_and_the_most_specific_counts() -> None:
    routes = [
        {"domains": ["*"], "hosts": ["mx1.example.com"]},
        {"domains": [".example.org"], "hosts": ["[127.0.0.4]:2525"]},
        {"domains": ["Sub.Example.Org"], "hosts": ["127.0.0.5"], "tls": "none"},
    ]
    async with far_end(routes=routes) as far:
        await far.receiver()
        wanted = {
            "example.net": ("127.0.0.2", far.port),
            "example.org": ("127.0.0.2", far.port),
            "a.example.org": ("127.0.0.4", 2525),
            "b.a.example.org": ("127.0.0.4", 2525),
            "sub.example.org": ("127.0.0.5", far.port),
        }
        for domain, (address, port) in wanted.items():
            route = await far.route(domain)
            assert [(target.address, target.port) for target in route.hosts] == [(address, port)], domain
        assert (await far.route("sub.example.org")).tls is TlsPolicy.NONE
        assert (await far.route("example.net")).site == (await far.route("example.org")).site
        assert far.nameserver.asked("example.net", "MX") == 0


async def test_hosts_are_tried_in_order() -> None:
    async with far_end(routes=[{"domains": ["*"], "hosts": ["[127.0.0.9]", "mx1.example.com", "[127.0.0.8]"]}]) as far:
        receiver = await far.receiver()
        assert [target.address for target in (await far.route()).tries()] == ["127.0.0.9", "127.0.0.2", "127.0.0.8"]
        assert replies(await far.deliver("bob@anywhere.example")) == {"bob": "250 2.0.0"}
        assert len(receiver.ledger.receipts) == 1


@pytest.mark.parametrize("node", [None, DnsFault.SERVFAIL, Node(txt=("x",))])
async def test_a_smart_host_that_cannot_be_found_bounces_nothing(node: Node | DnsFault | None) -> None:
    async with far_end(routes=[{"domains": ["*"], "hosts": ["smart.example.net"]}]) as far:
        await far.receiver()
        if node:
            far.zone["smart.example.net"] = node
        reply = await far.refusal()
        assert (reply.code, reply.status) == (451, "4.4.4")
        assert "smart.example.net" in reply.text


async def test_providers_limits_hold_for_routes() -> None:
    shaping = {"providers": [{"name": "relay", "mx": [".example.com"], "connections": 3}]}
    async with far_end(shaping=shaping, routes=[{"domains": ["*"], "hosts": ["mx1.example.com"]}]) as far:
        await far.receiver()
        route = await far.route("anywhere.example")
        assert (route.site, route.shaping.connections) == ("relay", 3)


@pytest.mark.parametrize("mechanisms", ["PLAIN LOGIN", "LOGIN"])
async def test_auth(mechanisms: str, context: ssl.SSLContext, password: str) -> None:
    async with far_end() as far:
        script = Script(tls=context, logins={"shop": "open sesame"}, mechanisms=mechanisms)
        receiver = await far.receiver(script)
        static = {"domains": ["*"], "hosts": ["mx1.example.com"], "tls": "required"}
        far.configure(routes=[static | {"username": "shop", "password_file": password}])
        assert replies(await far.deliver("bob@anywhere.example")) == {"bob": "250 2.0.0"}
        assert receiver.ledger.receipts[0].login == "shop"
        await far.deliver("bob@anywhere.example")
        assert receiver.ledger.connections == 1


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        (Script(logins={"shop": "another"}), "454 4.7.0"),
        (Script(logins={"shop": "open sesame"}, mechanisms="GSSAPI"), "454 4.7.0"),
        (Script(), "454 4.7.0"),
        (
            Script(logins={"shop": "x"}, rules=(ScriptRule(ReceiverStage.AUTH, "*", (say("535 5.7.8 no"),)),)),
            "454 4.7.0",
        ),
        (
            Script(
                logins={"shop": "x"},
                rules=(ScriptRule(ReceiverStage.AUTH, "*", (ScriptedReply(reply=b"", end=AfterReply.CLOSE),)),),
            ),
            "451 4.4.2",
        ),
    ],
)
async def test_a_refused_login_bounces_nothing(
    script: Script, reply: str, context: ssl.SSLContext, password: str
) -> None:
    """It is our own mistake, and mail waits until it is mended. The password is in no reply."""
    async with far_end() as far:
        receiver = await far.receiver(
            Script(tls=context, logins=script.logins, mechanisms=script.mechanisms, rules=script.rules)
        )
        static = {"domains": ["*"], "hosts": ["mx1.example.com"], "tls": "required"}
        far.configure(routes=[static | {"username": "shop", "password_file": password}])
        attempt = await far.deliver("bob@anywhere.example")
        assert replies(attempt) == {"bob": reply}
        assert attempt.results[0].stage is Reached.HELLO
        assert "sesame" not in repr(attempt)
        assert receiver.ledger.receipts == []


async def test_no_password_without_tls(password: str) -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(logins={"shop": "open sesame"}))
        static = {"domains": ["*"], "hosts": ["mx1.example.com"]}
        far.configure(routes=[static | {"username": "shop", "password_file": password}])
        assert replies(await far.deliver("bob@anywhere.example")) == {"bob": "454 4.7.0"}
        assert not [line for _, line in receiver.ledger.commands if line.startswith("AUTH")]


async def test_a_session_with_a_login_is_not_for_others(context: ssl.SSLContext, password: str) -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(tls=context, logins={"shop": "open sesame"}))
        static = {"domains": ["via.example"], "hosts": ["mx1.example.com"], "tls": "required"}
        far.configure(routes=[static | {"username": "shop", "password_file": password}])
        await far.deliver("bob@via.example")
        await far.deliver("bob@example.com")
        assert [receipt.login for receipt in receiver.ledger.receipts] == ["shop", None]


def test_a_password_is_never_shown() -> None:
    assert "sesame" not in repr(SmartHostLogin("shop", "open sesame"))
