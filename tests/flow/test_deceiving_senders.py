"""What deceives a reader about who writes, why, or what: refused over real SMTP, each with its rule and its mend."""

from __future__ import annotations

import aiosmtplib

from mta.demo.cases import newsletter
from tests.flow.harness import SENDER, World
from tests.flow.permission import MAILING, READER, Shop, shop

FAKE = "xn--dem-ued.example"  # "demo" with a Cyrillic o
LINK = f"<a href=3D'https://{FAKE}'>here</a>"  # quoted-printable, as the page is
HIDDEN = "<div style=3D'display:none'>" + "words for a filter alone\r\n" * 40 + "</div>"
FIELDS = {"X-MTA-Stream": "marketing", "X-MTA-Mailing": MAILING}

CASES = [
    (
        "From: Demo Bakery <",
        "From: Demo Bakery <eve@evil.example>\r\nX: <",
        "sender_identity: From field eve@evil.example",
    ),
    ("From: ", "Sender: ann@gmail.com\r\nFrom: ", "sender_identity: Sender field ann@gmail.com"),
    ("From: ", f"From: {SENDER}\r\nFrom: ", "headers: From may appear only once"),
    ("Subject: ", "Subject: Re: ", 'subject_prefix: the subject begins with "re:"'),
    ("From: Demo Bakery", 'From: "service@paypal.com"', 'display_name: the name "service@paypal.com" holds paypal.com'),
    ("From: Demo Bakery", 'From: "Demo Bakery (2)"', 'display_name: the name "Demo Bakery (2)" holds (2)'),
    (
        "From: Demo Bakery",
        "From: =?utf-8?b?RNC1bW8=?= Bakery",
        "confusable_names: the From field mixes Cyrillic and Latin",
    ),
    (
        "From: ",
        "Reply-To: Demo\r\nFrom: ",
        "reply_address: the Reply-To field holds no usable address: an address needs an @",
    ),
    ("Date: ", "Date: soon or\r\n later, ", "headers: the Date"),
    ("Message-ID: <", "Message-ID: <a b ", "headers: the Message-ID"),
    ("<html><body>", f"<html><body>{HIDDEN}", "hidden_text: 800 letters do not show"),
    ("<html><body>", f"<html><body>{LINK}", f"confusable_links: a link leads to {FAKE}"),
]


async def answer(desk: Shop, content: bytes) -> str:
    """The text of the refusal, at RCPT or at the final dot."""
    try:
        return (await desk.world.submit(READER, content=content)).reply.text
    except aiosmtplib.SMTPResponseException as error:
        return error.message


async def test_each_deceit_is_named(world: World) -> None:
    good = newsletter(SENDER, [READER], "Offers", fields=FIELDS)
    async with shop(world, "spotler") as desk:
        for before, after, told in CASES:
            assert before.encode() in good, before
            text = await answer(desk, good.replace(before.encode(), after.encode(), 1))
            assert told in text, text
        assert (await desk.send(READER)).id
        (receipt,) = await world.received(1)
    assert READER in receipt.content.decode()
