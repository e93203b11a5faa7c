"""What the service writes into a message in its own name is covered by the signature, and so is its absence."""

from __future__ import annotations

import re

import pytest

from config.schema import SigningSettings
from mta.dkim import KeyRing, Signer
from mta.dkim.keys import parse_key
from mta.mail.headers import Headers
from policy.header_fields import fold
from tests.unit.mta.dkim.test_signer import ED25519, MESSAGE, NOW, RSA, RSA_PEM, sign, verified_by_dkimpy

STAMPS = {
    "X-Mailing-ID": ["01j0000000000000000000000a"],
    "Feedback-ID": ["01j0000000000000000000000a:7:marketing:imprimatur"],
    "List-Id": ["<customers.7.mx.example.com>"],
    "List-Unsubscribe": ["<https://mail.example.com/u/" + "A" * 130 + ">,", "<mailto:unsubscribe@back.example.com>"],
    "List-Unsubscribe-Post": ["List-Unsubscribe=One-Click"],
    "CFBL-Address": ["fbl@back.example.com;", "report=arf"],
    "CFBL-Feedback-ID": ["A" * 130],
    "X-CSA-Complaints": ["csa-complaints@eco.de"],
}
STAMPED = b"".join(fold(name, words) + b"\r\n" for name, words in STAMPS.items()) + MESSAGE
HEADERS = Headers.split(STAMPED)
BODY = STAMPED[HEADERS.size :]


def names_signed(signature: bytes) -> list[str]:
    found = re.search(rb"[;\s]h=([^;]*)", signature)
    assert found
    return b"".join(found[1].split()).decode().lower().split(":")


@pytest.mark.parametrize("name", STAMPS)
def test_every_stamp_is_signed_and_a_second_one_would_break_the_signature(name: str) -> None:
    signed = sign(STAMPED, [RSA])
    assert Headers.split(STAMPED).count(name.lower().encode()) == 1
    assert names_signed(signed).count(name.lower()) == 2
    assert verified_by_dkimpy(signed + STAMPED, [RSA]) == [True]
    forged = f"{name}: <https://evil.example/>\r\n".encode() + STAMPED
    assert verified_by_dkimpy(signed + forged, [RSA]) == [False]


def test_both_algorithms_cover_the_one_click_header() -> None:
    for key in (RSA, ED25519):
        assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(names_signed(sign(STAMPED, [key])))


def test_the_domain_that_takes_complaints_signs_too_if_it_has_a_key() -> None:
    returns = parse_key(RSA_PEM, domain="back.example.com", selector="r1", source="test")
    signer = Signer(SigningSettings(), KeyRing([RSA, returns]), clock=lambda: NOW)
    signed = signer.sign(HEADERS, BODY, "example.com", "back.example.com", "example.com")
    assert signed.count(b"DKIM-Signature:") == 2
    assert verified_by_dkimpy(signed + STAMPED, [RSA, returns]) == [True, True]
    alone = signer.sign(HEADERS, BODY, "example.com", "none.example.org", "sub.example.com")
    assert alone.count(b"DKIM-Signature:") == 1  # the second has no key, the third the author's
    assert signer.sign(HEADERS, BODY, "none.example.org", "back.example.com") == b""
