"""Each thing that keeps a newsletter from going out, over real SMTP, with its answer; and the one that goes."""

from __future__ import annotations

from datetime import timedelta

from mta.mail.address import Address
from mta.mail.identity import parse_id
from tests.flow.harness import World, message
from tests.flow.permission import HOST, MAILING, READER, Shop, shop

OTHER = "otto@example.com"


async def refused(shop: Shop, *readers: str, **how: object) -> str:
    """The refusal's text; it is kept, and can be explained by the id at its end."""
    submitted = await shop.send(*readers, **how)
    assert (submitted.id, submitted.reply.code) == (None, 550), submitted.reply
    text, _, rest = submitted.reply.text.rpartition(" [")
    wanted = parse_id(rest.rstrip("]"))
    kept = await shop.world.until(
        lambda: shop.world.db.fetchval("select record ->> 'reply' from rejection where id = $1", wanted)
    )
    assert text.partition("\n")[0] in kept
    return text


async def test_a_good_newsletter_goes_with_its_marks(world: World) -> None:
    async with shop(world) as desk:
        submitted = await desk.send(READER)
        assert submitted.id, submitted.reply
        (receipt,) = await world.received(1)
    content = receipt.content.decode()
    for field in ("X-Mailing-ID:", "Feedback-ID:", "List-Id:", "List-Unsubscribe-Post: List-Unsubscribe=One-Click"):
        assert content.count(f"\n{field}") == 1, field
    assert "https://mta.sender.example/u/" in content
    assert "X-MTA-" not in content
    assert (
        "rita" not in content.partition("List-Unsubscribe:")[2].partition("\nFeedback")[0].split("\r\n\r\n")[0].lower()
    )


async def test_each_reader_gets_a_copy_of_his_own(world: World) -> None:
    async with shop(world) as desk:
        await desk.agree(OTHER)
        submitted = await desk.send(READER, OTHER)
        assert "(2 copies, one per recipient)" in submitted.reply.text
        receipts = await world.received(2)
    links = {receipt.content.partition(b"https://mta.sender.example/u/")[2].partition(b">")[0] for receipt in receipts}
    assert len(links) == 2
    assert sorted(receipt.recipients[0].address for receipt in receipts) == [OTHER, READER]
    assert all(len(receipt.recipients) == 1 for receipt in receipts)


async def test_without_permission_nothing_goes(world: World) -> None:
    async with shop(world) as desk:
        told = await refused(desk, "stranger@example.com")
        assert told.startswith("opt_in: consent of <stranger@example.com>")
        await desk.agree(OTHER, ago=timedelta(days=600))
        assert "lapsed" in await refused(desk, OTHER)
        await desk.agree("topic@example.com", topic="events")
        assert 'topic "offers"' in await refused(desk, "topic@example.com")
        await desk.agree("info@example.com")
        assert "role_address: <info@example.com>" in await refused(desk, "info@example.com")
        assert "stranger@example.com" in await refused(desk, READER, "stranger@example.com")
    assert world.taken == []


async def test_a_mailing_must_be_known_and_its_message_complete(world: World) -> None:
    async with shop(world) as desk:
        assert (await refused(desk, READER, imprint=False)).startswith("imprint: ")
        assert "confirmation: " in await refused(desk, READER, mailing="unknown-mailing")
        assert "confirmation: " in await refused(desk, READER, mailing=None)
        link = (await desk.send(READER)).reply
        assert link.code == 250
    assert len(world.taken) <= 1


IN_ORDER = (
    (
        "update account set status = 'suspended', reason = 'spam'",
        "update account set status = 'active', reason = ''",
        'account_state: account "shop" is suspended',
    ),
    ("delete from terms_acceptance", "insert into terms_acceptance select id, '1', now(), 'A' from account", "terms: "),
    (
        "update sender_domain set verified_at = null",
        "update sender_domain set verified_at = now()",
        "sender_identity: ",
    ),
    ("update account set quota_day = 0", "update account set quota_day = null", "quota: "),
    (
        "update account set profile = 'transactional'",
        "update account set profile = 'cleverreach'",
        "stream: profile transactional sends no marketing mail",
    ),
)


async def test_the_account_must_be_in_order(world: World) -> None:
    async with shop(world) as desk:
        await desk.agree(OTHER)
        for change, mend, told in IN_ORDER:
            await world.db.execute(change)
            await world.db.execute("select pg_notify('accounts', '')")

            async def refused_so(told: str = told) -> bool:
                reply = (await desk.send(OTHER)).reply
                return reply.code in (450, 550) and told in reply.text

            await world.until(refused_so)
            await world.db.execute(mend)
            await world.db.execute("select pg_notify('accounts', '')")

        async def accepted() -> bool:
            return (await desk.send(OTHER)).id is not None

        await world.until(accepted)


async def test_suppressed_for_marketing_is_not_suppressed_for_the_invoice(world: World) -> None:
    async with shop(world) as desk:
        await desk.store.consents.revoke(desk.id, Address.parse(READER), reason="wrote to us", by="test")
        assert READER in await refused(desk, READER)
        assert await world.accept(READER)
        (receipt,) = await world.received(1)
        looks_like_mail_to_many = await world.submit(READER, content=b"Precedence: bulk\r\n" + message())
        assert "stream: the message is sent as transactional, but shows Precedence: bulk" in str(
            looks_like_mail_to_many.reply
        )
    assert HOST in receipt.content.decode()
    assert MAILING not in receipt.content.decode()
