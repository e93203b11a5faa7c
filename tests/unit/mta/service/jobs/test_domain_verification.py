"""Sender domains looked up in a real (scripted) DNS, kept, and shown by ``mta account check``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.load import load_file
from config.schema import Settings
from mta.delivery.mx import Resolver
from mta.service.jobs.domain_verification import verify_due
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.testing.nameserver import DnsFault, NameServer, Node
from policy.accounts.account import Account
from policy.accounts.sender_domain import owner_name, owner_text
from tests.unit.mta.cli.shell import Operator
from tests.unit.mta.store import make

DNS = '[dns]\nservers = ["127.0.0.1:{port}"]\ntimeout = "1s"\n'
DOMAIN = "news.shop.example"


@dataclass
class World:
    """A zone that may be changed at any time, and a configuration that asks it."""

    zone: dict[str, Node | DnsFault]
    operator: Operator

    @property
    def settings(self) -> Settings:
        return load_file(self.operator.config)

    async def publish(self, token: str) -> None:
        """All that makes DOMAIN fit; DMARC is its organisation's."""
        await self.operator.says("dkim", "new", "shop.example", "--selector", "s1", "--algorithm", "ed25519")
        (key,) = await self.operator.json("dkim", "list")
        await self.operator.says("dkim", "activate", "shop.example", "s1", "--force")
        self.zone |= {
            owner_name(DOMAIN): Node(txt=(owner_text(token),)),
            DOMAIN: Node(txt=("v=spf1 ip4:192.0.2.1 -all",), mx=((10, "mx.shop.example"),)),
            "mx.shop.example": Node(a=("192.0.2.2",)),
            "s1._domainkey.shop.example": Node(txt=(key["record"]["text"],)),
            "_dmarc.shop.example": Node(txt=("v=DMARC1; p=none",)),
        }


@pytest.fixture
async def world(tmp_path: Path, database_url: str, secrets: Secrets) -> AsyncIterator[World]:
    zone: dict[str, Node | DnsFault] = {}
    server = NameServer(zone)
    port = await server.start()
    yield World(zone, Operator(tmp_path, database_url, secrets, DNS.format(port=port)))
    await server.stop()


async def shop(store: Store) -> Account:
    return await store.accounts.add("shop", domains=[DOMAIN])


async def look(world: World, store: Store) -> None:
    """One round of the service's own, as if a while had passed since the last."""
    await make.execute(store, "update sender_domain set checked_at = null")
    await verify_due(world.settings, store, Resolver(world.settings))


async def test_a_domain_becomes_usable_by_itself_once_its_records_are_there(world: World, store: Store) -> None:
    account = await shop(store)
    await look(world, store)
    (domain,) = (await store.accounts.find("shop")).domains
    assert domain.verified_at is None
    assert domain.report["owner"].startswith("bad: _imprimatur.news.shop.example has no TXT record")
    assert domain.report["dmarc"].startswith("bad: news.shop.example has no DMARC record")
    assert domain.report["mx"].startswith("bad: replies would bounce")
    await world.publish(account.tokens[DOMAIN])
    await look(world, store)
    (domain,) = (await store.accounts.find("shop")).domains
    assert {subject: text.partition(":")[0] for subject, text in domain.report.items()} == dict.fromkeys(
        ("owner", "spf", "dkim", "dmarc", "mx"), "good"
    )
    assert domain.report["dmarc"].startswith("good: _dmarc.shop.example")
    assert domain.verified_at is not None


async def test_a_broken_name_server_proves_nothing_and_takes_nothing_away(world: World, store: Store) -> None:
    account = await shop(store)
    await world.publish(account.tokens[DOMAIN])
    world.zone[owner_name(DOMAIN)] = DnsFault.SERVFAIL
    await look(world, store)
    assert (await store.accounts.find("shop")).domains[0].verified_at is None
    await store.domains.vouch(account.id, DOMAIN, by="ann", reason="our own")
    world.zone[DOMAIN] = DnsFault.SERVFAIL
    await look(world, store)
    now = (await store.accounts.find("shop")).account
    assert (now.domains, now.deaf) == ({DOMAIN}, frozenset())


async def test_a_null_mx_makes_a_domain_deaf(world: World, store: Store) -> None:
    account = await shop(store)
    await world.publish(account.tokens[DOMAIN])
    world.zone[DOMAIN] = Node(txt=("v=spf1 ip4:192.0.2.1 -all",), mx=((0, ""),))
    await look(world, store)
    assert (await store.accounts.find("shop")).account.deaf == {DOMAIN}


