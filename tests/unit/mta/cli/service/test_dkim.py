"""``mta dkim`` against a real database and a name server of our own: the life of a key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from config.schema import SigningSettings
from mta.cli.main import build
from mta.dkim import KeyRing, Signer
from mta.dkim.keys import Algorithm, new_pem, parse_key
from mta.dkim.records import record_text
from mta.mail.headers import Headers
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.testing.nameserver import DnsFault, NameServer, Node
from tests.unit.mta.cli.shell import Operator

DNS = '[dns]\nservers = ["127.0.0.1:{port}"]\ntimeout = "2s"\n'


class World:
    """An operator, and the DNS as the test wants it."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.zone: dict[str, Node | DnsFault] = {}

    def publish(self, selector: str, *texts: str) -> None:
        self.zone[f"{selector}._domainkey.example.com"] = Node(txt=texts)

    async def new(self, selector: str, *options: str) -> str:
        """Make a key; the text of its record."""
        (made,) = await self.operator.json("dkim", "new", "example.com", "--selector", selector, *options)
        return str(made["record"]["text"])

    async def active(self, selector: str) -> None:
        """Make a key, publish and activate it."""
        self.publish(selector, await self.new(selector, "--algorithm", "ed25519"))
        await self.operator.says("dkim", "activate", "example.com", selector)

    async def states(self) -> dict[str, str]:
        return {key["selector"]: key["state"] for key in await self.operator.json("dkim", "list", "example.com")}


@pytest.fixture
async def world(tmp_path: Path, database_url: str, secrets: Secrets) -> AsyncIterator[World]:
    world = World(Operator(tmp_path, database_url, secrets))
    server = NameServer(world.zone)
    port = await server.start()
    world.operator = Operator(tmp_path, database_url, secrets, DNS.format(port=port))
    yield world
    await server.stop()


async def test_a_new_key_is_pending_and_its_record_is_shown_in_every_form(world: World) -> None:
    told = await world.operator.says("dkim", "new", "Example.COM", "--selector", "s1")
    lines = [line.strip() for line in told.splitlines()]
    strings = [line.removeprefix("value").strip() for line in lines if line.endswith('"') and "IN TXT" not in line]
    assert "name   s1._domainkey.example.com" in lines
    assert "type   TXT" in lines
    assert [len(piece) - 2 for piece in strings] == [255, 155]
    assert f"s1._domainkey.example.com. IN TXT {' '.join(strings)}" in lines
    assert "mta dkim activate example.com s1" in lines
    (key,) = await world.operator.json("dkim", "list")
    assert (key["state"], key["algorithm"], key["bits"]) == ("pending", "rsa-sha256", 2048)
    assert key["record"]["text"] == "".join(piece.strip('"') for piece in strings)
    assert "PRIVATE" not in told + str(key)


async def test_selectors_are_made_from_algorithm_and_date_and_never_twice(world: World) -> None:
    made = await world.operator.json("dkim", "new", "example.com", "--algorithm", "both")
    again = await world.operator.json("dkim", "new", "example.com")
    rsa, ed25519 = sorted((key["selector"] for key in made), reverse=True)
    assert rsa.startswith("rsa-20")
    assert ed25519.startswith("ed25519-20")
    assert [key["selector"] for key in again] == [f"{rsa}-2"]


async def test_what_cannot_be_made_is_said_in_one_sentence(world: World) -> None:
    await world.new("s1")
    assert await world.operator.fails("dkim", "new", "example.com", "--selector", "S1") == (
        "there is a key s1._domainkey.example.com already; choose another selector\n"
    )
    assert "is not a selector" in await world.operator.fails(
        "dkim", "new", "example.com", "--selector", "a b", status=2
    )
    assert "at least two labels" in await world.operator.fails("dkim", "new", "localhost", status=2)


async def test_check_tells_what_differs_until_the_record_is_right(world: World) -> None:
    record = await world.new("s1")
    for published, kind in (
        ((), "missing"),
        ((record.replace("k=rsa", "k=ed25519"),), "key-type"),
        ((record[:255],), "cut-off"),
        ((record, "v=spf1 -all"), "several"),
        (("v=DKIM1; p=",), "revoked"),
    ):
        world.publish("s1", *published)
        (checked,) = await world.operator.json("dkim", "check", "example.com", status=1)
        assert [found["kind"] for found in checked["differences"]] == [kind]
        assert not checked["verifies"]
    world.publish("s1", record.replace("k=rsa;", "k=rsa; t=y;"))
    (checked,) = await world.operator.json("dkim", "check", "example.com")
    assert ([found["kind"] for found in checked["differences"]], checked["verifies"]) == (["testing"], True)
    world.publish("s1", record)
    assert "published; signatures verify; next: mta dkim activate example.com s1" in await world.operator.says(
        "dkim", "check", "example.com"
    )


async def test_a_record_may_be_an_alias(world: World) -> None:
    record = await world.new("s1")
    world.zone["s1._domainkey.example.com"] = Node(cname="key1.provider.example")
    world.zone["key1.provider.example"] = Node(txt=(record,))
    (checked,) = await world.operator.json("dkim", "check", "example.com")
    assert checked["verifies"]


