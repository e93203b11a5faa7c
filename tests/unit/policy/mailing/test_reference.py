"""Messages beside a confirmed one: what may differ, and what someone who wants to say something else may try."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mta.mail.address import Address
from mta.mail.headers import Headers
from policy.mailing.reference import (
    Matched,
    ReadMessage,
    Reference,
    References,
    UnfitReference,
    Unmatched,
    compile_reference,
    compile_references,
    source_of,
)
from policy.text.message_text import MessageText

TEXT = (
    "Dear {name},\r\n\r\nour apples are half the price this week: 3 EUR a kilo.\r\n\r\n"
    "See https://shop.example/offers/{token}?utm_source=mail\r\n\r\nYou get this at {address}.\r\n"
    "Shop B.V., Main Street 1, Amsterdam\r\n"
)
PAGE = (
    "<html><head><style>p {{ color: #333 }}</style><title>Apples</title></head><body>"
    '<!--[if mso]><a href="https://shop.example/mso/{token}">x</a><![endif]-->'
    "<p>Dear {name},</p><p>our apples are half the price this week: 3 EUR a kilo.</p>"
    '<p><a href="https://shop.example/offers/{token}?u={quoted}">See them</a> {more}</p>'
    '<img src="https://shop.example/big/x1.jpg" width="600" height="200" alt="Apples">'
    '<img src="https://shop.example/seen/{token}.gif" width="1" height="1" alt="">'
    "<p>You get this at {address}.</p><p>Shop B.V., Main Street 1, Amsterdam</p></body></html>"
)
BOUNDARY = "=_b"


def mail(
    name: str = "Ann",
    token: str = "8f3a2",
    *,
    to: str = "Ann Example <ann@example.net>",
    subject: str = "Ann, apples",
    sender: str = "Shop <news@shop.example>",
    more: str = "",
    text: str = TEXT,
    page: str = PAGE,
    boundary: str = BOUNDARY,
    html_type: str = "text/html; charset=utf-8",
    extra: str = "",
) -> bytes:
    address = to.rpartition("<")[2].rstrip(">")
    values = {"name": name, "token": token, "address": address, "quoted": address.replace("@", "%40"), "more": more}
    return (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n'
        f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text.format(**values)}\r\n"
        f"--{boundary}\r\nContent-Type: {html_type}\r\n\r\n{page.format(**values)}\r\n"
        f"{extra}--{boundary}--\r\n"
    ).encode()


def arrived(content: bytes, recipient: str) -> ReadMessage:
    """The message with the envelope that it came with."""
    return ReadMessage.of(Headers.split(content), MessageText(content), len(content), [Address.parse(recipient)])


REFERENCE = compile_reference(1, source_of(mail()))
FOR_BOB = {"name": "Bob", "token": "Zx91kQ", "to": "Bob Jones <bob@other.example>", "subject": "Bob, apples"}
BOB = "bob@other.example"


def compared(content: bytes, recipient: str = BOB, references: Sequence[Reference] = (REFERENCE,)) -> str:
    """Return "" if the message matches, else how it differs."""
    found = References(tuple(references)).compare(arrived(content, recipient))
    return "" if isinstance(found, Matched) else found.text


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"name": "Bob Jones"},
        {"boundary": "something=else"},
        {"token": "aHR0cHM6Ly9-x_y=Zx", "name": "Bob"},
        {"html_type": "text/html; charset=UTF-8"},
    ],
)
def test_the_same_message_for_another_reader_matches(change: dict[str, str]) -> None:
    changed = FOR_BOB | change
    changed["subject"] = f"{changed['name']}, apples"
    assert compared(mail(**changed)) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["José", "O'Hara", "Anne-Marie", "María del Carmen", "J. R. Ewing"])
def test_names_of_people_are_taken(name: str) -> None:
    to = f'"{name}" <bob@other.example>'.encode().decode("latin-1") if name.isascii() else f"{name} <bob@other.example>"
    content = mail(name, to=to, subject=f"{name}, apples")
    assert compared(content) == ""


def test_a_name_may_be_written_with_character_references() -> None:
    page = PAGE.replace("{name}", "O&#39;Hara")
    assert compared(mail("O'Hara", to='"O\'Hara" <bob@other.example>', subject="O'Hara, apples", page=page)) == ""


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("a price", mail(**FOR_BOB, page=PAGE.replace("3 EUR", "30 EUR"))),
        ("a price in the text", mail(**FOR_BOB, text=TEXT.replace("3 EUR", "30 EUR"))),
        ("the imprint", mail(**FOR_BOB, page=PAGE.replace("Main Street 1", "Main Street 2"))),
        ("another host", mail(**FOR_BOB, page=PAGE.replace("shop.example/offers", "evil.example/offers"))),
        ("a host in front", mail(**FOR_BOB, page=PAGE.replace("shop.example/offers", "shop.example@evil.example/o"))),
        ("another link", mail(**FOR_BOB, more='<a href="https://evil.example/">here</a>')),
        ("hidden text", mail(**FOR_BOB, more='<span style="display:none">secret</span>')),
        ("a style", mail(**FOR_BOB, page=PAGE.replace("#333", "#fff"))),
        ("a comment", mail(**FOR_BOB, more="<!-- x -->")),
        ("another picture", mail(**FOR_BOB, page=PAGE.replace("big/x1", "big/x2"))),
        ("the author's name", mail(**FOR_BOB, sender="Your Bank <news@shop.example>")),
        ("the author's address", mail(**FOR_BOB, sender="Shop <other@shop.example>")),
        ("the subject", mail(**FOR_BOB | {"subject": "Bob, your account is closed"})),
        ("a part more", mail(**FOR_BOB, extra=f"--{BOUNDARY}\r\nContent-Type: text/html\r\n\r\n<p>x</p>\r\n")),
        ("a text before the parts", mail(**FOR_BOB).replace(b"--=_b\r\n", b"Buy this!" * 100 + b"\r\n--=_b\r\n", 1)),
        ("another charset", mail(**FOR_BOB, html_type="text/html; charset=utf-7")),
        ("a second charset", mail(**FOR_BOB, html_type="text/html; charset=utf-8; charset=utf-16")),
        ("an attachment", mail(**FOR_BOB, html_type='text/html; charset=utf-8; name="a.html"')),
        ("lines far away", mail(**FOR_BOB, text=TEXT.replace("Shop B.V.", "\r\n" * 400 + "Shop B.V."))),
        ("a path of words", mail(**FOR_BOB | {"token": "your-account-closed"})),
        ("a redirect", mail(**FOR_BOB | {"token": "8f%2F%2Fevil"})),
        ("a path more", mail(**FOR_BOB | {"token": "8f/../evil"})),
        ("a parameter more", mail(**FOR_BOB | {"token": "8f?to=evil"})),
        ("an end of the attribute", mail(**FOR_BOB | {"token": '8f" onclick="x'})),
        ("an end of the attribute, encoded", mail(**FOR_BOB | {"token": "8f&quot;x"})),
        ("a token without end", mail(**FOR_BOB | {"token": "a1" * 500})),
        ("an end of the comment", mail(**FOR_BOB | {"token": "8f--><b>"})),
    ],
)  # fmt: skip
def test_whatever_else_differs_does_not_match(what: str, content: bytes) -> None:
    assert compared(content) != "", what


@pytest.mark.parametrize(
    "name",
    [
        "Bob<b>",
        "Bob &lt;b&gt;",
        "evil.example",
        "https://evil.example",
        "Bob, call 0900 123",
        "Bob $5",
        "Bob\u202etxt",
        "Bob\u200b",
        "your account will be closed tomorrow so pay",
        "B" * 70,
        "bob@evil.example",
        "Bob\n\nBuy",
        "",
    ],
)
def test_a_name_is_a_name(name: str) -> None:
    content = mail(name, "Zx91kQ", to=f'"{name.split(chr(10))[0]}" <bob@other.example>', subject=f"{name}, apples")
    assert compared(content) != ""


def test_a_name_is_that_of_the_to_field() -> None:
    assert "half" not in compared(mail(**FOR_BOB | {"name": "Rob", "subject": "Rob, apples"}))
    assert compared(mail(**FOR_BOB | {"name": "Rob", "subject": "Rob, apples"})) != ""


def test_one_name_in_all_places_of_a_message() -> None:
    assert "subject" not in compared(mail(**FOR_BOB | {"name": "Jones"}))
    assert compared(mail(**FOR_BOB | {"name": "Jones"})) != ""


def test_the_address_is_that_of_the_envelope() -> None:
    assert compared(mail(**FOR_BOB), recipient="eve@other.example") != ""


def test_a_host_in_the_name_slot_of_a_reference_stays_constant() -> None:
    """A To field that names words of the text, or a host, makes none of them vary more than a name may."""
    reference = compile_reference(1, source_of(mail(to="shop apples <ann@example.net>", subject="apples")))
    content = mail(
        to="evil pears <bob@other.example>", subject="pears", page=PAGE.replace("shop.example", "evil.example")
    )
    assert compared(content, references=[reference]) != ""


def test_styles_and_scripts_never_vary() -> None:
    page = PAGE.replace("p {{ color", ".Ann {{ background: url(https://shop.example/s/1x) }} p {{ color")
    reference = compile_reference(1, source_of(mail(page=page)))
    assert compared(mail(**FOR_BOB, page=page), references=[reference]) == ""
    assert compared(mail(**FOR_BOB, page=page.replace("/s/1x", "/s/2y")), references=[reference]) != ""
    assert compared(mail(**FOR_BOB, page=page.replace(".Ann", ".Bob")), references=[reference]) != ""


def test_the_closest_reference_is_named() -> None:
    pears = {"page": PAGE.replace("apples", "pears"), "text": TEXT.replace("apples", "pears")}
    other = compile_reference(2, source_of(mail(**pears)))  # type: ignore[arg-type]
    found = References((REFERENCE, other)).compare(arrived(mail(**FOR_BOB, page=PAGE.replace("3 EUR", "9 EUR")), BOB))
    assert isinstance(found, Unmatched)
    assert (found.number, "3 EUR" in found.text, "9 EUR" in found.text) == (1, True, True)


CARD = "Dear {}, you have {} points. Your code is {}. https://shop.example/card/{}\r\n"


def card(name: str, points: str, code: str, path: str, to: str = "ann@example.net") -> bytes:
    text = CARD.format(name, points, code, path)
    return f"From: Shop <news@shop.example>\r\nTo: {to}\r\nSubject: Card\r\n\r\n{text}".encode()


ANN, EVE = card("Ann", "120", "AX-1", "ann"), card("Eve", "7", "BY-22", "eve", "eve@example.net")


def taught(*samples: bytes) -> Reference:
    confirmed = [(1, None, ANN), *((n, 1, sample) for n, sample in enumerate(samples, 2))]
    (reference,) = compile_references(confirmed).all
    return reference


def test_what_a_sample_shows_to_differ_may_vary() -> None:
    bob = card("Bob Jones", "1.250", "CZ-333", "bob", BOB)
    assert compared(bob, references=[taught()]) != ""
    assert compared(bob, references=[taught(EVE)]) == ""


@pytest.mark.parametrize(
    "values",
    [
        ("Bob", "120 thousand", "CZ-3", "bob"),
        ("Bob", "120", "CZ 3", "bob"),
        ("Bob", "120", "CZ-3", "bob/x"),
        ("Bob", "120", "www.evil.example", "bob"),
        ("Bob, pay now", "120", "CZ-3", "bob"),
    ],
)
def test_what_varies_is_of_the_kind_that_the_samples_are(values: tuple[str, str, str, str]) -> None:
    assert compared(card(*values, BOB), references=[taught(EVE)]) != ""


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        (EVE.replace(b"shop.example/card", b"evil.example/card"), "https://shop.example/card/ann"),
        (EVE.replace(b"points", b"euros to pay"), "euros to pay"),
        (EVE.replace(b"Subject: Card", b"Subject: Bill for 3x"), "Bill"),
        (EVE.replace(b"Shop <", b"Bank <"), "From field"),
    ],
)
def test_a_message_that_says_something_else_is_no_sample(sample: bytes, why: str) -> None:
    with pytest.raises(UnfitReference) as refused:
        taught().taught(source_of(sample))
    assert why in str(refused.value)


def test_samples_of_pages_teach_texts_and_links_but_no_markup() -> None:
    page = PAGE.replace("{more}", "You have {more} points.")
    reference = compile_reference(1, source_of(mail(page=page, more="12")))
    sample = mail(**FOR_BOB, page=page, more="7")
    learned = reference.taught(source_of(sample))
    other = mail("Eve", "q9", to="Eve Low <eve@other.example>", subject="Eve, apples", page=page, more="1.234")
    assert compared(other, "eve@other.example", [reference]) != ""
    assert compared(other, "eve@other.example", [learned]) == ""
    with pytest.raises(UnfitReference, match="elements"):
        reference.taught(source_of(mail(**FOR_BOB, page=page, more="<b>7</b>")))


def test_a_reference_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(UnfitReference):
        compile_reference(1, source_of(mail(page="<b>" * 3000)))
    with pytest.raises(UnfitReference, match="octets"):
        compile_reference(1, source_of(mail(more="x" * 3_000_000)))
