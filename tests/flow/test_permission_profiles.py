"""The good newsletter goes under each shipped profile; what one of them asks beyond the others is asked."""

from __future__ import annotations

import pytest

from mta.demo.newsletter import newsletter
from tests.flow.harness import SENDER, World
from tests.flow.permission import MAILING, READER, shop

FIELDS = {"X-MTA-Stream": "marketing", "X-MTA-Mailing": MAILING}
PROFILES = ("cleverreach", "spotler", "custommail", "csa", "gmail_yahoo_2024", "can_spam")


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_good_newsletter_passes(world: World, profile: str) -> None:
    async with shop(world, profile) as desk:
        submitted = await desk.send(READER)
        assert submitted.id, submitted.reply
        (receipt,) = await world.received(1)
    assert receipt.content.count(b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n") == 1
    assert (b"\r\nX-CSA-Complaints: " in receipt.content) == (profile in ("csa", "cleverreach"))


async def test_custommail_wants_to_see_the_logo(world: World) -> None:
    content = newsletter(SENDER, [READER], "Offers", fields=FIELDS)
    assert b"<img" in content
    async with shop(world, "custommail") as desk:
        reply = (await desk.send(READER, content=content.replace(b"<img", b"<b"))).reply
    assert reply.code == 550
    assert "logo" in reply.text


async def test_transactional_mail_needs_no_consent_but_must_not_be_advertising(world: World) -> None:
    async with shop(world, "transactional") as desk:
        reply = (await desk.send(READER)).reply
        assert (reply.code, "stream: profile transactional sends no marketing mail" in reply.text) == (550, True)
        assert await world.accept("anybody@example.com")
        assert len(await world.received(1)) == 1
