"""DNS records of keys: what to publish, and what is said about what is published."""

from __future__ import annotations

import base64
import re

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mta.dkim.keys import Algorithm, new_pem, parse_key
from mta.dkim.records import RecordKind, compare, record_strings, record_text, zone_line

RSA = parse_key(new_pem(Algorithm.RSA), domain="example.com", selector="rsa", source="test")
OTHER = parse_key(new_pem(Algorithm.RSA), domain="example.com", selector="other", source="test")
ED25519 = parse_key(new_pem(Algorithm.ED25519), domain="example.com", selector="ed", source="test")
GOOD = record_text(RSA)
P = GOOD.partition("p=")[2]


def test_an_rsa_record_is_split_into_strings_of_255() -> None:
    strings = record_strings(RSA)
    assert [len(piece) for piece in strings] == [255, len(GOOD) - 255]
    assert "".join(strings) == GOOD
    assert re.findall(r'"([^"]*)"', zone_line(RSA)) == strings
    assert record_strings(ED25519) == [record_text(ED25519)]


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"p={P}",
        f"p={P};",
        f" v=DKIM1 ; k = rsa ; p = {P[:100]} \t {P[100:]} ; ",
        f"v=DKIM1; h=sha1:sha256; s=email; t=s; n=note; x-new=1; p={P}",
        f"v=DKIM1; s=other : *; p={P}",
    ],
)
def test_records_that_match(text: str) -> None:
    assert compare(RSA, [text]) == []


@pytest.mark.parametrize(
    ("published", "kind", "words"),
    [
        ([], RecordKind.MISSING, "no TXT record"),
        ([GOOD, "v=spf1 -all"], RecordKind.SEVERAL, "there are 2 TXT records.*keep the one with this key"),
        ([GOOD, GOOD], RecordKind.SEVERAL, "keep one"),
        (["v=DKIM1; k=rsa; p="], RecordKind.REVOKED, "revoked"),
        ([f"v=DKIM1; k=ed25519; p={P}"], RecordKind.KEY_TYPE, "says k=ed25519; the key is k=rsa"),
        ([record_text(OTHER)], RecordKind.OTHER_KEY, "another key"),
        ([GOOD[:255]], RecordKind.CUT_OFF, r"cut off \(\d+ of 392 characters\)"),
        ([f"v=DKIM1; h=sha1; p={P}"], RecordKind.HASHES, "does not allow sha256"),
        ([f"v=DKIM1; s=tlsrpt; p={P}"], RecordKind.SERVICE, "does not allow email"),
        ([f"v=DKIM1; t=s:y; p={P}"], RecordKind.TESTING, "t=y"),
        (["v=spf1 -all"], RecordKind.UNREADABLE, "says v=spf1 -all"),
        ([f"v=DKIM2; p={P}"], RecordKind.UNREADABLE, "says v=DKIM2; the first tag must be v=DKIM1"),
        ([f"k=rsa; v=DKIM1; p={P}"], RecordKind.UNREADABLE, "first tag"),
        (["v=DKIM1; k=rsa"], RecordKind.UNREADABLE, "p= is missing"),
        ([f"v=DKIM1; p={P}; p={P}"], RecordKind.UNREADABLE, "p= is there twice"),
        ([f"v=DKIM1\\; p={P}"], RecordKind.UNREADABLE, "backslashes"),
        ([f'"v=DKIM1; p={P}"'], RecordKind.UNREADABLE, "quotation marks"),
        ([f"v=DKIM1; p={P[:50]}!{P[50:]}"], RecordKind.UNREADABLE, "not base64"),
        (["hello"], RecordKind.UNREADABLE, "'hello' is not of the form"),
        ([""], RecordKind.UNREADABLE, "p= is missing"),
        (["v=DKIM1; ü=x; p="], RecordKind.UNREADABLE, "not of the form"),
    ],
)
def test_what_differs_is_told_exactly(published: list[str], kind: RecordKind, words: str) -> None:
    (found,) = compare(RSA, published)
    assert found.kind is kind
    assert re.search(words, found.text)
    assert found.kind.breaks == (kind is not RecordKind.TESTING)


def test_everything_that_differs_is_told() -> None:
    text = "v=DKIM1; k=ed25519; h=sha1; s=x; t=y; p=" + record_text(OTHER).partition("p=")[2]
    assert [found.kind for found in compare(RSA, [text])] == [
        RecordKind.KEY_TYPE,
        RecordKind.HASHES,
        RecordKind.SERVICE,
        RecordKind.TESTING,
        RecordKind.OTHER_KEY,
    ]


def test_an_ed25519_record_without_its_key_type() -> None:
    (found,) = compare(ED25519, [record_text(ED25519).replace("k=ed25519; ", "")])
    assert (found.kind, found.text) == (
        RecordKind.KEY_TYPE,
        "the record says no k=, which means rsa; the key is k=ed25519",
    )


def test_the_same_rsa_key_in_its_bare_form() -> None:
    bare = RSA.private.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    (found,) = compare(RSA, ["v=DKIM1; p=" + base64.b64encode(bare).decode()])
    assert found.kind is RecordKind.BARE_KEY
