"""Attacks by what comes back: forged bounces, complaints and clicks. Numbers: README.md in this folder."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from bench.service import free_port
from mta.testing.script import Receipt
from tests.attacks.attacker import Attacker, codes
from tests.flow.harness import World
from tests.flow.permission import READER
from tests.flow.returned import DOMAIN, Desk, header_of, path_of, returns
from tests.inbound_mail import bounce, complaint, letter

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLICK = {"List-Unsubscribe": "One-Click"}
GUESSES = 10_000
OTHER_READER = "olga@example.com"


@dataclass(frozen=True, slots=True)
class Target:
    """A newsletter was delivered: its return path and its unsubscribe token are known to its reader."""

    world: World
    desk: Desk
    receipt: Receipt
    token: str
    url: str
    monitoring: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(world: World) -> AsyncIterator[Target]:
    port = free_port()
    async with returns(world, web={"public": {"port": port}}) as desk:
        sent = await desk.shop.send(READER)
        assert sent.id, sent.reply
        await world.until_ended(sent.id)
        (receipt,) = world.taken
        found = re.search(rb"<https://[^>]*/u/([^>]+)>", receipt.content.replace(b"\r\n ", b""))
        assert found
        monitoring = f"http://127.0.0.1:{world.service.web_port}"
        yield Target(world, desk, receipt, found[1].decode(), f"http://127.0.0.1:{port}", monitoring)


def _forged(path: str) -> list[str]:
    """Return paths like the genuine one, and none of them it."""
    local, _, domain = path.partition("@")
    chance = random.Random(21)
    letters = sorted(set(local[8:]))
    forged = {local[:-1], local[:-8], local + "0", local[:8] + local[8:][::-1], local.replace("+", "-"), "bounce+"}
    for at in range(8, len(local)):
        other = chance.choice([letter for letter in letters if letter != local[at]])
        forged.add(local[:at] + other + local[at + 1 :])
    while len(forged) < 200:
        forged.add(local[:8] + "".join(chance.choices(letters, k=len(local) - 8)))
    return [f"{one}@{domain}" for one in sorted(forged - {local, local.upper()})]


async def test_s21_a_forged_return_path_is_nobody(target: Target) -> None:
    before = await target.desk.state()
    for path in _forged(path_of(target.receipt)):
        reply = await target.desk.bring(bounce(path, READER), path)
        assert str(reply).startswith("550 5.1.1"), path
    await target.desk.until_worked_off()
    assert await target.desk.state() == before


async def test_s21_ten_thousand_guesses_find_none(target: Target) -> None:
    local, _, domain = path_of(target.receipt).partition("@")
    chance = random.Random(22)
    letters = "0123456789abcdefghjkmnpqrstvwxyz"
    guesses = [f"{local[:8]}{''.join(chance.choices(letters, k=len(local) - 8))}@{domain}" for _ in range(GUESSES)]
    accepted = 0
    for at in range(0, GUESSES, 15):
        async with Attacker(target.desk.port) as attacker:
            await attacker.begin()
            lines = "".join(f"RCPT TO:<{one}>\r\n" for one in guesses[at : at + 15])
            said = await attacker.rest(f"MAIL FROM:<>\r\n{lines}".encode())
            accepted += codes(said).count(250) - 1
    assert accepted == 0


async def test_s22_a_feedback_report_that_nobody_signed_changes_nothing(target: Target) -> None:
    before = await target.desk.state()
    genuine, foreign = header_of(target.receipt), b"From: x@other.example\r\nMessage-ID: <1@other.example>\r\n"
    for returned in (genuine, foreign):
        report = complaint(returned)
        for _ in range(5):
            await target.desk.bring(report, f"fbl@{DOMAIN}", sender="fbl@feedback.example")
    await target.desk.until_worked_off()
    after = await target.desk.state()
    assert after["suppression"] == before["suppression"]
    assert after["complaint_case"] == before["complaint_case"]


async def test_s23_nobody_is_suppressed_by_what_others_claim(target: Target) -> None:
    before = await target.world.suppressed()
    victim = "victim@example.com"
    returned = header_of(target.receipt).replace(READER.encode(), victim.encode())
    mails = [
        (bounce(f"postmaster@{DOMAIN}", victim, returned), "postmaster"),
        (bounce(f"abuse@{DOMAIN}", victim, returned), "abuse"),
        (letter(f"unsubscribe@{DOMAIN}", victim, author=victim), "unsubscribe"),
        (letter(f"unsubscribe@{DOMAIN}", "A" * len(target.token), author=victim), "unsubscribe"),
        (letter(f"unsubscribe@{DOMAIN}", target.token[:-1] + "!", author=victim), "unsubscribe"),
        (complaint(returned, sender=victim), "fbl"),
    ]
    for content, box in mails:
        await target.desk.bring(content, f"{box}@{DOMAIN}", sender=victim)
    await target.desk.until_worked_off()
    assert await target.world.suppressed() == before


def _other_tokens(token: str) -> list[str]:
    chance = random.Random(28)
    letters = sorted(set(token))
    changed = [
        token[:at] + chance.choice([one for one in letters if one != token[at]]) + token[at + 1 :]
        for at in range(len(token) - 1)  # the last letter may hold bits that mean nothing
    ]
    return [*changed, token[:-4], token + "A", token[::-1], "A" * len(token), "1", "..%2f..%2fhealthz", "%00"]


async def test_s28_a_forged_token_changes_nothing_and_is_not_told_from_a_genuine_one(target: Target) -> None:
    before = await target.desk.state()
    pages = set()
    async with ClientSession() as http:
        for token in _other_tokens(target.token):
            async with http.post(f"{target.url}/u/{token}", data=CLICK) as answer:
                assert answer.status in (200, 404), token
                if "%" not in token:
                    pages.add((answer.status, await answer.text()))
    assert await target.desk.state() == before
    assert len(pages) == 1
    assert READER.encode() not in target.token.encode()


async def test_s29_s30_only_the_one_click_post_unsubscribes(target: Target) -> None:
    before = await target.desk.state()
    url = f"{target.url}/u/{target.token}"
    async with ClientSession() as http:
        for method, data in (
            *(("GET", None), ("HEAD", None), ("OPTIONS", None), ("PUT", CLICK), ("DELETE", None), ("PATCH", CLICK)),
            *(
                ("POST", None),
                ("POST", {"x": "y"}),
                ("POST", {"List-Unsubscribe": "yes"}),
            ),
        ):
            async with http.request(method, url, data=data, allow_redirects=False) as answer:
                assert not 300 <= answer.status < 400, method
                assert "Set-Cookie" not in answer.headers
                assert "Access-Control-Allow-Origin" not in answer.headers
        async with http.get(f"{url}?List-Unsubscribe=One-Click") as answer:
            assert "script" not in (await answer.text()).lower()
    assert await target.desk.state() == before


async def test_s34_the_api_is_on_its_own_port_only(target: Target) -> None:
    """The public port and the monitoring port have no API, no pages of operators, and nothing to try out."""
    async with ClientSession() as http:
        for base in (target.url, target.monitoring):
            for path in (
                "/",
                "/subscribe",
                "/signup",
                "/v1/messages",
                "/api",
                "/admin",
                "/operator",
                "/docs",
                "/.env",
                "/debug",
            ):
                for method in ("GET", "POST"):
                    async with http.request(method, base + path, allow_redirects=False) as answer:
                        assert answer.status in (404, 405), (method, base, path)
        for path in ("/metrics", "/healthz", "/readyz"):
            async with http.get(target.url + path) as answer:
                assert answer.status == 404, path


async def test_s35_no_secret_is_in_a_log_a_metric_or_a_page(target: Target) -> None:
    secret = (target.world.service.data / "secret").read_bytes().strip()
    async with ClientSession() as http:
        texts = [target.world.service.output(), target.world.service.events.read_text()]
        for page in ("/metrics", "/healthz", "/readyz"):
            async with http.get(target.monitoring + page) as answer:
                texts.append(await answer.text())
    kept = "\n".join(texts)
    assert target.token not in kept
    assert secret.decode("latin-1") not in kept
    assert secret.hex() not in kept
    assert "PRIVATE KEY" not in kept


async def test_s29_the_genuine_click_works_and_can_be_repeated(target: Target) -> None:
    """Last in this file: from here on the reader is suppressed."""
    async with ClientSession() as http:
        for _ in range(2):
            async with http.post(f"{target.url}/u/{target.token}", data=CLICK) as answer:
                assert answer.status == 200
    assert list(await target.world.suppressed()) == [READER]
    assert (await target.desk.shop.send(READER)).reply.code == 550


async def test_s23_a_report_to_one_recipients_path_touches_no_other(target: Target) -> None:
    await target.desk.shop.agree(OTHER_READER)
    sent = await target.desk.shop.send(OTHER_READER)
    assert sent.id, sent.reply
    await target.world.until_ended(sent.id)
    own, others = path_of(target.receipt), header_of(target.world.taken[-1])
    for returned in (b"", others):
        assert (await target.desk.bring(bounce(own, OTHER_READER, returned), own)).code == 250
    await target.desk.until_worked_off()
    assert OTHER_READER not in await target.world.suppressed()


async def test_s23_what_is_forged_in_a_readers_name_ends_no_consent_and_can_be_lifted(target: Target) -> None:
    """Runs behind the one above, whose reader still gets mail."""
    world, revoked = target.world, "select count(*) from consent_entry where kind = 'revoked'"
    before = await world.db.fetchval(revoked)
    forged = letter(f"abuse@{DOMAIN}", "unsubscribe", "Please unsubscribe me", author=OTHER_READER)
    await target.desk.bring(forged, f"abuse@{DOMAIN}", sender=OTHER_READER)
    await target.desk.until_worked_off()
    reason = "select reason from suppression where address = $1"
    assert await world.db.fetchval(reason, OTHER_READER) == "requested"
    assert await world.db.fetchval(revoked) == before
    words = ("suppression", "remove", OTHER_READER, "--account", "shop", "--reason", "she did not write that")
    await asyncio.to_thread(world.service.cli, *words, "--topic", "*", "--yes")
    assert (await target.desk.shop.send(OTHER_READER)).id


async def test_s20_a_forged_complaint_carries_no_words_to_its_victim_and_begins_no_loop(target: Target) -> None:
    world, victim, abuse = target.world, "victim@example.com", f"abuse@{DOMAIN}"
    said = "Buy at http://evil.example\r\nThis is spam, I never subscribed."
    plain = letter(abuse, "http://evil.example", said, author=victim)
    loops = ((plain, ""), (plain, "list-bounces@lists.example"), (b"Auto-Submitted: auto-replied\r\n" + plain, victim))
    lists = tuple((field + plain, victim) for field in (b"Precedence: bulk\r\n", b"List-Id: <x.example>\r\n"))
    for content, sender in (*loops, *lists, *[(plain, victim)] * 5):
        assert (await target.desk.bring(content, abuse, sender=sender)).code == 250
    await target.desk.until_worked_off()

    def to_victim() -> list[Receipt]:
        return [each for each in world.taken if victim in {one.address for one in each.recipients}]

    async def sent() -> bool:
        return bool(to_victim())

    await world.until(sent)
    queued = "select count(*) from queue where address = $1"
    assert (len(to_victim()), await world.db.fetchval(queued, victim)) == (1, 0)
    (receipt,) = to_victim()
    assert b"evil" not in receipt.content
    assert receipt.sender.address == ""
    assert victim not in await world.suppressed()
