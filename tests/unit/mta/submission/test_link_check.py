"""Links looked up: in the takedown list, and over a real (scripted) DNS, whatever the lists do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from config.schema import Settings
from mta.observe.labels import LinkLookup
from mta.observe.metrics import Metrics
from mta.submission.link_check import LinkChecker
from mta.testing.nameserver import DnsFault, NameServer, Node
from policy.base import LinkCheck, ListedLink
from policy.reputation.takedown import Takedown, TakedownList, parse_takedown
from policy.text.link_targets import MOST
from policy.text.message_text import MessageText

YES = Node(a=("127.0.0.2",), ttl=300)
TAKEN = TakedownList([Takedown(parse_takedown("pirate.example"), "court order", "desk", datetime.now(UTC))])
NONE = TakedownList()


class World:
    """Zones that may be changed until they are asked."""

    def __init__(self) -> None:
        self.zone: dict[str, Node | DnsFault] = {"test.dbl.example": YES}
        self.server = NameServer(self.zone)

    async def checker(self, taken: TakedownList = NONE, *, metrics: Metrics | None = None, **links: Any) -> LinkChecker:
        port = await self.server.start()
        dns = {"servers": [f"127.0.0.1:{port}"], "timeout": "1s"}
        section = {"lists": [{"name": "dbl", "zone": "dbl.example"}]} | links
        settings = Settings.model_validate({"dns": dns, "content_scan": {"links": section}})
        takedowns: Any = SimpleNamespace(in_force=taken)
        return LinkChecker(settings, takedowns, metrics)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.server.stop()


def mail(*addresses: str) -> MessageText:
    return MessageText(b"Content-Type: text/plain\r\n\r\n" + "\r\n".join(addresses).encode())


async def test_results_are_counted(world: World) -> None:
    world.zone["bad.com.dbl.example"] = YES
    world.zone["mute.com.dbl.example"] = DnsFault.SILENT
    metrics = Metrics()
    checker = await world.checker(TAKEN, metrics=metrics, timeout="300ms")
    for host in ("bad.com", "good.com", "pirate.example", "mute.com", "better.com"):
        await checker.check(mail(f"https://{host}/"))
    assert {result: metrics.link_lookups[result].value for result in LinkLookup} == {
        LinkLookup.CLEAR: 2,
        LinkLookup.LISTED: 1,
        LinkLookup.TAKEN_DOWN: 1,
        LinkLookup.UNANSWERED: 1,
    }


async def test_the_host_and_its_registered_domain_are_asked_for(world: World) -> None:
    world.zone["evil.co.uk.dbl.example"] = YES
    world.zone["www.bad.com.dbl.example"] = YES
    checker = await world.checker()
    assert (await checker.check(mail("https://a.b.evil.co.uk/"))).listed == (
        ListedLink("evil.co.uk", "dbl", "127.0.0.2"),
    )
    assert [each.host for each in (await checker.check(mail("http://www.bad.com"))).listed] == ["www.bad.com"]
    assert await checker.check(mail("https://good.com/", "https://bad.com")) == LinkCheck()


async def test_answers_are_kept(world: World) -> None:
    world.zone["bad.com.dbl.example"] = YES
    checker = await world.checker()
    for _ in range(3):
        assert (await checker.check(mail("https://bad.com/"))).listed
    del world.zone["bad.com.dbl.example"]
    assert (await checker.check(mail("https://bad.com/"))).listed


async def test_a_takedown_needs_no_dns(world: World) -> None:
    checker = await world.checker(TAKEN)
    await world.server.stop()
    assert (await checker.check(mail("https://www.pirate.example/x"))).taken_down == ("pirate.example",)


async def test_a_list_that_answers_for_everything_is_not_believed(world: World) -> None:
    world.zone |= {"invalid.dbl.example": YES, "good.com.dbl.example": YES}
    assert await (await world.checker()).check(mail("https://good.com/")) == LinkCheck()


@pytest.mark.parametrize(("mode", "expected"), [("closed", "failed"), ("open", "note")])
async def test_a_list_that_does_not_answer(world: World, mode: str, expected: str) -> None:
    world.zone["good.com.dbl.example"] = DnsFault.SERVFAIL
    checker = await world.checker(on_failure=mode)
    found = await checker.check(mail("https://good.com/"))
    assert "dbl: look-up of good.com.dbl.example failed" in getattr(found, expected)


async def test_more_links_than_are_looked_up_count_as_a_failure(world: World) -> None:
    checker = await world.checker(max_names=2)
    assert (await checker.check(mail(*(f"https://h{n}.com" for n in range(3))))).failed == "there are too many links"


async def test_padding_hides_no_takedown(world: World) -> None:
    checker = await world.checker(TAKEN, lists=[])
    padding = [f"https://h{n}.com" for n in range(MOST)]
    assert (await checker.check(mail(*padding[:-1], "https://pirate.example"))).taken_down
    assert (await checker.check(mail(*padding, "https://pirate.example"))).failed == "there are too many links"


async def test_without_lists_nothing_is_read(world: World) -> None:
    checker = await world.checker(lists=[])
    assert await checker.check(mail("https://good.com/")) == LinkCheck(note="nothing to look up")
