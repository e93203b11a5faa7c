"""DANE: what TLSA records of each kind make of a host, and that nothing takes them away (RFC 7672)."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mta.mail.delivery import Stage
from mta.mail.reply import Reply
from mta.store.store import Store
from mta.testing.nameserver import DnsFault, Node
from mta.testing.script import Script
from tests.flow.far_end import FarEnd, far_end, replies
from tests.flow.tls_far_end import kinds, policy, served, starttls, told

OTHER = bytes(32)


def key_digest(pem: trustme.Blob) -> bytes:
    key = x509.load_pem_x509_certificate(pem.bytes()).public_key()
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def certificate_digest(pem: trustme.Blob) -> bytes:
    return sha256(x509.load_pem_x509_certificate(pem.bytes()).public_bytes(Encoding.DER)).digest()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """One that nobody but TLSA records trusts."""
    return trustme.CA()


@pytest.fixture(scope="module")
def leaf(authority: trustme.CA) -> trustme.LeafCert:
    return authority.create_child_ca().issue_cert("mx1.example.com")


@pytest.fixture(scope="module")
def with_root(
    authority: trustme.CA, leaf: trustme.LeafCert, tmp_path_factory: pytest.TempPathFactory
) -> ssl.SSLContext:
    """The receiver's, which sends its chain up to the root, as DANE-TA wants it."""
    path = tmp_path_factory.mktemp("chain") / "chain.pem"
    chain = [*leaf.cert_chain_pems, authority.cert_pem]
    path.write_bytes(leaf.private_key_pem.bytes() + b"".join(pem.bytes() for pem in chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@asynccontextmanager
async def signed_zone(script: Script | None) -> AsyncIterator[FarEnd]:
    """A far end behind a resolver that validates; example.com and its host are signed."""
    async with far_end(dns={"validating": True}) as far:
        far.nameserver.secure = True
        await far.receiver(script)
        secure(far, "example.com", "mx1.example.com")
        yield far


def secure(far: FarEnd, *names: str) -> None:
    for name in names:
        node = far.zone[name]
        assert isinstance(node, Node)
        far.zone[name] = replace(node, secure=True)


def publish(
    far: FarEnd, *records: tuple[int, int, int, bytes], host: str = "mx1.example.com", signed: bool = True
) -> None:
    far.zone[f"_{far.port}._tcp.{host}"] = Node(tlsa=records, secure=signed)


async def outcome(far: FarEnd) -> str:
    """The reply by empty caches; `` TLS`` behind it if it was encrypted."""
    far.configure()
    attempt = await far.deliver("bob@example.com")
    return replies(attempt)["bob"] + (" TLS" if attempt.host and attempt.host.tls else "")


async def test_usages_and_what_they_match(
    authority: trustme.CA, leaf: trustme.LeafCert, with_root: ssl.SSLContext
) -> None:
    server, root = leaf.cert_chain_pems[0], authority.cert_pem
    async with signed_zone(starttls(with_root)) as far:
        for records, expected in (
            ([(3, 1, 1, key_digest(server))], "250 2.0.0 TLS"),
            ([(3, 0, 1, certificate_digest(server))], "250 2.0.0 TLS"),
            ([(2, 0, 1, certificate_digest(root))], "250 2.0.0 TLS"),
            ([(2, 1, 1, key_digest(root))], "250 2.0.0 TLS"),
            ([(3, 1, 1, OTHER), (3, 1, 1, key_digest(server))], "250 2.0.0 TLS"),  # the next key, published ahead
            ([(3, 1, 1, OTHER)], "451 4.7.5"),
            ([(2, 0, 1, certificate_digest(server))], "451 4.7.5"),
            ([(3, 1, 1, key_digest(root))], "451 4.7.5"),
            # None of them is usable: encrypted, whatever the certificate (RFC 7672 2.2).
            ([(0, 0, 1, OTHER), (1, 1, 1, OTHER), (3, 1, 9, OTHER), (3, 9, 1, OTHER)], "250 2.0.0 TLS"),
            ([(1, 1, 1, OTHER), (3, 1, 1, OTHER)], "451 4.7.5"),
        ):
            publish(far, *records)
            assert await outcome(far) == expected, records
        published = far.counts.take()
        assert {each.policy.kind.value for each in published} == {"tlsa"}
        assert sum(each.successful for each in published) == 6
        assert sum(each.failed for each in published) == 4


async def test_a_mismatch_says_whose_policy_it_is_and_tries_the_next_host(with_root: ssl.SSLContext) -> None:
    async with signed_zone(starttls(with_root)) as far:
        publish(far, (3, 1, 1, OTHER))
        attempt = await far.deliver("bob@example.com")
        (result,) = attempt.results
        assert result.stage is Stage.TLS_POLICY
        text = "DANE for mx1.example.com: TLS with mx1.example.com failed: no TLSA record matches the certificate"
        assert result.reply == Reply(451, "4.7.5", text)
        second = await far.receiver(address="127.0.0.3")  # without TLSA records, and without TLS
        far.domain("example.com", "127.0.0.2", "127.0.0.3")
        secure(far, "example.com", "mx1.example.com", "mx2.example.com")
        assert await outcome(far) == "250 2.0.0"
        assert len(second.ledger.receipts) == 1


@pytest.mark.parametrize("kind", ["stripped", "rejected", "broken"])
async def test_never_plain_text_where_records_demand_tls(authority: trustme.CA, kind: str) -> None:
    async with signed_zone(kinds(authority, "mx1.example.com")[kind]) as far:
        for usage in (1, 3):
            publish(far, (usage, 1, 1, OTHER))
            assert (await outcome(far)).startswith("451 4.7.")
        assert far.receivers[0].ledger.receipts == []


@pytest.mark.parametrize("kind", ["expired", "wrong-name", "self-signed", "injected"])
async def test_a_key_that_is_named_needs_no_authority(kind: str, authority: trustme.CA, tmp_path: Path) -> None:
    script = kinds(authority, "mx1.example.com")[kind]
    async with signed_zone(script) as far:
        assert script.tls is not None
        far.zone[f"_{far.port}._tcp.mx1.example.com"] = Node(tlsa=((3, 1, 1, await shown(far)),), secure=True)
        assert await outcome(far) == "250 2.0.0 TLS"
        assert told(far.counts)["example.com"] == ("tlsa", 1, 0, [])


async def shown(far: FarEnd) -> bytes:
    """The digest of the key that the receiver has; as an operator would find it."""
    await far.deliver("bob@example.com")
    (session,) = [each for waiting in far.courier._pool._sessions.values() for each in waiting]
    certificate = x509.load_der_x509_certificate(session.protocol.certificates()[0])
    far.counts.take()
    return sha256(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


async def test_a_lookup_that_fails_defers(with_root: ssl.SSLContext) -> None:
    """Bogus records are SERVFAIL to us, as is an attacker who suppresses them (RFC 7672 2.1.3)."""
    async with signed_zone(starttls(with_root)) as far:
        for fault in (DnsFault.SERVFAIL, DnsFault.REFUSED):
            far.zone[f"_{far.port}._tcp.mx1.example.com"] = fault
            far.configure()
            attempt = await far.deliver("bob@example.com")
            assert replies(attempt) == {"bob": "451 4.7.5"}
            assert "TLSA" in attempt.results[0].reply.text
            assert far.receivers[0].ledger.connections == 0
        assert told(far.counts)["example.com"] == ("tlsa", 0, 2, ["dnssec-invalid"] * 2)


async def test_records_that_are_not_secure_do_not_count(with_root: ssl.SSLContext) -> None:
    async with signed_zone(starttls(with_root)) as far:
        publish(far, (3, 1, 1, OTHER))
        assert await outcome(far) == "451 4.7.5"
        publish(far, (3, 1, 1, OTHER), signed=False)
        assert await outcome(far) == "250 2.0.0 TLS"
        publish(far, (3, 1, 1, OTHER))
        for name in ("example.com", "mx1.example.com"):
            node = far.zone[name]
            assert isinstance(node, Node)
            far.zone[name] = replace(node, secure=False)
            asked = far.nameserver.asked(f"_{far.port}._tcp.mx1.example.com", "TLSA")
            assert await outcome(far) == "250 2.0.0 TLS"
            assert far.nameserver.asked(f"_{far.port}._tcp.mx1.example.com", "TLSA") == asked
            far.zone[name] = node


async def test_without_a_validating_resolver_there_is_no_dane(with_root: ssl.SSLContext) -> None:
    async with signed_zone(starttls(with_root)) as far:
        publish(far, (3, 1, 1, OTHER))
        far.configure(dns={"validating": False})
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
        far.configure(egress={"dane": False})
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
        assert far.nameserver.asked(f"_{far.port}._tcp.mx1.example.com", "TLSA") == 0


async def test_the_records_of_an_alias(leaf: trustme.LeafCert, with_root: ssl.SSLContext) -> None:
    """A host that is an alias has its records where the alias leads, else at its own name (RFC 7672 2.2.3)."""
    async with signed_zone(starttls(with_root)) as far:
        far.zone["mx1.example.com"] = Node(cname="host.provider.example", secure=True)
        far.zone["host.provider.example"] = Node(a=("127.0.0.2",), secure=True)
        publish(far, (3, 1, 1, OTHER))
        assert await outcome(far) == "451 4.7.5"
        publish(far, (3, 1, 1, key_digest(leaf.cert_chain_pems[0])), host="host.provider.example")
        assert await outcome(far) == "250 2.0.0 TLS"


async def test_a_domain_without_mx_is_its_own_host(authority: trustme.CA) -> None:
    certificate = authority.issue_cert("lone.example")
    async with signed_zone(starttls(served(certificate))) as far:
        far.zone["lone.example"] = Node(a=("127.0.0.2",), secure=True)
        publish(far, (3, 1, 1, OTHER), host="lone.example")
        assert replies(await far.deliver("bob@lone.example")) == {"bob": "451 4.7.5"}
        publish(far, (3, 1, 1, key_digest(certificate.cert_chain_pems[0])), host="lone.example")
        far.configure()
        assert replies(await far.deliver("bob@lone.example")) == {"bob": "250 2.0.0"}


async def test_dane_comes_before_mta_sts(leaf: trustme.LeafCert, with_root: ssl.SSLContext, store: Store) -> None:
    async with signed_zone(starttls(with_root)) as far:
        far.sts_store = store.sts_policies
        await store.sts_policies.keep("example.com", "1", policy("enforce", "other.example"), 86400)
        publish(far, (3, 1, 1, key_digest(leaf.cert_chain_pems[0])))
        assert await outcome(far) == "250 2.0.0 TLS"
        await store.sts_policies.keep("example.com", "1", policy("testing", "mx1.example.com"), 86400)
        publish(far, (3, 1, 1, OTHER))
        assert await outcome(far) == "451 4.7.5"
