"""MTA-STS: hosts with every kind of TLS under each mode, and where policies come from (RFC 8461)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from mta.mail.delivery import Stage
from mta.mail.message import SenderTls
from mta.mail.tls_session import TlsFault, TlsResult
from mta.store.store import Store
from mta.testing.nameserver import DnsFault, Node
from mta.testing.receiver import Receiver
from tests.flow.far_end import FarEnd, far_end, replies
from tests.flow.tls_far_end import PolicyHost, kinds, policy, policy_host, served, starttls, told
from tests.unit.mta.store.make import execute

MODES = ("none", "testing", "enforce")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


async def test_every_kind_of_host_in_every_mode(authority: trustme.CA, store: Store) -> None:
    """All three domains of a kind share the host, and so the site: each gets what its own policy demands."""
    failures = {
        "valid": None,
        "injected": None,
        "expired": ("4.7.5", "certificate-expired"),
        "wrong-name": ("4.7.5", "certificate-host-mismatch"),
        "self-signed": ("4.7.5", "certificate-not-trusted"),
        "stripped": ("4.7.4", "starttls-not-supported"),
        "rejected": ("4.7.4", "starttls-not-supported"),
        "broken": ("4.7.5", "validation-failure"),
    }
    async with far_end() as far:
        far.sts_store = store.sts_policies
        receivers: dict[str, Receiver] = {}
        scripts = kinds(authority, "*.hosts.example")
        for n, kind in enumerate(failures, 10):
            host = f"{kind}.hosts.example"
            receivers[kind] = await far.receiver(scripts[kind], f"127.0.0.{n}")
            far.zone[host] = Node(a=(f"127.0.0.{n}",))
            for mode in MODES:
                far.zone[f"{mode}.{kind}.example"] = Node(mx=((10, host),))
                await store.sts_policies.keep(f"{mode}.{kind}.example", "1", policy(mode, host), 86400)
        for kind, failure in failures.items():
            for mode in MODES:
                domain = f"{mode}.{kind}.example"
                before = len(receivers[kind].ledger.receipts)
                attempt = await far.deliver(f"bob@{domain}")
                (result,) = attempt.results
                arrived = len(receivers[kind].ledger.receipts) - before
                if failure and mode == "enforce":
                    assert replies(attempt) == {"bob": f"451 {failure[0]}"}, domain
                    assert result.stage is Stage.TLS_POLICY
                    assert result.reply.text.startswith(f"MTA-STS policy of {domain}: ")
                    assert f"{kind}.hosts.example" in result.reply.text
                    assert arrived == 0
                else:
                    assert replies(attempt) == {"bob": "250 2.0.0"}, domain
                    assert arrived == 1
        by_domain = told(far.counts)
        for kind, failure in failures.items():
            counted = ("sts", 0, 1, [failure[1]]) if failure else ("sts", 1, 0, [])
            assert by_domain[f"testing.{kind}.example"] == counted
            # What was verified for one domain is as good for the other: no second session.
            assert by_domain.get(f"enforce.{kind}.example") == (counted if failure else None)
            assert by_domain[f"none.{kind}.example"][0] == "no-policy-found"
        assert {receipt.tls for receipt in receivers["valid"].ledger.receipts} == {"TLSv1.3"}
        assert {receipt.tls for receipt in receivers["injected"].ledger.receipts} == {"TLSv1.3"}
        # In testing a certificate that does not fit is used to encrypt nevertheless.
        assert {receipt.tls for receipt in receivers["expired"].ledger.receipts} == {"TLSv1.3"}
        for kind in ("stripped", "rejected", "broken"):
            assert {receipt.tls for receipt in receivers[kind].ledger.receipts} == {None}


async def test_another_host_of_the_policy_takes_the_mail(authority: trustme.CA, store: Store) -> None:
    """The first host is not in the policy, the second has no TLS; the third one is as it should be."""
    async with far_end() as far:
        far.sts_store = store.sts_policies
        for n in (2, 3):
            await far.receiver(address=f"127.0.0.{n}")
        good = await far.receiver(starttls(served(authority.issue_cert("mx3.example.com"))), "127.0.0.4")
        far.domain("example.com", "127.0.0.2", "127.0.0.3", "127.0.0.4")
        allowed = b"version: STSv1\nmode: enforce\nmx: mx2.example.com\nmx: mx3.example.com\nmax_age: 86400\n"
        await store.sts_policies.keep("example.com", "1", allowed, 86400)
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
        assert len(good.ledger.receipts) == 1
        assert far.receivers[0].ledger.connections == 0
        assert told(far.counts)["example.com"][1:3] == (1, 2)


async def test_hosts_that_are_not_in_the_policy_are_not_even_connected_to(store: Store) -> None:
    async with far_end() as far:
        far.sts_store = store.sts_policies
        receiver = await far.receiver()
        await store.sts_policies.keep("example.com", "1", policy("enforce", "*.mail.example"), 86400)
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "451 4.7.5"}
        text = "MTA-STS policy of example.com: mx1.example.com is not one of its mail hosts"
        assert attempt.results[0].reply.text == text
        assert receiver.ledger.connections == 0
        await store.sts_policies.keep("example.com", "2", policy("testing", "*.mail.example"), 86400)
        far.configure()
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
        assert told(far.counts)["example.com"] == ("sts", 0, 1, ["validation-failure"])


async def test_an_exception_and_the_senders_wish_set_a_policy_aside(store: Store) -> None:
    async with far_end() as far:
        far.sts_store = store.sts_policies
        await far.receiver()
        await store.sts_policies.keep("example.com", "1", policy("enforce", "mx1.example.com"), 86400)
        assert replies(await far.deliver("bob@example.com")) == {"bob": "451 4.7.4"}
        assert replies(await far.deliver("bob@example.com", tls=SenderTls.OPTIONAL)) == {"bob": "250 2.0.0"}
        assert told(far.counts)["example.com"][2] == 1  # such mail is not counted: it may be a report itself
        far.configure(egress={"tls_policy_exceptions": [".com"]})
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
        far.configure(egress={"mta_sts": False})
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}


# --- where policies come from


@asynccontextmanager
async def with_policy_host(
    authority: trustme.CA, store: Store, host: PolicyHost, certificate: trustme.LeafCert | None = None
) -> AsyncIterator[FarEnd]:
    """A far end whose example.com publishes a policy; its receiver has no TLS at all."""
    certificate = certificate or authority.issue_cert("mta-sts.example.com")
    async with far_end() as far, policy_host(host, served(certificate)) as port:
        far.sts_store = store.sts_policies
        far.zone["_mta-sts.example.com"] = Node(txt=("v=STSv1; id=1;",))
        far.zone["mta-sts.example.com"] = Node(a=("127.0.0.3",))
        await far.receiver()
        far.configure(testing={"policy_port": port})
        far.policy_port = port  # type: ignore[attr-defined]
        yield far


async def looked_up(far: FarEnd) -> str:
    """The reply to a message, by caches that are empty but for the store."""
    far.configure(testing={"policy_port": far.policy_port})  # type: ignore[attr-defined]
    return replies(await far.deliver("bob@example.com"))["bob"]


ENFORCE = policy("enforce", "mx1.example.com")


async def test_a_policy_is_fetched_once_and_kept(authority: trustme.CA, store: Store) -> None:
    host = PolicyHost(ENFORCE)
    async with with_policy_host(authority, store, host) as far:
        assert await looked_up(far) == "451 4.7.4"
        assert host.requests == ["GET /.well-known/mta-sts.txt HTTP/1.1"]
        for change in (Node(), DnsFault.SERVFAIL, DnsFault.NXDOMAIN, Node(txt=("v=STSv1; id=1;",) * 2)):
            far.zone["_mta-sts.example.com"] = change  # whoever takes the record away changes nothing (5.1)
            assert await looked_up(far) == "451 4.7.4"
        assert len(host.requests) == 1


async def test_a_new_id_brings_a_new_policy(authority: trustme.CA, store: Store) -> None:
    host = PolicyHost(ENFORCE)
    async with with_policy_host(authority, store, host) as far:
        assert await looked_up(far) == "451 4.7.4"
        host.body = policy("none", "mx1.example.com")
        assert await looked_up(far) == "451 4.7.4"  # the record is as before
        far.zone["_mta-sts.example.com"] = Node(txt=("v=STSv1; id=2;",))
        assert await looked_up(far) == "250 2.0.0"
        assert len(host.requests) == 2


async def test_an_old_policy_stays_when_the_new_one_cannot_be_had(authority: trustme.CA, store: Store) -> None:
    host = PolicyHost(ENFORCE)
    async with with_policy_host(authority, store, host) as far:
        assert await looked_up(far) == "451 4.7.4"
        host.status = "404 Not Found"
        far.zone["_mta-sts.example.com"] = Node(txt=("v=STSv1; id=2;",))
        assert await looked_up(far) == "451 4.7.4"
        assert await looked_up(far) == "451 4.7.4"
        assert len(host.requests) == 2  # and is not asked for again so soon
        host.status, host.body = "200 OK", policy("testing", "mx1.example.com")
        await execute(store, "update mta_sts_policy set tried_at = now() - interval '10 minutes'")
        assert await looked_up(far) == "250 2.0.0"
        await execute(store, "update mta_sts_policy set expires_at = now()")
        host.status = "404 Not Found"
        assert await looked_up(far) == "250 2.0.0"
        found = await store.sts_policies.find("example.com", pause=300)
        assert found is not None
        assert found.policy is None


FAULTS = {
    "not found": (PolicyHost(ENFORCE, status="404 Not Found"), TlsResult.STS_POLICY_FETCH_ERROR),
    "a redirect": (
        PolicyHost(ENFORCE, status="301 Moved Permanently", more="Location: https://mta-sts.example.com/x\r\n"),
        TlsResult.STS_POLICY_FETCH_ERROR,
    ),
    "a page": (PolicyHost(ENFORCE, media_type="text/html"), TlsResult.STS_POLICY_INVALID),
    "too large": (PolicyHost(ENFORCE + b"x: y\n" * 20_000), TlsResult.STS_POLICY_FETCH_ERROR),
    "not a policy": (PolicyHost(b"It works!\n"), TlsResult.STS_POLICY_INVALID),
}


@pytest.mark.parametrize(("host", "result"), FAULTS.values(), ids=FAULTS.keys())
async def test_what_is_no_policy(authority: trustme.CA, store: Store, host: PolicyHost, result: TlsResult) -> None:
    async with with_policy_host(authority, store, host) as far:
        assert await looked_up(far) == "250 2.0.0"
        assert len(host.requests) == 1
        found = await store.sts_policies.find("example.com", pause=300)
        assert found is not None
        assert found.fault is not None
        assert found.fault.result is result
        assert {(each.policy.kind.value, each.failed) for each in far.counts.take()} >= {("sts", 1)}


async def test_the_policy_host_must_have_a_valid_certificate(authority: trustme.CA, store: Store) -> None:
    host = PolicyHost(ENFORCE)
    async with with_policy_host(authority, store, host, authority.issue_cert("www.example.com")) as far:
        assert await looked_up(far) == "250 2.0.0"
        assert host.requests == []
        found = await store.sts_policies.find("example.com", pause=300)
        assert found is not None
        assert isinstance(found.fault, TlsFault)
        assert found.fault.result is TlsResult.STS_WEBPKI_INVALID


async def test_policies_in_use_are_fetched_again_before_they_expire(authority: trustme.CA, store: Store) -> None:
    host = PolicyHost(ENFORCE)
    async with with_policy_host(authority, store, host) as far:
        assert await looked_up(far) == "451 4.7.4"
        assert far.resolver.sts_policies is not None
        await far.resolver.sts_policies.refresh(10)
        assert len(host.requests) == 1
        await execute(store, "update mta_sts_policy set tried_at = now() - interval '2 days', used_at = now()")
        await far.resolver.sts_policies.refresh(10)
        assert len(host.requests) == 2
        await execute(store, "update mta_sts_policy set tried_at = now() - interval '2 days', used_at = '2020-01-01'")
        await far.resolver.sts_policies.refresh(10)
        assert len(host.requests) == 2
        await execute(store, "update mta_sts_policy set expires_at = now() - interval '2 days'")
        await store.sts_policies.sweep()
        assert await store.sts_policies.find("example.com", pause=300) is None
