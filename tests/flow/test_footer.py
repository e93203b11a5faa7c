"""Under a profile that appends the footer, each copy carries the imprint and a link that unsubscribes its recipient."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiohttp import ClientSession

from bench.service import free_port
from mta.demo.cases import newsletter
from mta.store.journal.record_details import unpack
from tests.flow.harness import SENDER, World
from tests.flow.permission import MAILING, shop

FIELDS = {"X-MTA-Stream": "marketing", "X-MTA-Mailing": MAILING}
READERS = ["rita@example.com", "ruth@example.com"]
LINK = re.compile(r"https://mta\.sender\.example/u/([A-Za-z0-9_-]+)")
CLICK = {"List-Unsubscribe": "One-Click"}


async def test_the_link_that_is_written_in_unsubscribes_its_recipient(world: World) -> None:
    port = free_port()
    async with shop(world, "custommail", web={"public": {"port": port}}) as desk, ClientSession() as http:
        await desk.agree(*READERS)
        content = newsletter(SENDER, READERS, "Offers", fields=FIELDS, imprint=False)
        submitted = await desk.send(*READERS, content=content)
        assert submitted.id, submitted.reply
        receipts = {receipt.recipients[0].address: receipt.content for receipt in await world.received(2)}
        tokens = {reader: _token(receipts[reader]) for reader in READERS}
        assert len(set(tokens.values())) == 2

        async with http.post(f"http://127.0.0.1:{port}/u/{tokens[READERS[0]]}", data=CLICK) as answer:
            assert answer.status == 200
        assert await world.suppressed() == {READERS[0]: "unsubscribe_one_click"}
        found = await world.db.fetchval("select details from message where id = $1", submitted.id)
        assert "the registered imprint was written into the message" in str(unpack(found))


def _token(content: bytes) -> str:
    """The one that text and page show; both have the imprint, the name of the account and its street too."""
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    tokens = set()
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        assert part is not None
        text = part.get_content()
        tokens |= set(LINK.findall(text))
        assert "Demo Bakery" in text, kind
        assert "KvK" in text, kind
    (token,) = tokens
    return str(token)


async def test_a_message_that_could_hide_it_is_refused_with_the_style(world: World) -> None:
    content = newsletter(SENDER, READERS[:1], "Offers", fields=FIELDS)
    async with shop(world, "custommail") as desk:
        hidden = content.replace(b"<html>", b"<html><style>p{position:fixed}</style>")
        reply = (await desk.send(READERS[0], content=hidden)).reply
        assert (reply.code, "position:fixed" in reply.text) == (550, True), reply
