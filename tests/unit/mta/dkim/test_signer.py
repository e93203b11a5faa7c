"""Signatures are, octet for octet, those of dkimpy, and dkimpy verifies them."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from config.schema import SigningSettings
from mta.dkim import KeyRing, Signer
from mta.dkim.keys import Algorithm, SigningKey, new_pem, parse_key
from mta.dkim.records import record_name, record_text
from mta.mail.headers import Headers
from tests.odd_messages import odd_message

NOW = 1_700_000_000
MESSAGE = b"From: Ann <ann@example.com>\r\nTo: bob@example.net\r\nSubject: Hi\r\n\r\nHello  Bob \r\n\r\n"
RSA_PEM = new_pem(Algorithm.RSA)
RSA = parse_key(RSA_PEM, domain="example.com", selector="rsa1", source="test")
SEED = bytes(range(32))
ED25519 = SigningKey("example.com", "ed1", Ed25519PrivateKey.from_private_bytes(SEED), "test")


def sign(
    message: bytes, keys: Sequence[SigningKey], domain: str = "example.com", config: SigningSettings | None = None
) -> bytes:
    signer = Signer(config or SigningSettings(), KeyRing(keys), clock=lambda: NOW)
    return signer.sign(headers := Headers.split(message), message[headers.size :], domain)


def names_to_sign(message: bytes, config: SigningSettings) -> list[bytes]:
    """``h=`` by the meaning of the two settings, with dkimpy's parser."""
    present = [name.lower() for name, _ in dkim.rfc822_parse(message)[0]]
    signed = dict.fromkeys(name.lower().encode() for name in (*config.headers, *config.oversign))
    oversigned = dict.fromkeys(name.lower().encode() for name in config.oversign)
    return [name for name in signed for _ in range(present.count(name))] + list(oversigned)


def sign_by_dkimpy(message: bytes, key: SigningKey, config: SigningSettings) -> bytes:
    rsa = key.algorithm is Algorithm.RSA
    return dkim.sign(
        message,
        key.selector.encode(),
        key.domain.encode(),
        RSA_PEM if rsa else base64.b64encode(SEED),
        canonicalize=(b"relaxed", b"relaxed"),
        signature_algorithm=key.algorithm.value.encode(),
        include_headers=names_to_sign(message, config),
    )


def verified_by_dkimpy(message: bytes, keys: Sequence[SigningKey]) -> list[bool]:
    records = {f"{record_name(key)}.".encode(): record_text(key).encode() for key in keys}
    return [dkim.DKIM(message).verify(n, dnsfunc=lambda name, timeout=5: records[name]) for n in range(len(keys))]


@pytest.fixture(autouse=True)
def _fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dkim.time, "time", lambda: NOW)


@pytest.mark.parametrize("batch", range(10))
def test_ed25519_signatures_are_those_of_dkimpy(batch: int) -> None:
    config = SigningSettings()
    for seed in range(batch * 300, (batch + 1) * 300):
        message = odd_message(seed)
        assert sign(message, [ED25519]) == sign_by_dkimpy(message, ED25519, config), f"odd_message({seed})"


def test_rsa_signatures_are_those_of_dkimpy() -> None:
    config = SigningSettings()
    for seed in range(0, 3000, 60):
        message = odd_message(seed)
        assert sign(message, [RSA]) == sign_by_dkimpy(message, RSA, config), f"odd_message({seed})"


@given(
    body=st.lists(st.sampled_from([b"\r\n", b" ", b"\t", b"x", b".", b"\xff", b"  ", b" \r\n", b"\x0b", b"\x0c"])),
    value=st.lists(st.sampled_from([b"\r\n ", b"\r\n\t", b" ", b"\t", b"x", b";", b"b=", b"\xff", b":"])),
)
@settings(max_examples=500, deadline=None, database=None)
def test_any_mixture_of_white_space_is_signed_as_by_dkimpy(body: list[bytes], value: list[bytes]) -> None:
    text = b"".join(body)
    text += b"\r\n" if text and not text.endswith(b"\r\n") else b""
    message = b"From: a@example.com\r\nSubject:" + b"".join(value) + b"\r\n\r\n" + text
    assert sign(message, [ED25519]) == sign_by_dkimpy(message, ED25519, SigningSettings())


def test_other_lists_of_fields_are_signed_as_by_dkimpy() -> None:
    config = SigningSettings(headers=["FROM", "subject", "X-Weird!Name"], oversign=["X-Absent", "from"])
    for seed in range(200):
        message = odd_message(seed)
        assert sign(message, [ED25519], config=config) == sign_by_dkimpy(message, ED25519, config), seed


