"""Blocklists asked over a real (scripted) DNS, kept, and shown by ``mta blocklist``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.load import load_file
from config.schema import Settings
from config.toml import ConfigError
from mta.admin.desk import blocklists as desk_blocklists
from mta.observe.metrics import Metrics
from mta.service.jobs import blocklists
from mta.service.jobs.blocklists import BlocklistWatch
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.testing.nameserver import DnsFault, NameServer, Node
from policy.accounts.account import AccountStatus
from tests.unit.mta.cli.shell import Operator
from tests.unit.mta.store import make

CONFIG = """
[dns]
servers = ["127.0.0.1:{port}"]
timeout = "1s"
min_ttl = "0s"
max_ttl = "0s"
[[egress.sources]]
name = "one"
address = "192.0.2.1"
[[egress.sources]]
name = "two"
address = "192.0.2.2"
[blocklists]
every = "0s"
confirm_after = "0s"
[[blocklists.lists]]
name = "zen"
zone = "zen.example"
[[blocklists.lists]]
name = "dbl"
zone = "dbl.example"
kind = "domain"
"""
YES = Node(a=("127.0.0.2",), ttl=0)
HEALTHY: dict[str, Node | DnsFault] = {"2.0.0.127.zen.example": YES, "test.dbl.example": YES}
OURS = "1.2.0.192.zen.example"
LISTED = Node(a=("127.0.0.2",), txt=("sends spam, see https://zen.example/",), ttl=0)


@dataclass
class World:
    """A zone that may be changed at any time, and a watch that asks it."""

    zone: dict[str, Node | DnsFault]
    server: NameServer
    store: Store
    operator: Operator
    metrics: Metrics
    watch: BlocklistWatch
    settings: Settings

    async def look(self, times: int = 1) -> None:
        for _ in range(times):
            await self.watch.look(self.settings, self.store)

    def configure(self, text: str) -> None:
        """As a reload does it."""
        self.operator.config.write_text(text)
        self.settings = load_file(self.operator.config)

    async def states(self) -> dict[tuple[str, str], bool]:
        """What is listed, and whether it counts."""
        return {
            (each.list, each.subject): each.confirmed_at is not None
            for each in await self.store.blocklist_listings.find()
        }


@pytest.fixture
async def world(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    for module in (blocklists, desk_blocklists):
        monkeypatch.setattr(module, "PAUSE", 0.0)  # between two questions
    zone = dict(HEALTHY)
    server = NameServer(zone)
    port = await server.start()
    operator = Operator(tmp_path, database_url, secrets, CONFIG.format(port=port))
    metrics = Metrics()
    yield World(zone, server, store, operator, metrics, BlocklistWatch(metrics), load_file(operator.config))
    await server.stop()


async def test_a_listing_counts_when_seen_twice_and_ends_when_it_is_gone(world: World) -> None:
    world.zone[OURS] = LISTED
    await world.look()
    assert await world.states() == {("zen", "192.0.2.1"): False}
    assert await world.store.blocklist_listings.resting(["zen"]) == frozenset()
    await world.look()
    assert await world.states() == {("zen", "192.0.2.1"): True}
    (listing,) = await world.store.blocklist_listings.find()
    assert listing.answer == "127.0.0.2: sends spam, see https://zen.example/"
    assert await world.store.blocklist_listings.resting(["zen"]) == {"192.0.2.1"}
    assert await world.store.blocklist_listings.resting(["dbl"]) == frozenset()
    assert (world.metrics.blocklist_listings.value, world.metrics.sources_in_backoff.value) == (1, 1)
    await world.look(2)
    assert await make.count(world.store, "event where kind = 'blocklisted'") == 1

    del world.zone[OURS]
    await world.look()
    assert await world.states() == {}
    assert await make.count(world.store, "event where kind = 'delisted'") == 1
    assert (world.metrics.blocklist_listings.value, world.metrics.sources_in_backoff.value) == (0, 0)


async def test_a_listing_that_was_seen_once_never_counts(world: World) -> None:
    world.zone[OURS] = LISTED
    await world.look()
    del world.zone[OURS]
    await world.look()
    assert await world.states() == {}
    assert await make.count(world.store, "event where kind in ('blocklisted', 'delisted')") == 0


async def test_a_domain_is_its_accounts_case(world: World) -> None:
    account = await world.store.accounts.add(
        "shop", domains=["shop.example"], status=AccountStatus.ACTIVE, verified=True, by="test"
    )
    world.zone["shop.example.dbl.example"] = LISTED
    await world.look(3)
    assert await world.states() == {("dbl", "shop.example"): True}
    assert (
        await make.count(world.store, f"complaint_case where source = 'blocklist' and account_id = {account.id}") == 1
    )
    (listing,) = await world.store.blocklist_listings.find()
    assert listing.case_id is not None


async def test_a_list_that_answers_for_everything_is_ignored_and_reported_once(world: World) -> None:
    world.zone |= {"1.0.0.127.zen.example": YES, OURS: LISTED}
    await world.look(3)
    assert await world.states() == {}
    assert world.server.asked(OURS, "A") == 0
    assert await make.count(world.store, "event where kind = 'blocklist_ignored'") == 1
    assert world.metrics.blocklists_ignored.value == 1
    del world.zone["1.0.0.127.zen.example"]
    await world.look(2)
    assert await world.states() == {("zen", "192.0.2.1"): True}
    assert world.metrics.blocklists_ignored.value == 0


async def test_so_is_one_that_lists_nothing(world: World) -> None:
    del world.zone["2.0.0.127.zen.example"]
    world.zone[OURS] = LISTED
    await world.look(2)
    assert await world.states() == {}
    assert "does not list 127.0.0.2" in (await world.operator.run("blocklist", "check")).stdout.replace("\n", " ")


async def test_trouble_with_the_dns_changes_nothing(world: World) -> None:
    world.zone[OURS] = LISTED
    await world.look(2)
    for trouble in (DnsFault.SERVFAIL, DnsFault.SILENT):
        world.zone[OURS] = trouble
        await world.look()
        assert await world.states() == {("zen", "192.0.2.1"): True}
    world.zone["2.0.0.127.zen.example"] = DnsFault.SERVFAIL
    await world.look()
    assert await world.states() == {("zen", "192.0.2.1"): True}


async def test_nobody_is_asked_before_the_answer_has_run_out(world: World) -> None:
    world.configure(world.operator.config.read_text().replace('max_ttl = "0s"', 'max_ttl = "1h"'))
    world.zone[OURS] = Node(a=("127.0.0.2",), ttl=300)
    await world.look(5)
    assert world.server.asked(OURS, "A") == 1
    assert await world.states() == {("zen", "192.0.2.1"): False}


async def test_without_lists_nobody_is_asked_and_what_was_known_ends(world: World) -> None:
    world.zone[OURS] = LISTED
    await world.look(2)
    asked = len(world.server.queries)
    world.configure(world.operator.config.read_text().partition("[[blocklists.lists]]")[0])
    await world.look(2)
    assert len(world.server.queries) == asked
    assert await world.states() == {}


async def test_the_operator_sees_and_asks(world: World) -> None:
    said = (await world.operator.run("blocklist", "list")).stderr
    assert said.startswith("No listings found by the running service. It asks zen, dbl;")
    world.zone[OURS] = LISTED
    await world.look(2)
    (listing,) = await world.operator.json("blocklist", "list")
    assert (listing["subject"], listing["list"]) == ("192.0.2.1", "zen")
    assert "confirmed" in await world.operator.says("blocklist", "list")
    checked = await world.operator.json("blocklist", "check", status=1)
    assert {(each["list"], each["subject"]): each["said"] for each in checked} == {
        ("zen", ""): "believed",
        ("zen", "192.0.2.1"): "listed",
        ("zen", "192.0.2.2"): "clear",
        ("dbl", ""): "believed",
    }
    checked = await world.operator.json("blocklist", "check", "192.0.2.2", "links.example")
    assert [each["said"] for each in checked if each["subject"]] == ["clear", "clear"]


@pytest.mark.parametrize(
    ("lines", "mistake"),
    [
        ('[[blocklists.lists]]\nname = "zen"\nzone = "other.example"\n', "second list named zen"),
        ('answers = [{ codes = "192.0.2.1" }]\n', "not a blocklist answer"),
    ],
)
async def test_mistakes_are_told(world: World, lines: str, mistake: str) -> None:
    with pytest.raises(ConfigError, match=mistake):
        world.configure(world.operator.config.read_text() + lines)
