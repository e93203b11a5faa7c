"""The examples of RFC 6376 and RFC 8463."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config.schema import SigningSettings
from mta.dkim import KeyRing, Signer
from mta.dkim.canonical import body_hash, header_field
from mta.dkim.keys import SigningKey, parse_key
from mta.dkim.records import compare, record_name, record_text, zone_line
from mta.mail.headers import Headers

GOLDEN = Path(__file__).parents[3] / "golden/dkim"
DOMAIN = "football.example.com"
ED25519 = SigningKey(
    DOMAIN,
    "brisbane",
    Ed25519PrivateKey.from_private_bytes(base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")),
    "RFC 8463 A.2",
)
RSA = parse_key((GOLDEN / "rfc8463-rsa.pem").read_bytes(), domain=DOMAIN, selector="test", source="RFC 8463 A.2")
SIGNATURES = {  # RFC 8463 A.3
    "brisbane": "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==",
    "test": "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3"
    "DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz"
    "dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=",
}


@pytest.mark.parametrize("key", [ED25519, RSA], ids=["ed25519", "rsa"])
def test_the_signatures_of_rfc_8463(key: SigningKey) -> None:
    message = (GOLDEN / "rfc8463.eml").read_bytes()
    settings = SigningSettings(
        headers=["From", "To", "Subject", "Date", "Message-ID"],
        oversign=["From", "Subject", "Date"],
    )
    signer = Signer(settings, KeyRing([key]), clock=lambda: 1528637909)
    field = (
        signer.sign(headers := Headers.split(message), message[headers.size :], DOMAIN).decode().replace("\r\n ", "")
    )
    assert "h=from:to:subject:date:message-id:from:subject:date;" in field.replace(" ", "")
    assert "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;" in field
    assert field.endswith(f"b={SIGNATURES[key.selector]}\r\n")


def test_the_key_record_of_rfc_8463() -> None:
    assert record_name(ED25519) == "brisbane._domainkey.football.example.com"
    assert record_text(ED25519) == "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    published = (
        "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR"
        "iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
        "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
        "Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
    )
    assert record_text(RSA) == published
    assert compare(RSA, [published]) == []


def test_the_key_record_of_rfc_6376_appendix_c() -> None:
    pem = (GOLDEN / "rfc6376-rsa.pem").read_bytes()
    key = parse_key(pem, domain="example.org", selector="brisbane", source="RFC 6376 C")
    published = (
        "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ"
        "KBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt"
        "IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v"
        "/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi"
        "tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
    )
    assert compare(key, [published]) == []
    assert zone_line(key).startswith("brisbane._domainkey.example.org. IN TXT ")
    assert key.warning() == "RFC 6376 C: RSA with 1024 bits is weak; replace it by one of 2048 bits"


def test_the_canonical_forms_of_rfc_6376_section_3_4_5() -> None:
    content = b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n"
    headers = Headers.split(content)
    assert b"".join(header_field(name, raw) for name, raw in headers.fields) == b"a:X\r\nb:Y Z\r\n"
    digest = base64.b64encode(hashlib.sha256(b" C\r\nD E\r\n").digest())
    assert body_hash(content[headers.size :]) == digest


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b" \t\r\n\r\n"])
def test_the_hash_of_an_empty_body_of_rfc_6376_section_3_4_4(body: bytes) -> None:
    assert body_hash(body) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
