"""People who get mail, in a real browser and a whole service: they sign up, choose, leave, and complain, which opens a
case that is answered and closed."""

from __future__ import annotations

import asyncio
import quopri
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.service import free_port
from mta.web.sign_up import FASTEST
from policy.reputation.complaint import CaseState
from tests.browser.chromium import PHONE, Visitor, chromium, visitor
from tests.flow.harness import World, open_world
from tests.flow.permission import READER, SECTIONS, Shop, shop

SAID = "Das habe ich nie bestellt.\nBitte sagen Sie mir, woher Sie meine Adresse haben."


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    async with open_world(tmp_path, database_url) as world:
        yield world


async def _is_sound(who: Visitor) -> None:
    assert await who.violations() == [], who.page.url
    assert await who.overflow() == 0, who.page.url
    assert who.troubles == [], who.page.url


async def _log_in(world: World, who: Visitor, *words: str) -> None:
    said = await asyncio.to_thread(world.service.cli, "user", "add", *words)
    token = re.search(r"/login/link\?token=\S+", said)
    assert token
    page = await who.go(token[0])
    async with page.expect_navigation():
        await page.locator("button.primary").click()


async def _case(desk: Shop) -> int:
    """The number of the one case, once the account was told of it."""
    async with asyncio.timeout(30):
        while not (found := await desk.store.cases.list(None, states=[CaseState.SENT], limit=2)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    (case,) = found
    return case.id


FORM = """
name = "neuigkeiten"
sender = "ann@sender.example"
version = "1"
page = "https://www.sender.example/newsletter"
[statements]
de = "Ich möchte Ihren Newsletter zu den gewählten Themen per E-Mail erhalten. Ich kann mich jederzeit abmelden."
[[topics]]
name = "offers"
labels = { de = "Donaudampfschifffahrtsgesellschaftssonderangebotsbenachrichtigungen" }
[[topics]]
name = "events"
labels = { de = "Veranstaltungen" }
"""


async def _link(world: World, count: int, pattern: str) -> str:
    """Return the path of a link in the newest of so many messages that were received."""
    content = (await world.received(count))[count - 1].content
    unfolded = re.sub(rb"\r\n[ \t]", b"", content)
    texts = [each.decode("utf-8", "replace") for each in (unfolded, quopri.decodestring(content))]
    found = next(filter(None, (re.search(rf"https://mta\.sender\.example({pattern})", each) for each in texts)), None)
    assert found, content
    return found[1]


@pytest.mark.nightly
async def test_a_reader_signs_up_chooses_and_leaves(world: World) -> None:
    public, vera = free_port(), "vera@example.com"
    web = {"public": {**SECTIONS["web"]["public"], "port": public}}
    phone = {"locale": "de-DE", "viewport": PHONE}
    async with shop(world, web=web) as desk, chromium() as browser:
        file = world.directory / "form.toml"
        file.write_text(FORM)
        said = await asyncio.to_thread(world.service.cli, "form", "put", str(file), "--account", "shop")
        async with visitor(browser, f"http://127.0.0.1:{public}", **phone) as reader:
            page = await reader.go(said.strip().removeprefix("https://mta.sender.example"))
            await _is_sound(reader)
            for box in await page.get_by_role("checkbox").all():
                assert not await box.is_checked()
                await box.check()
            await page.locator("#address").fill(vera)
            await asyncio.sleep(FASTEST + 1)  # nobody is faster; who is, is no person
            async with page.expect_navigation():
                await page.locator("button").click()
            await _is_sound(reader)
            await reader.go(await _link(world, 1, r"/c/[^\s>]+"))
            await _is_sound(reader)
            async with page.expect_navigation():
                await page.locator("button").click()
            await _is_sound(reader)

            assert (await desk.send(vera)).reply.code == 250
            leave = await _link(world, 2, r"/u/[^>\s]+")
            await reader.go(f"{leave}?choose")
            await _is_sound(reader)
            await page.locator("input[value=events]").uncheck()
            async with page.expect_navigation():
                await page.locator("button[value=topics]").click()
            await _is_sound(reader)
            assert (await desk.send(vera)).reply.code == 250  # about offers, which were kept
            await reader.go(leave)
            await _is_sound(reader)
            async with page.expect_navigation():
                await page.locator("button").click()
            await _is_sound(reader)
            assert (await desk.send(vera)).reply.code == 550
            await page.goto(reader.url + leave[:-9])  # cut off on its way
            reader.troubles.clear()  # the console tells of its status
            assert "beschädigt" in await reader.says()
            await _is_sound(reader)


async def test_a_complaint_by_the_form_is_answered_and_closed(world: World) -> None:
    public, admin = free_port(), free_port()
    web = {"public": {**SECTIONS["web"]["public"], "port": public}, "admin": {"port": admin}}
    async with shop(world, web=web) as desk, chromium() as browser:
        await desk.send(READER)
        letter = (await world.received(1))[0].content.decode()
        mailing = re.search(r"(?m)^X-Mailing-ID: (\S+)", letter)
        assert mailing
        german = {"locale": "de-DE"}
        async with visitor(browser, f"http://127.0.0.1:{public}", **german) as reader:
            page = await reader.go(f"/abuse?mailing={mailing[1]}")
            await _is_sound(reader)
            await page.locator("button").click()
            await page.locator("[role=alert]").wait_for()
            assert await page.locator("#mailing").input_value() == mailing[1]  # what was typed is kept
            reader.troubles.clear()  # the console tells of 422
            await page.locator("#address").fill(READER)
            await page.locator("#said").fill(SAID)
            async with page.expect_navigation():
                await page.locator("button").click()
            await _is_sound(reader)
            assert await page.locator("form").count() == 0
        number = await _case(desk)
        url = f"http://127.0.0.1:{admin}"
        async with visitor(browser, url) as lea, visitor(browser, url) as ann:
            await _log_in(world, lea, "lea", "--role", "account", "--account", "shop")
            page = await lea.go(f"/complaints/{number}")
            assert "woher Sie meine Adresse haben" in await lea.says()
            await _is_sound(lea)
            await page.get_by_label("What happened").fill("She signed up in the shop; she is removed now.")
            await lea.press("Answer")
            await _log_in(world, ann, "ann", "--role", "operator")
            page = await ann.go("/complaints")
            await page.get_by_role("link", name=re.compile(f"C-{number}")).first.click()
            await page.get_by_label("What was agreed").fill("She was removed.")
            await ann.press("Accept the answer")
            await page.get_by_label("No, it was unfounded").check()
            await ann.press("Close")
            assert "Closed as unfounded" in await ann.says()
            await _is_sound(ann)
        story = await desk.store.cases.show(number)
        assert (story.case.state, story.case.mailing) == (CaseState.CLOSED, mailing[1])
