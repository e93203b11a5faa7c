"""A person signs up with a form, confirms by mail, gets the newsletter, and leaves again with one click."""

from __future__ import annotations

import asyncio
import quopri
import re

from aiohttp import ClientSession

from bench.service import free_port
from tests.flow.harness import World
from tests.flow.permission import SECTIONS, shop

VISITOR = "vera@example.com"
FORM = """
name = "newsletter"
sender = "ann@sender.example"
version = "1"
page = "https://www.sender.example/newsletter"
[statements]
en = "I would like to receive your newsletter about offers by email. I can unsubscribe at any time."
[[topics]]
name = "offers"
labels = { en = "Offers" }
"""


async def test_from_the_form_to_the_newsletter_and_out_again(world: World) -> None:
    port = free_port()
    public = {**SECTIONS["web"]["public"], "port": port}
    async with shop(world, web={"public": public}) as desk, ClientSession(f"http://127.0.0.1:{port}") as http:
        assert (await desk.send(VISITOR)).reply.code == 550
        file = world.directory / "form.toml"
        file.write_text(FORM)
        page = (await asyncio.to_thread(world.service.cli, "form", "put", str(file), "--account", "shop")).strip()
        path = page.removeprefix("https://mta.sender.example")
        async with http.post(path, data={"address": VISITOR, "topic": "offers"}) as answer:
            assert "check your mail" in await answer.text()

        (receipt,) = await world.received(1)
        assert [each.address for each in receipt.recipients] == [VISITOR]
        assert receipt.sender.address.endswith("@returns.sender.example")
        text = quopri.decodestring(receipt.content).decode()
        assert "Auto-Submitted: auto-generated" in text
        link = re.search(r"https://mta\.sender\.example(/c/\S+)", text)
        assert link
        assert (await desk.send(VISITOR)).reply.code == 550
        async with http.get(link[1]) as answer:
            assert "<button" in await answer.text()
        async with http.post(link[1], data={"confirm": "sign_up"}) as answer:
            assert "is confirmed" in await answer.text()

        assert (await desk.send(VISITOR)).reply.code == 250
        newsletter = (await world.received(2))[1].content.decode()
        leave = re.search(r"<https://mta\.sender\.example(/u/[^>]+)>", re.sub(r"\r\n[ \t]", "", newsletter))
        assert leave
        async with http.post(leave[1], data={"List-Unsubscribe": "One-Click"}) as answer:
            assert answer.status == 200
        assert (await desk.send(VISITOR)).reply.code == 550