@pytest.mark.parametrize("length", range(3, 60))
def test_folding_is_that_of_dkimpy_for_every_length_of_domain(length: int) -> None:
    key = SigningKey("d" * (length - 2) + ".x", "s", ED25519.private, "test")
    assert sign(MESSAGE, [key], key.domain) == sign_by_dkimpy(MESSAGE, key, SigningSettings())


def test_a_domain_longer_than_a_line_is_not_cut() -> None:
    key = SigningKey(".".join(["d" * 60] * 4), "s" * 60, ED25519.private, "test")
    signature = sign(MESSAGE, [key], key.domain)
    assert b" d=%b;\r\n" % key.domain.encode() in signature
    assert verified_by_dkimpy(signature + MESSAGE, [key]) == [True]


@pytest.mark.parametrize("bits", [1024, 2112, 3072, 4096])  # dkimpy breaks the last line of b= with 2112 bits
def test_every_length_of_signature_is_folded_into_short_lines_and_verifies(bits: int) -> None:
    key = SigningKey("example.com", "s", generate_private_key(65537, bits), "test")
    signature = sign(MESSAGE, [key])
    assert max(len(line) for line in signature.split(b"\r\n")) <= 72
    assert verified_by_dkimpy(signature + MESSAGE, [key]) == [True]


def test_both_algorithms_sign_and_rsa_comes_first() -> None:
    signatures = sign(MESSAGE, [ED25519, RSA])
    assert re.findall(rb" a=([a-z0-9-]+);", signatures) == [b"rsa-sha256", b"ed25519-sha256"]
    assert verified_by_dkimpy(signatures + MESSAGE, [RSA, ED25519]) == [True, True]


@pytest.mark.parametrize("field", SigningSettings().oversign)
def test_adding_an_oversigned_field_breaks_the_signature(field: str) -> None:
    signature = sign(MESSAGE, [ED25519])
    for added in (f"{field}: mallory@example.org\r\n", f"{field.upper()}:\r\n"):
        assert verified_by_dkimpy(signature + added.encode() + MESSAGE, [ED25519]) == [False], added


def test_changing_a_signed_field_breaks_the_signature() -> None:
    changed = sign(MESSAGE, [ED25519]) + MESSAGE.replace(b"Subject: Hi", b"Subject: Ho")
    assert verified_by_dkimpy(changed, [ED25519]) == [False]


@pytest.mark.parametrize("body", [b"Hello  Eve \r\n\r\n", b"\r\nHello  Bob \r\n", b"Hello  Bob \r\nPS\r\n", b""])
def test_changing_the_body_breaks_the_signature(body: bytes) -> None:
    changed = sign(MESSAGE, [ED25519]) + MESSAGE.replace(b"Hello  Bob \r\n\r\n", body)
    with pytest.raises(dkim.ValidationError, match="body hash mismatch"):
        verified_by_dkimpy(changed, [ED25519])


def test_reflowed_white_space_does_not_break_the_signature() -> None:
    changed = MESSAGE.replace(b"Subject: Hi", b"SUBJECT:\t Hi ").replace(b"Hello  Bob ", b"Hello Bob\t\t")
    changed += b"\r\n \r\n"
    assert verified_by_dkimpy(sign(MESSAGE, [ED25519]) + changed, [ED25519]) == [True]


def test_a_field_with_white_space_before_its_colon_is_signed_in_canonical_form() -> None:
    spaced = MESSAGE.replace(b"Subject: Hi", b"Subject \t: Hi")
    assert sign(spaced, [ED25519]) == sign(MESSAGE, [ED25519])


@pytest.mark.parametrize("ending", [b"", b" ", b"\t  "])
def test_a_body_without_its_last_line_end_is_signed_as_it_will_be_sent(ending: bytes) -> None:
    assert sign(MESSAGE + b"end" + ending, [ED25519]) == sign(MESSAGE + b"end" + ending + b"\r\n", [ED25519])


def test_the_body_is_never_signed_in_part() -> None:
    for seed in range(100):
        assert not re.search(rb"[;\s]l=", sign(odd_message(seed), [ED25519, RSA]))


def test_no_key_no_signature() -> None:
    assert sign(MESSAGE, [ED25519], "example.org") == b""
    assert sign(MESSAGE, []) == b""


def test_the_time_of_signing_is_the_clocks() -> None:
    times = iter([5.9, 99_999_999_999])
    signer = Signer(SigningSettings(), KeyRing([ED25519]), clock=lambda: next(times))
    headers = Headers.split(MESSAGE)
    assert b"t=5;" in signer.sign(headers, MESSAGE[headers.size :], "example.com")
    assert b"t=99999999999;" in signer.sign(headers, MESSAGE[headers.size :], "example.com")