async def test_check_says_what_is_missing_until_nothing_is(world: World, store: Store) -> None:
    says, fails = world.operator.says, world.operator.fails
    told = await says("account", "add", "shop", "--domain", DOMAIN, "--profile", "transactional")
    assert f'{owner_name(DOMAIN)}. IN TXT "imprimatur-verification=' in told
    assert "It may not send yet; `mta account check shop` shows what is missing." in told
    state = await world.operator.json("account", "check", "shop", status=1)
    assert [each["matter"] for each in state["missing"]] == ["contact", "domain"]
    assert state["domains"][DOMAIN]["found"]["dkim"]["mark"] == "bad"
    assert "is not ready for review" in await fails("account", "review", "shop")
    await says("account", "set", "shop", "--contact", "ann@shop.example")
    await world.publish((await store.accounts.find("shop")).domains[0].token)
    assert "may send for news.shop.example" in await says("account", "domain", "verify", "shop", DOMAIN)
    assert "mta account approve shop" in await says("account", "review", "shop")
    assert (await world.operator.json("account", "check", "shop", status=1))["status"] == "review"
    await says("account", "approve", "shop", "--reason", "papers seen")
    told = await says("account", "check", "shop")
    assert told.startswith("Account shop: active (papers seen), profile transactional")
    assert told.endswith("Nothing is missing.\n")
    history = await says("account", "history", "shop")
    assert "pending -> review" in history
    assert "review -> active: papers seen" in history
    assert f"{DOMAIN}: verified; owner good, spf good, dkim good, dmarc good, mx good" in history


async def test_an_account_of_your_own_is_complete_without_a_proof_of_its_domain(world: World, store: Store) -> None:
    await world.operator.says(
        "account",
        "add",
        "shop",
        "--domain",
        DOMAIN,
        "--approve",
        "our own",
        "--verified",
        "--profile",
        "transactional",
    )
    await world.operator.says("account", "set", "shop", "--contact", "ann")
    await world.publish("another token")
    state = await world.operator.json("account", "check", "shop")
    assert state["complete"] is True
    assert state["domains"][DOMAIN]["found"]["owner"]["mark"] == "bad"


async def test_what_spf_includes_is_read_too(world: World, store: Store) -> None:
    account = await shop(store)
    await world.publish(account.tokens[DOMAIN])

    async def found(record: str) -> str:
        world.zone[DOMAIN] = Node(txt=(record,), mx=((10, "mx.shop.example"),))
        await look(world, store)
        return (await store.accounts.find("shop")).domains[0].report["spf"]

    world.zone["two.example"] = Node(txt=(f"v=spf1 {'a ' * 4}include:three.example -all",))
    world.zone["three.example"] = Node(txt=(f"v=spf1 {'mx ' * 4}-all",))
    world.zone["broken.example"] = Node(txt=("v=spf1 ip4:198.51.100.999 -all",))
    assert await found("v=spf1 include:two.example -all") == "good: v=spf1 include:two.example -all"
    assert "asks for 11 look-ups, more than 10" in await found("v=spf1 mx include:two.example -all")
    assert "nowhere.example, which it includes, has no SPF record" in await found("v=spf1 include:nowhere.example -all")
    assert "broken.example, which it includes: 'ip4:198.51.100.999'" in await found(
        "v=spf1 include:broken.example ~all"
    )
    world.zone["three.example"] = DnsFault.SERVFAIL  # no answer is not an answer
    assert (await found("v=spf1 mx include:two.example -all")).startswith("good")


async def test_dmarc_reports_elsewhere_need_the_consent_of_the_domain_there(world: World, store: Store) -> None:
    account = await shop(store)
    await world.publish(account.tokens[DOMAIN])
    record = "v=DMARC1; p=none; rua=mailto:d@reports.example.net,mailto:own@shop.example"
    world.zone["_dmarc.shop.example"] = Node(txt=(record,))
    await look(world, store)
    report = (await store.accounts.find("shop")).domains[0].report
    assert report["dmarc"].startswith("weak: _dmarc.shop.example: reports.example.net does not accept these reports")
    assert 'shop.example._report._dmarc.reports.example.net. IN TXT "v=DMARC1"' in report["dmarc"]
    world.zone["shop.example._report._dmarc.reports.example.net"] = Node(txt=("v=DMARC1;",))
    world.zone[f"_dmarc.{DOMAIN}"] = Node(txt=("v=spf1 -all",))  # of a wildcard: the organisation's policy holds
    await look(world, store)
    assert (await store.accounts.find("shop")).domains[0].report["dmarc"].startswith("good: _dmarc.shop.example")
