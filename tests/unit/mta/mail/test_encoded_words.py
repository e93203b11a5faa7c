"""Text beyond ASCII, written so that every receiver reads it: compared with the standard library's reader."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.encoded_words import NotEncodable, encode_addresses, encode_parameters, encode_text, fold

WORD = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=("C", "Z", "Mn")), min_size=1)


def read(name: str, words: list[str]) -> str:
    raw = fold(name, words)
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    return str(message_from_bytes(raw + b"\r\n\r\n", policy=policy.default)[name])


@given(st.lists(WORD, min_size=1, max_size=20))
def test_free_text_reads_the_same(words: list[str]) -> None:
    text = " ".join(words)
    if "=?" not in text:
        assert read("Subject", encode_text(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 42", "Größe 42"),
        ("Größe =?utf-8?q?x=C3=A4?= über", "Größe xä über"),
        ("plain", "plain"),
        ("漢" * 200, "漢" * 200),
        ("a\u00a0b", "a\u00a0b"),
    ],
)
def test_blanks_between_encoded_words_are_kept(text: str, shown: str) -> None:
    assert read("Subject", encode_text(text)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Läden <hello@shop.example>", "Läden <hello@shop.example>"),
        ('"Läden, Größe" <hello@bücher.example>', '"Läden, Größe" <hello@xn--bcher-kva.example>'),
        ("a@x.example (Bö), Plain <c@x.example>", "a@x.example, Plain <c@x.example>"),
        ('"Größe x,y <z@x.example>; (q)" <a@x.example>', '"Größe x,y <z@x.example>; (q)" <a@x.example>'),
        ('"Gr\\"öße" B <a@x.example>', '"Gr\\"öße B" <a@x.example>'),
        ('"q, x" <a@x.example>, Ö <b@x.example>', '"q, x" <a@x.example>, Ö <b@x.example>'),
        ('"a b"@x.example, Ö <b@x.example>', '"a b"@x.example, Ö <b@x.example>'),
        ("Läden Liste <liste.shop.example>", None),
    ],
)
def test_names_are_encoded_and_addresses_are_not(text: str, shown: str | None) -> None:
    name = "To" if shown else "List-Id"
    assert read(name, encode_addresses(text)) == (shown or text)


def test_an_encoded_word_never_touches_a_special() -> None:
    words = " ".join(encode_addresses("Größe: Ä <a@x.example>, Ö (ü) <b@x.example>;"))
    assert not re.search(r"\?=[^\s)]", words)


def test_a_file_name_is_a_parameter_of_rfc_2231() -> None:
    long = "Größe" * 30 + ".pdf"
    raw = fold("Content-Disposition", encode_parameters(f'attachment; filename="{long}"; x=y'))
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    assert message_from_bytes(raw + b"\r\n\r\n", policy=policy.default).get_filename() == long


@pytest.mark.parametrize(
    ("encode", "text", "told"),
    [
        (encode_addresses, "Ä <jürgen@x.example>", "declare SMTPUTF8"),
        (encode_addresses, '"ü"@x.example', "cannot be encoded"),
        (encode_addresses, "A (ö <a@x.example>", "a comment is not closed"),
        (encode_addresses, "A <a@sh\u200bop.example>", "U+200B ZERO WIDTH SPACE"),
        (encode_parameters, "multipart/mixed; boundary=ü", "its parameter boundary"),
        (encode_parameters, "tëxt/plain", "its value"),
    ],
)
def test_what_has_no_encoding_is_told(encode: object, text: str, told: str) -> None:
    assert callable(encode)
    with pytest.raises(NotEncodable, match=re.escape(told)):
        encode(text)
