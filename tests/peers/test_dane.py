"""DANE behind a resolver that validates for itself: unbound, with a signed zone of our own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench import programs
from bench.service import free_port
from config.schema import DnsSettings
from mta.delivery.dnssec_check import validation_fault
from tests.flow.far_end import FarEnd, far_end, replies
from tests.flow.tls_far_end import served, starttls, told
from tests.peers.unbound import UNSIGNED, Unbound

pytestmark = [pytest.mark.peer, pytest.mark.skipif(bool(programs.absent("unbound")), reason="unbound is not here")]

OTHER = "00" * 32
HOST = """
example.com. 300 IN MX 10 mx1.example.com.
mx1.example.com. 300 IN A 127.0.0.2
"""


@pytest.fixture
def unbound(tmp_path: Path) -> Unbound:
    return Unbound(tmp_path / "unbound", free_port())


@pytest.fixture
def leaf() -> trustme.LeafCert:
    return trustme.CA().issue_cert("mx1.example.com")


def key_digest(leaf: trustme.LeafCert) -> str:
    key = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).public_key()
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


@asynccontextmanager
async def behind(unbound: Unbound, context: ssl.SSLContext) -> AsyncIterator[FarEnd]:
    """A far end that asks unbound, as an operator sets it up; its receiver has ``context``."""
    dns = {"servers": [f"127.0.0.1:{unbound.port}"], "validating": True, "timeout": "20s"}
    try:
        async with far_end(dns=dns) as far:
            await far.receiver(starttls(context))
            yield far
    finally:
        unbound.stop()


async def outcome(far: FarEnd, unbound: Unbound, records: str, domain: str = "example.com", tampered: str = "") -> str:
    """The reply to mail for ``domain`` with these records and empty caches; `` TLS`` behind it if it was encrypted."""
    await asyncio.to_thread(unbound.start, records, tampered)
    far.configure()
    attempt = await far.deliver(f"bob@{domain}")
    return replies(attempt)["bob"] + (" TLS" if attempt.host and attempt.host.tls else "")


def tlsa(far: FarEnd, digest: str, host: str = "mx1.example.com") -> str:
    return f"_{far.port}._tcp.{host}. 300 IN TLSA 3 1 1 {digest}\n"


async def test_what_the_resolver_proves_decides(unbound: Unbound, leaf: trustme.LeafCert) -> None:
    async with behind(unbound, served(leaf)) as far:
        assert await outcome(far, unbound, HOST + tlsa(far, key_digest(leaf))) == "250 2.0.0 TLS"
        assert told(far.counts)["example.com"] == ("tlsa", 1, 0, [])
        assert await outcome(far, unbound, HOST + tlsa(far, OTHER)) == "451 4.7.5"
        assert told(far.counts)["example.com"][0] == "tlsa"
        assert await outcome(far, unbound, HOST) == "250 2.0.0 TLS"  # proved that there are none
        assert told(far.counts)["example.com"][0] == "no-policy-found"


async def test_tampered_records_defer_and_are_never_plain(unbound: Unbound, leaf: trustme.LeafCert) -> None:
    async with behind(unbound, served(leaf)) as far:
        good, forged = tlsa(far, key_digest(leaf)), tlsa(far, OTHER)
        assert await outcome(far, unbound, HOST + good, tampered=forged) == "451 4.7.5"
        assert far.receivers[0].ledger.connections == 0
        assert told(far.counts)["example.com"] == ("tlsa", 0, 1, ["dnssec-invalid"])


async def test_records_of_an_unsigned_zone_do_not_count(unbound: Unbound, leaf: trustme.LeafCert) -> None:
    async with behind(unbound, served(leaf)) as far:
        records = f"{UNSIGNED}. 300 IN MX 10 mx1.{UNSIGNED}.\nmx1.{UNSIGNED}. 300 IN A 127.0.0.2\n"
        records += tlsa(far, OTHER, f"mx1.{UNSIGNED}")
        assert await outcome(far, unbound, records, domain=UNSIGNED) == "250 2.0.0 TLS"
        assert told(far.counts)[UNSIGNED][0] == "no-policy-found"


async def test_the_check_of_the_configuration_believes_it(unbound: Unbound) -> None:
    servers = [f"127.0.0.1:{unbound.port}"]
    settings = DnsSettings.model_validate({"servers": servers, "validating": True, "timeout": "1s"})
    await asyncio.to_thread(unbound.start, HOST)
    try:
        assert await validation_fault(settings) is None
    finally:
        unbound.stop()
    assert "could not be tested" in str(await validation_fault(settings))
