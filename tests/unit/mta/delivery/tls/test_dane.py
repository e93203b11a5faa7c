"""TLSA records against certificate chains: what each usage, selector and matching type is worth (RFC 7671, 7672)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha512

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from mta.delivery.tls.dane import Tlsa, matches_name, usable, verify
from mta.mail.tls_session import TlsFault, TlsResult

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = ("mx1.example.com", "example.com")


class Issued:
    """A certificate with its key. ``by`` None: self-signed."""

    def __init__(
        self,
        name: str,
        by: Issued | None = None,
        *,
        hosts: Sequence[str] = (),
        is_ca: bool = False,
        may_sign: bool = True,
        days: int = 30,
        depth: int | None = None,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(by.certificate.subject if by else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=100))
            .not_valid_after(NOW + timedelta(days=days))
        )
        if is_ca:
            builder = builder.add_extension(x509.BasicConstraints(True, depth), critical=True)
            usages = dict.fromkeys(
                (
                    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                    "crl_sign", "encipher_only", "decipher_only",
                ), False,
            )  # fmt: skip
            builder = builder.add_extension(x509.KeyUsage(key_cert_sign=may_sign, **usages), critical=True)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), False)
        self.certificate = builder.sign(by.key if by else self.key, hashes.SHA256())
        self.der = self.certificate.public_bytes(Encoding.DER)
        self.spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


ROOT = Issued("a private authority", is_ca=True)
MIDDLE = Issued("an intermediate", ROOT, is_ca=True)
SERVER = Issued("mx1.example.com", MIDDLE, hosts=["mx1.example.com"])
CHAIN = [SERVER.der, MIDDLE.der, ROOT.der]


def tlsa(usage: int, selector: int, matching: int, issued: Issued) -> Tlsa:
    octets = issued.spki if selector else issued.der
    return Tlsa(usage, selector, matching, [octets, sha256(octets).digest(), sha512(octets).digest()][matching])


def result_of(fault: TlsFault | None) -> TlsResult | None:
    return fault.result if fault else None


@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize(("usage", "issued"), [(3, SERVER), (2, MIDDLE), (2, ROOT)])
def test_each_kind_of_record_matches_what_it_names(usage: int, issued: Issued, selector: int, matching: int) -> None:
    assert verify(CHAIN, [tlsa(usage, selector, matching, issued)], NAMES, NOW) is None


@pytest.mark.parametrize(("usage", "issued"), [(3, MIDDLE), (3, ROOT), (2, SERVER), (2, Issued("other", is_ca=True))])
def test_a_record_for_something_else_does_not_match(usage: int, issued: Issued) -> None:
    fault = verify(CHAIN, [tlsa(usage, 1, 1, issued)], NAMES, NOW)
    assert result_of(fault) is TlsResult.VALIDATION_FAILURE


def test_a_whole_authority_in_the_record_need_not_be_sent() -> None:
    assert verify(CHAIN[:2], [tlsa(2, 0, 0, ROOT)], NAMES, NOW) is None
    assert result_of(verify(CHAIN[:2], [tlsa(2, 0, 1, ROOT)], NAMES, NOW)) is TlsResult.VALIDATION_FAILURE


def test_usage_3_asks_for_neither_name_nor_time() -> None:
    server = Issued("other.example", hosts=["other.example"], days=-10)
    assert verify([server.der], [tlsa(3, 1, 1, server)], NAMES, NOW) is None


def test_usage_2_asks_for_both() -> None:
    other = Issued("other.example", ROOT, hosts=["other.example"])
    fault = verify([other.der, ROOT.der], [tlsa(2, 0, 1, ROOT)], NAMES, NOW)
    assert result_of(fault) is TlsResult.CERTIFICATE_HOST_MISMATCH
    old = Issued("mx1.example.com", ROOT, hosts=["mx1.example.com"], days=-10)
    assert result_of(verify([old.der, ROOT.der], [tlsa(2, 0, 1, ROOT)], NAMES, NOW)) is TlsResult.CERTIFICATE_EXPIRED


@pytest.mark.parametrize(
    ("name", "hosts", "fits"),
    [
        ("x", ["*.example.com"], True),
        ("x", ["example.com"], True),  # the recipient domain is a reference, too (RFC 7672 3.2.2)
        ("mx1.example.com", [], True),  # the common name, without others
        ("mx1.example.com", ["other.example"], False),  # and not beside them
    ],
)
def test_names_that_an_authority_may_have_certified(name: str, hosts: list[str], fits: bool) -> None:
    server = Issued(name, ROOT, hosts=hosts)
    assert (verify([server.der, ROOT.der], [tlsa(2, 1, 2, ROOT)], NAMES, NOW) is None) is fits


def test_an_authority_in_the_chain_must_have_signed() -> None:
    """The attack: the real authority's certificate, which is public, sent behind one of the attacker's own."""
    forged = Issued("mx1.example.com", hosts=["mx1.example.com"])
    fault = verify([forged.der, MIDDLE.der, ROOT.der], [tlsa(2, 0, 1, ROOT)], NAMES, NOW)
    assert result_of(fault) is TlsResult.CERTIFICATE_NOT_TRUSTED
    own = Issued("a private authority", is_ca=True)  # of the same name
    forged = Issued("mx1.example.com", own, hosts=["mx1.example.com"])
    fault = verify([forged.der, own.der, ROOT.der], [tlsa(2, 0, 1, ROOT)], NAMES, NOW)
    assert result_of(fault) is TlsResult.CERTIFICATE_NOT_TRUSTED


@pytest.mark.parametrize(
    "middle",
    [
        Issued("a server", ROOT, hosts=["server.example"]),  # no authority at all
        Issued("no signer", ROOT, is_ca=True, may_sign=False),
        Issued("expired", ROOT, is_ca=True, days=-1),
    ],
    ids=["not an authority", "a key that must not sign", "expired"],
)
def test_what_is_no_authority_cannot_issue(middle: Issued) -> None:
    server = Issued("mx1.example.com", middle, hosts=["mx1.example.com"])
    fault = verify([server.der, middle.der, ROOT.der], [tlsa(2, 0, 1, ROOT)], NAMES, NOW)
    assert result_of(fault) is TlsResult.CERTIFICATE_NOT_TRUSTED


def test_a_path_longer_than_the_authority_allows() -> None:
    short = Issued("for servers only", is_ca=True, depth=0)
    middle = Issued("one too many", short, is_ca=True)
    server = Issued("mx1.example.com", middle, hosts=["mx1.example.com"])
    fault = verify([server.der, middle.der, short.der], [tlsa(2, 0, 1, short)], NAMES, NOW)
    assert result_of(fault) is TlsResult.CERTIFICATE_NOT_TRUSTED


def test_one_match_is_enough() -> None:
    rollover = [tlsa(3, 1, 1, Issued("the next key")), tlsa(3, 1, 1, SERVER), tlsa(2, 0, 1, Issued("x", is_ca=True))]
    assert verify(CHAIN, rollover, NAMES, NOW) is None


@pytest.mark.parametrize("chain", [[], [b""], [b"\x30\x03\x02\x01"], [SERVER.der[:-1]], [SERVER.der, b"junk"]])
def test_a_chain_that_cannot_be_read_verifies_nothing(chain: list[bytes]) -> None:
    assert verify(chain, [tlsa(2, 1, 1, ROOT)], NAMES, NOW) is not None


@pytest.mark.parametrize(
    "record",
    [
        Tlsa(0, 1, 1, bytes(32)), Tlsa(1, 1, 1, bytes(32)), Tlsa(4, 1, 1, bytes(32)), Tlsa(255, 1, 1, bytes(32)),
        Tlsa(3, 2, 1, bytes(32)), Tlsa(3, 1, 3, bytes(32)), Tlsa(3, 1, 1, bytes(31)), Tlsa(3, 1, 2, bytes(32)),
        Tlsa(3, 1, 0, b""),
    ],
)  # fmt: skip
def test_unusable_records(record: Tlsa) -> None:
    good = tlsa(3, 1, 1, SERVER)
    assert usable([record]) == ()
    assert usable([record, good]) == (good,)


def test_the_strongest_digest_of_each_counts() -> None:
    """RFC 7671 9: who can break SHA-256 must not be helped by its record beside one of SHA-512."""
    weak, strong, other = tlsa(3, 1, 1, ROOT), tlsa(3, 1, 2, SERVER), tlsa(3, 0, 1, SERVER)
    whole = tlsa(3, 1, 0, SERVER)
    assert set(usable([weak, strong, other, whole, weak])) == {strong, other, whole}


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("mx.example.com", "mx.example.com", True),
        ("*.example.com", "mx.example.com", True),
        ("*.example.com", "a.mx.example.com", False),
        ("*.example.com", "example.com", False),
        ("*.com", "example.com", False),
        ("m*.example.com", "mx.example.com", False),
        ("*", "com", False),
    ],
)
def test_names_and_patterns(pattern: str, name: str, matches: bool) -> None:
    assert matches_name(pattern, name) is matches