async def test_trouble_with_the_dns_is_not_taken_for_a_missing_record(world: World) -> None:
    await world.new("s1")
    world.zone["s1._domainkey.example.com"] = DnsFault.SERVFAIL
    (checked,) = await world.operator.json("dkim", "check", "example.com", status=1)
    assert "SERVFAIL" in checked["problem"]
    assert checked["differences"] == []


async def test_a_key_is_activated_when_the_dns_has_it_or_by_force(world: World) -> None:
    record = await world.new("s1")
    refused = await world.operator.fails("dkim", "activate", "example.com", "s1")
    assert refused.startswith("s1._domainkey.example.com: there is no TXT record; publish it.")
    assert await world.states() == {"s1": "pending"}
    world.publish("s1", record)
    assert await world.operator.says("dkim", "activate", "example.com", "S1") == ("Key s1 active for example.com.\n")
    assert "is already active" in await world.operator.says("dkim", "activate", "example.com", "s1")
    await world.new("s2")
    assert await world.operator.says("dkim", "activate", "example.com", "s2", "--force") == (
        "Key s2 active for example.com, beside s1.\n"
    )


async def test_a_rotation_without_a_gap(world: World, store: Store) -> None:
    await world.active("old")
    await world.active("new")
    message = b"From: ann@example.com\r\n\r\nHello\r\n"
    ring = KeyRing()

    async def selectors() -> list[str]:
        ring.replace_stored(await store.dkim_keys.list())
        signed = Signer(SigningSettings(), ring).sign(
            headers := Headers.split(message), message[headers.size :], "example.com"
        )
        return [name for name in ("old", "new") if f" s={name};".encode() in signed]

    assert await selectors() == ["old", "new"]
    told = await world.operator.says("dkim", "retire", "example.com", "old")
    assert "leave old._domainkey.example.com in the DNS for 5 days" in told
    assert await selectors() == ["new"]
    assert "is already retired" in await world.operator.says("dkim", "retire", "example.com", "old")
    refused = await world.operator.fails("dkim", "retire", "example.com", "new")
    assert refused.startswith("new is the last active key of example.com")
    await world.operator.says("dkim", "retire", "example.com", "new", "--force")
    assert await selectors() == []
    assert await world.states() == {"old": "retired", "new": "retired"}


async def test_a_retired_key_is_no_failure_whatever_the_dns_has(world: World) -> None:
    await world.active("s1")
    await world.operator.says("dkim", "retire", "example.com", "s1", "--force")
    assert "still published" in await world.operator.says("dkim", "check", "example.com")
    world.publish("s1")
    assert "no longer published" in await world.operator.says("dkim", "check", "example.com")


async def test_keys_in_files_are_listed_checked_and_left_to_the_configuration(world: World) -> None:
    pem = new_pem(Algorithm.ED25519)
    key = parse_key(pem, domain="example.com", selector="file", source="")
    path = world.operator.folder / "file.pem"
    path.write_bytes(pem)
    path.chmod(0o600)
    with world.operator.config.open("a") as config:
        config.write('[[signing.keys]]\ndomain = "example.com"\nselector = "file"\nfile = "file.pem"\n')
    (listed,) = await world.operator.json("dkim", "list")
    assert (listed["state"], listed["source"], listed["since"]) == ("active", str(path), None)
    world.publish("file", record_text(key))
    (checked,) = await world.operator.json("dkim", "check", "example.com")
    assert checked["verifies"]
    assert f"is in the file {path}" in await world.operator.fails("dkim", "retire", "example.com", "file")
    path.chmod(0o644)
    assert "chmod 600" in await world.operator.fails("dkim", "list", status=2)


async def test_show_prints_the_record_again(world: World) -> None:
    record = await world.new("s1", "--algorithm", "ed25519")
    told = await world.operator.says("dkim", "show", "example.com", "s1")
    assert "Ed25519, pending, since" in told
    assert f'"{record}"' in told
    assert "there is no key nope of example.com" in await world.operator.fails("dkim", "show", "example.com", "nope")
    assert "create one with `mta dkim new example.org`" in await world.operator.fails("dkim", "check", "example.org")


async def test_an_empty_list_says_what_to_do(world: World) -> None:
    assert "mta dkim new DOMAIN" in (await world.operator.run("dkim", "list")).stderr


async def test_keys_sealed_under_another_secret_are_an_error_in_words(world: World) -> None:
    await world.new("s1")
    (world.operator.folder / "secret").write_text("00" * 32)
    assert "sealed under another secret" in await world.operator.fails("dkim", "list")


async def test_the_table_has_every_key(world: World) -> None:
    await world.active("s1")
    table = await world.operator.says("dkim", "list")
    assert all(word in table for word in ("example.com", "s1", "Ed25519", "active", "store"))


async def test_a_bad_key_file_is_a_mistake_of_the_configuration(world: World) -> None:
    path = world.operator.folder / "file.pem"
    path.write_text("no key")
    path.chmod(0o600)
    with world.operator.config.open("a") as config:
        config.write('[[signing.keys]]\ndomain = "example.com"\nselector = "file"\nfile = "file.pem"\n')
    result = CliRunner().invoke(build("check"), ["check", str(world.operator.config)])
    assert result.exit_code == 2
    place = f"{world.operator.config}:11: signing.keys[0].file: {path}"
    assert result.stderr == f"{place}: is not a private key in PEM format (-----BEGIN PRIVATE KEY-----)\n"
