"""One parser decides who is meant; these are the spellings it must and must not take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.address import Address, AddressError, parse_domain


@pytest.mark.parametrize(
    ("text", "local", "domain"),
    [
        ("ann@example.com", "ann", "example.com"),
        ("Ann.Lee+x@EXAMPLE.com", "Ann.Lee+x", "example.com"),
        ('"ann"@example.com', "ann", "example.com"),
        ('"ann lee"@example.com', '"ann lee"', "example.com"),
        (r'"a\"b"@example.com', r'"a\"b"', "example.com"),
        (r'"a\nn"@example.com', "ann", "example.com"),
        ('"a@b"@example.com', '"a@b"', "example.com"),
        ("ann@bücher.example", "ann", "xn--bcher-kva.example"),
        ("ann@faß.example", "ann", "xn--fa-hia.example"),
        ("ünn@example.com", "ünn", "example.com"),
    ],
)
def test_reads(text: str, local: str, domain: str) -> None:
    assert Address.parse(text) == Address(local, domain)


@pytest.mark.parametrize(
    "text",
    [
        "", "ann", "@example.com", "ann@", "ann@example", "ann@-example.com", "ann@example-.com", "ann@exa_mple.com",
        "ann@example..com", ".ann@example.com", "ann.@example.com", "a..b@example.com", "ann lee@example.com",
        "ann@[127.0.0.1]", "ann@127.0.0.1", "a\x00b@example.com", "ann@example.com\x00", "ann@example.com\n",
        "@a.example,@b.example:ann@example.com", "ann(comment)@example.com", "ann@example.com.", '"ann@example.com',
        '"a\r\nb"@example.com', "a" * 65 + "@example.com", "ann@" + "a" * 64 + ".com", "ann@xn--.com",
        "<ann@example.com>", "ann@example.com> SIZE=1", 'a"b"@example.com', "ann@" + ".".join(["a" * 60] * 5),
    ],
)  # fmt: skip
def test_refuses(text: str) -> None:
    with pytest.raises(AddressError):
        Address.parse(text)


def test_one_key_for_all_spellings_of_a_mailbox() -> None:
    spellings = [
        "Ann@Bücher.example",
        '"ann"@xn--bcher-kva.example',
        "ANN@XN--BCHER-KVA.EXAMPLE",
        r'"a\nn"@BÜCHER.example',
    ]
    assert {Address.parse(text).key for text in spellings} == {"ann@xn--bcher-kva.example"}


def test_composed_and_decomposed_letters_have_one_key() -> None:
    assert Address.parse("\u00fcnn@example.com").key == Address.parse("u\u0308nn@example.com").key


def test_a_host_name_may_lack_a_dot_only_when_asked() -> None:
    assert parse_domain("localhost", dot_required=False) == "localhost"
    with pytest.raises(AddressError):
        parse_domain("localhost")


@given(st.text(max_size=80))
def test_whatever_is_accepted_reads_back_as_itself(text: str) -> None:
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert Address.parse(str(address)) == address
    assert not any(ord(letter) < 32 or letter in "<>" for letter in address.domain)
