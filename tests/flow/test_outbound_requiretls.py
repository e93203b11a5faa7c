"""REQUIRETLS (RFC 8689) towards receivers, client certificates, and hosts that are denied."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from mta.mail.delivery import Stage
from mta.mail.message import SenderTls
from mta.store.store import Store
from mta.testing.nameserver import Node
from mta.testing.script import Script
from tests.flow.far_end import far_end, replies
from tests.flow.tls_far_end import kinds, policy, served, starttls

WANTED = {"tls": SenderTls.REQUIRED}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def offering(context: ssl.SSLContext | None) -> Script:
    """A receiver that knows REQUIRETLS."""
    return Script(tls=context, extensions=("PIPELINING", "REQUIRETLS"))


async def test_it_goes_with_the_message_to_a_host_that_is_vouched_for(authority: trustme.CA, store: Store) -> None:
    async with far_end() as far:
        far.sts_store = store.sts_policies
        receiver = await far.receiver(offering(served(authority.issue_cert("mx1.example.com"))))
        await store.sts_policies.keep("example.com", "1", policy("testing", "mx1.example.com"), 86400)
        assert replies(await far.deliver("bob@example.com", **WANTED)) == {"bob": "250 2.0.0"}
        mail = [line for _, line in receiver.ledger.commands if line.startswith("MAIL")]
        assert mail == ["MAIL FROM:<ann@sender.example> REQUIRETLS"]
        assert receiver.ledger.receipts[0].tls == "TLSv1.3"
        await far.deliver("bob@example.com")
        assert [line for _, line in receiver.ledger.commands if line.startswith("MAIL")][1:] == [
            "MAIL FROM:<ann@sender.example>"
        ]


async def test_a_host_that_nobody_vouches_for_is_final(authority: trustme.CA) -> None:
    async with far_end() as far:
        receiver = await far.receiver(offering(served(authority.issue_cert("mx1.example.com"))))
        attempt = await far.deliver("bob@example.com", **WANTED)
        assert replies(attempt) == {"bob": "550 5.7.10"}
        assert attempt.results[0].stage is Stage.SENDER  # so that no retry follows
        assert attempt.results[0].reply.text.startswith("REQUIRETLS: ")
        assert receiver.ledger.connections == 0
        # DNSSEC vouches for it as well.
        far.nameserver.secure = True
        far.zone["example.com"] = Node(mx=((10, "mx1.example.com"),), secure=True)
        far.configure(dns={"validating": True})
        assert replies(await far.deliver("bob@example.com", **WANTED)) == {"bob": "250 2.0.0"}


async def test_hosts_that_do_not_know_it_or_cannot_prove_who_they_are(authority: trustme.CA, store: Store) -> None:
    scripts = kinds(authority, "mx1.example.com")
    for kind, expected in (
        ("valid", "550 5.7.30"),
        ("self-signed", "550 5.7.10"),
        ("wrong-name", "550 5.7.10"),
        ("stripped", "550 5.7.10"),
        ("broken", "451 4.7.5"),  # TLS may work another time
    ):
        async with far_end() as far:
            far.sts_store = store.sts_policies
            receiver = await far.receiver(scripts[kind])
            await store.sts_policies.keep("example.com", "1", policy("testing", "mx1.example.com"), 86400)
            assert replies(await far.deliver("bob@example.com", **WANTED)) == {"bob": expected}, kind
            assert receiver.ledger.receipts == []


async def test_the_next_host_may_do_and_one_that_is_down_is_waited_for(authority: trustme.CA, store: Store) -> None:
    async with far_end() as far:
        far.sts_store = store.sts_policies
        await far.receiver(starttls(served(authority.issue_cert("mx1.example.com"))))
        second = await far.receiver(offering(served(authority.issue_cert("mx2.example.com"))), "127.0.0.3")
        far.domain("example.com", "127.0.0.2", "127.0.0.3")
        await store.sts_policies.keep("example.com", "1", policy("testing", "*.example.com"), 86400)
        assert replies(await far.deliver("bob@example.com", **WANTED)) == {"bob": "250 2.0.0"}
        assert len(second.ledger.receipts) == 1
        await far.courier.close()
        await second.stop()
        assert replies(await far.deliver("bob@example.com", **WANTED)) == {"bob": "451 4.4.1"}


async def test_a_smart_host_must_be_verified_and_know_it(authority: trustme.CA) -> None:
    async with far_end() as far:
        receiver = await far.receiver(offering(served(authority.issue_cert("mx1.example.com"))))
        far.configure(routes=[{"domains": ["*"], "hosts": [f"mx1.example.com:{far.port}"]}])
        assert replies(await far.deliver("bob@any.example", **WANTED)) == {"bob": "250 2.0.0"}
        assert receiver.ledger.receipts[0].tls == "TLSv1.3"
        far.zone["other.example"] = Node(a=("127.0.0.2",))
        far.configure(routes=[{"domains": ["*"], "hosts": [f"other.example:{far.port}"]}])
        assert replies(await far.deliver("bob@any.example", **WANTED)) == {"bob": "550 5.7.10"}


async def test_a_client_certificate_is_shown_where_one_is_asked_for(authority: trustme.CA, tmp_path: Path) -> None:
    context = served(authority.issue_cert("mx1.example.com"))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    ours = authority.issue_cert("out.sender.example")
    chain, key = tmp_path / "ours.pem", tmp_path / "ours.key"
    ours.private_key_pem.write_to_path(str(key))
    for pem in ours.cert_chain_pems:
        pem.write_to_path(str(chain), append=True)
    mine = {"certificate": str(chain), "key": str(key)}
    async with far_end() as far:
        receiver = await far.receiver(starttls(context))
        await far.deliver("bob@example.com")
        assert receiver.ledger.receipts[-1].tls is None  # opportunistic: plain text rather than nothing
        far.configure(egress={"sources": [{"name": "out-1", "address": "127.0.0.1", **mine}]})
        await far.deliver("bob@example.com")
        assert receiver.ledger.receipts[-1].tls == "TLSv1.3"
        route = {"domains": ["*"], "hosts": [f"mx1.example.com:{far.port}"], "tls": "required"}
        far.configure(routes=[route])
        assert replies(await far.deliver("bob@example.com")) != {"bob": "250 2.0.0"}
        far.configure(routes=[route | mine])
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}


async def test_denied_hosts(authority: trustme.CA) -> None:
    async with far_end() as far:
        first = await far.receiver()
        second = await far.receiver(address="127.0.0.3")
        far.domain("example.com", "127.0.0.2", "127.0.0.3")
        for denied, arrived in (
            ({"host": "mx1.example.com"}, (0, 1)),
            ({"network": "127.0.0.2"}, (0, 1)),
            ({"network": "127.0.0.3/32"}, (1, 0)),
            ({"host": ".other.example"}, (1, 0)),
        ):
            before = len(first.ledger.receipts), len(second.ledger.receipts)
            far.configure(egress={"denied_hosts": [denied]})
            assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
            after = len(first.ledger.receipts), len(second.ledger.receipts)
            assert (after[0] - before[0], after[1] - before[1]) == arrived, denied
        entry = {"host": ".example.com", "code": 556, "status": "5.1.10", "text": "a trap for spammers"}
        far.configure(egress={"denied_hosts": [entry]})
        assert str(await far.refusal()) == "556 5.1.10 a trap for spammers"
