"""One parser decides who is meant; these are the spellings it must and must not take."""

from __future__ import annotations

import re

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
        ('"ann..lee"@example.com', '"ann..lee"', "example.com"),
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
        "<ann@example.com>", "ann@example.com> SIZE=1", '"ann lee"@example.com', '"a> NOTIFY=NEVER"@example.com',
        '"a<b"@example.com', '""@example.com', 'a"b"@example.com', "ann@" + ".".join(["a" * 60] * 5),
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


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sam\u200b@good.example", "U+200B ZERO WIDTH SPACE at position 4"),
        ("q\u00aduinn@good.example", "U+00AD SOFT HYPHEN at position 2"),
        ("rosa@go\u200bod.example", "U+200B ZERO WIDTH SPACE at position 8"),
        ("\ufeffnina@good.example", "U+FEFF ZERO WIDTH NO-BREAK SPACE at position 1"),
        ("\u202eann@good.example", "U+202E RIGHT-TO-LEFT OVERRIDE at position 1"),
        ("a\u2066nn@good.example", "U+2066 LEFT-TO-RIGHT ISOLATE at position 2"),
        ("a\u034fnn@good.example", "U+034F COMBINING GRAPHEME JOINER at position 2"),
        ("a\u3164@good.example", "U+3164 HANGUL FILLER at position 2"),
        ("a\ufe0f@good.example", "U+FE0F VARIATION SELECTOR-16 at position 2"),
        ("a\U000e0041@good.example", "U+E0041 TAG LATIN CAPITAL LETTER A at position 2"),
        ("a\u00a0b@good.example", "U+00A0 NO-BREAK SPACE at position 2"),
        ("a\u2028b@good.example", "U+2028 LINE SEPARATOR at position 2"),
        ("a\u0085b@good.example", "U+0085 control character at position 2"),
        ("a\tb@good.example", "U+0009 control character at position 2"),
        ("a\ufffe@good.example", "U+FFFE noncharacter at position 2"),
        ("a\ue000@good.example", "U+E000 private use at position 2"),
        ("a\u0378@good.example", "U+0378 unassigned at position 2"),
        ("a\udce9@good.example", "octet 0xE9, which is not UTF-8, at position 2"),
        ('"a\u200b b"@good.example', "U+200B ZERO WIDTH SPACE at position 3"),
        ("\u0345\ufe20@good.example", "U+0345 COMBINING GREEK YPOGEGRAMMENI"),
    ],
)
def test_a_character_that_nobody_sees_is_named_with_its_place(text: str, named: str) -> None:
    with pytest.raises(AddressError, match=re.escape(named)):
        Address.parse(text)


@pytest.mark.parametrize("dot", "\u3002\uff0e\uff61")
def test_other_full_stops_and_wide_letters_are_read_as_idna_maps_them(dot: str) -> None:
    assert Address.parse(f"ann@ｓhop{dot}example") == Address("ann", "shop.example")


def test_an_encoded_label_has_one_spelling_only() -> None:
    assert parse_domain("XN--BCHER-KVA.example") == "xn--bcher-kva.example"
    assert parse_domain("xn--i-7iq.ws") == "xn--i-7iq.ws", "registered before IDNA 2008"
    for label in ("xn--shop-", "xn--bcher-kva-", "xn--a", "xn--zz-zz-zz", "xn--faihwgjsd"):
        with pytest.raises(AddressError):
            parse_domain(f"{label}.example")


def test_a_local_part_leaves_composed() -> None:
    assert Address.parse("u\u0308nn@example.com").local == "\u00fcnn"


def test_the_key_of_a_subscript_does_not_depend_on_the_case() -> None:
    """Upper case makes a letter of the mark U+0345, and the marks behind it would then belong to that letter."""
    subscript = "\u1fb3\ufe20"
    assert Address.parse(f"{subscript}@x.example").key == Address.parse(f"{subscript.upper()}@x.example").key
    with pytest.raises(AddressError, match="composed"):
        Address.parse("\u1fb3\u0301@x.example")


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
