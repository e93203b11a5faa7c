"""The good newsletter goes under each shipped profile; what one of them asks beyond the others is asked."""

from __future__ import annotations

from mta.demo.cases import newsletter
from mta.store.accounts.reviews import Setting
from tests.flow.harness import SENDER, World
from tests.flow.permission import MAILING, READER, Shop, shop

FIELDS = {"X-MTA-Stream": "marketing", "X-MTA-Mailing": MAILING}
PROFILES = ("cleverreach", "spotler", "custommail", "csa", "gmail_yahoo_2024", "can_spam")


async def test_a_good_newsletter_passes_each(world: World) -> None:
    async with shop(world) as desk:
        for n, profile in enumerate(PROFILES, 1):
            reader = f"reader-{n}@example.com"
            await desk.agree(reader)
            await under(desk, profile)
            submitted = await desk.send(reader)
            assert submitted.id, (profile, submitted.reply)
            receipt = (await world.received(n))[-1]
            assert receipt.content.count(b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n") == 1
            assert (b"\r\nX-CSA-Complaints: " in receipt.content) == (profile in ("csa", "cleverreach")), profile


async def under(desk: Shop, profile: str) -> None:
    """Judge the account by ``profile``, and wait until the service does: a role address is refused, and by what."""
    await desk.store.reviews.set(desk.id, {Setting.PROFILE: profile}, by="test")

    async def judged() -> bool:
        submitted = await desk.send("stranger@example.com", mailing="nowhere")
        assert submitted.id is None, submitted.reply
        last = await desk.world.db.fetchval("select record ->> 'profile' from rejection order by id desc limit 1")
        return bool(last == profile)

    await desk.world.until(judged)


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
