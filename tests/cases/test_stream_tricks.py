"""Ways to send a newsletter as something else: each is refused, to the account's client and to its credential that was
granted transactional mail; what that was granted for passes."""

from __future__ import annotations

import csv
from pathlib import Path

import aiosmtplib

from mta.demo.cases import newsletter
from mta.mail.address import Address
from mta.mail.reply import Reply
from tests.flow.harness import SENDER, World, message
from tests.flow.permission import READER, shop

FILE = Path(__file__).parent / "permission" / "tricks.tsv"
STRANGER = "stranger@example.com"
CLAIM = {"X-MTA-Stream": "transactional"}
LIST = {"List-Unsubscribe": "<https://sender.example/u>", "List-Id": "<offers.sender.example>", "Precedence": "bulk"}
OTHER_LIST = {"Precedence": "bulk", "Feedback-ID": "a:b:c:d", "List-Help": "<https://a.example>", "List-Post": "NO"}

# By the trick's name: recipients, fields, and whether the imprint is there.
TRICKS: dict[str, tuple[list[str], dict[str, str], bool]] = {
    "X-MTA-Stream: transactional + List-Unsubscribe + List-Id + Precedence: bulk": ([READER], CLAIM | LIST, True),
    "newsletter, X-MTA-Stream: transactional, recipient without consent, credential default": ([STRANGER], CLAIM, True),
    "newsletter, no X-MTA fields, no list headers": ([STRANGER], {}, True),
    "no stream, Precedence: bulk + Feedback-ID + List-Help + List-Post only": ([READER], OTHER_LIST, True),
    "transactional newsletter to 500 unconsented recipients in one message": (
        [f"r{n}@example.com" for n in range(500)],
        CLAIM,
        True,
    ),
    "transactional newsletter without imprint and unsubscribe": ([STRANGER], CLAIM, False),
}


def tricks() -> set[str]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return {row["trick"] for row in csv.DictReader(file, delimiter="\t") if row["kind"] == "stream"}


async def answer(world: World, readers: list[str], content: bytes, *, by_network: bool = False) -> Reply:
    """Return the first refusal, or the answer to the final dot."""
    try:
        return (await world.submit(*readers, content=content, by_network=by_network)).reply
    except aiosmtplib.SMTPResponseException as error:
        return Reply.parse(error.code, error.message)


async def test_a_newsletter_under_another_name_is_refused(world: World) -> None:
    assert set(TRICKS) == tricks()
    async with shop(world):
        for trick, (readers, fields, imprint) in TRICKS.items():
            content = newsletter(SENDER, readers[:1], "Offers", fields=fields, imprint=imprint)
            for by_network in (True, False):
                reply = await answer(world, readers, content, by_network=by_network)
                assert reply.code == 550, (trick, by_network, reply)
        assert world.taken == []


async def test_a_granted_subject_does_not_hide_the_marks(world: World) -> None:
    async with shop(world) as desk:
        for field in ("List-Id: <a.example>", "Precedence: list", "Feedback-ID: a:b:c:d", "X-MTA-Mailing: spring-1"):
            reply = await answer(world, [READER], f"{field}\r\n".encode() + message())
            assert (reply.code, "which makes it marketing" in reply.text) == (550, True), (field, reply)
        link = message(body="Offers!\r\nUnsubscribe: https://sender.example/x\r\n")
        assert "shows a link to unsubscribe" in (await answer(world, [READER], link)).text
        crowd = [f"r{n}@example.com" for n in range(21)]
        assert "21 recipients at once" in (await answer(world, crowd, message())).text
        await desk.store.consents.revoke(desk.id, Address.parse(READER), reason="wrote to us", by="test")
        assert await world.accept(READER)


async def test_one_text_to_many_is_refused_and_others_go_on(world: World, tmp_path: Path) -> None:
    profile = tmp_path / "house.toml"
    profile.write_text('extends = "cleverreach"\n[transactional.rules.stream]\nrepeats = 3\n')
    text = "Dear reader {n}, autumn is here. All coats are half price this week. Shoes too, in all sizes. Come.\r\n"
    async with shop(world, "house", profiles=[profile]):
        for n in range(3):
            await world.accept(READER, content=message(f"Hello {n}", body=text.format(n=n)))
        refused = await answer(world, [READER], message("Hello 4", body=text.format(n=4)))
        assert "the same text to 4 recipients within an hour (limit 3)" in refused.text
        await world.accept(READER, content=message(body="Your parcel arrives on Monday. The driver rings twice.\r\n"))
