"""Attacks on the session: smuggling, STARTTLS, login, floods. Numbers: README.md in this folder."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from bench.service import free_port
from tests.attacks.attacker import Attacker, addressees, blind, chunks, codes, commands, converse, letter, sentinel
from tests.flow.harness import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGER, OTHER = "127.0.0.9", "127.0.0.10"
LIMIT = 1_000_000  # octets of a message
PER_ADDRESS = 20  # connections
BEGIN = b"MAIL FROM:<ann@sender.example>\r\nRCPT TO:<first@example.com>\r\n"
FALSE_ENDS = (
    *(b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\n.\r", b"\r.\n", b"\r\n\x00.\r\n"),
    *(b"\r\n.\x00\r\n", b"\r\n. \r\n"),
)


@dataclass(frozen=True, slots=True)
class Target:
    world: World
    starttls: int
    implicit: int
    secret: str

    def plain(self, username: str, secret: str) -> bytes:
        return b"AUTH PLAIN " + base64.b64encode(f"\0{username}\0{secret}".encode()) + b"\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(world: World) -> AsyncIterator[Target]:
    starttls, implicit = free_port(), free_port()
    ports = ((world.service.port, "none"), (starttls, "starttls"), (implicit, "implicit"))
    listeners = [{"address": "127.0.0.1", "port": port, "tls": tls} for port, tls in ports]
    await world.db.execute("update client_network set network = '127.0.0.1/32'")
    world.service.configure()
    made = await asyncio.to_thread(
        world.service.cli, "account", "credential", "add", "shop", "--username", "app", "--json"
    )
    limits = {"message_size": f"{LIMIT}B", "recipients": 100, "connections_per_address": PER_ADDRESS}
    await world.start(submission={"listeners": listeners, "limits": limits})
    yield Target(world, starttls, implicit, json.loads(made)["secret"])


@pytest.mark.parametrize("size", [100_000, 1], ids=["at once", "octet by octet"])
@pytest.mark.parametrize("end", FALSE_ENDS)
async def test_s01_no_second_message_behind_a_false_end(target: Target, end: bytes, size: int) -> None:
    smuggled = b"MAIL FROM:<admin@sender.example>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\n" + letter()
    stream = letter() + end + smuggled + b"\r\n.\r\n"
    async with Attacker(target.world.service.port) as attacker:
        await attacker.begin()
        for command in (*BEGIN.splitlines(keepends=True), b"DATA\r\n"):
            await attacker.say(command)
        said = await attacker.rest(*chunks(stream, size))
    assert len(codes(said)) == 2, said  # to the one message, and to QUIT
    await sentinel(target.world)
    assert "victim@example.com" not in addressees(target.world)


async def test_s03_commands_in_clear_behind_starttls_are_not_executed(target: Target) -> None:
    async with Attacker(target.starttls) as attacker:
        await attacker.begin()
        said = await attacker.rest(b"STARTTLS\r\n" + BEGIN + b"DATA\r\n" + letter() + b"\r\n.\r\n")
    assert not {250, 354} & set(codes(said)), said


async def test_s03_nothing_said_before_the_handshake_holds_after_it(target: Target) -> None:
    async with Attacker(target.starttls) as attacker:
        await attacker.begin()
        await attacker.say(b"MAIL FROM:<ann@sender.example>\r\n")
        if (await attacker.say(b"STARTTLS\r\n")).startswith("220"):
            await attacker.writer.start_tls(blind())
            assert (await attacker.say(b"RCPT TO:<victim@example.com>\r\n")).startswith("503")


@pytest.mark.parametrize(
    "path",
    [
        b'<"x@a> ORCPT=rfc822;y"@example.com>',
        b"<a@example.com\rRCPT TO:<victim@example.com>",
        b"<a@example.com\nRCPT TO:<victim@example.com>",
        b"<a\0@example.com>",
        b"<a\tb@example.com>",
        b"<a b@example.com>",
        b'<"a b"@example.com>',
        b"<a@example.com> ORCPT=rfc822;x+0D+0ARSET",
        b"<a@example.com> NOTIFY=NEVER\rRSET",
        b"<a@example.com>\x0bNOTIFY=NEVER",
        b"<a@example.com>>",
        b"<<a@example.com>",
        b"<a@example.com,victim@example.com>",
        "<a\u2028b@example.com>".encode(),
        "<a\u200b@example.com>".encode(),
    ],
)
async def test_s05_no_address_carries_a_command_or_parameter(target: Target, path: bytes) -> None:
    said = await converse(target.world, b"MAIL FROM:<ann@sender.example> SMTPUTF8\r\n", b"RCPT TO:" + path + b"\r\n")
    assert codes(said)[0] == 250
    assert codes(said)[1] >= 500, said
    await sentinel(target.world)
    assert "victim" not in commands(target.world)
    assert "ORCPT" not in commands(target.world)


@pytest.mark.parametrize("address", ["a\r\nb@example.com", "a\0b@example.com", "a b@example.com", "a@example.com>"])
async def test_s05_nor_does_one_that_the_operator_is_made_to_enter(target: Target, address: str) -> None:
    if "\0" in address:
        address = address.replace("\0", "\u200b")  # no argument of a program holds NUL
    before = await target.world.suppressed()
    with pytest.raises(RuntimeError):
        await asyncio.to_thread(
            target.world.service.cli, "suppression", "add", address, "--account", "shop", "--reason", "x"
        )
    assert await target.world.suppressed() == before


@pytest.mark.parametrize(
    "recipient",
    [
        "bob@example.com",
        "bob%example.com@sender.example",
        "example.com!bob@sender.example",
        "@sender.example:bob@x.example",
    ],
)
async def test_s08_strangers_relay_nothing(target: Target, recipient: str) -> None:
    async with Attacker(target.world.service.port, STRANGER) as attacker:
        await attacker.begin()
        said = await attacker.rest(b"MAIL FROM:<ann@sender.example>\r\n", f"RCPT TO:<{recipient}>\r\nDATA\r\n".encode())
    assert codes(said) == [530, 503, 503, 221]


@pytest.mark.parametrize("recipient", ["@relay.example:bob@example.com", '""@example.com', "bob@", "bob@[127.0.0.2]"])
async def test_s08_nor_does_an_account_choose_the_route(target: Target, recipient: str) -> None:
    said = await converse(target.world, b"MAIL FROM:<ann@sender.example>\r\n", f"RCPT TO:<{recipient}>\r\n".encode())
    assert codes(said)[1] in (501, 550), said


async def test_s10_guessing_ends_after_a_few_tries_whatever_the_user_and_connection(target: Target) -> None:
    verified = 0
    for attempt in range(12):
        async with Attacker(target.implicit, STRANGER, tls=True) as attacker:
            await attacker.begin()
            said = await attacker.rest(*(target.plain("app", f"guess{attempt}{n}") for n in range(5)))
            verified += codes(said).count(535)
            assert codes(said).count(535) <= 3, "one session"
    assert verified <= 12, verified
    async with Attacker(target.implicit, STRANGER, tls=True) as attacker:
        await attacker.begin()
        assert (await attacker.say(target.plain("app", target.secret))).startswith(("454", "421"))
    async with Attacker(target.implicit, OTHER, tls=True) as attacker:
        await attacker.begin()
        assert (await attacker.say(target.plain("app", target.secret))).startswith("235"), "the owner, from elsewhere"


async def test_s11_a_user_that_is_unknown_is_answered_like_a_wrong_secret(target: Target) -> None:
    said = []
    for username in ("app", "nobody"):
        async with Attacker(target.implicit, "127.0.0.11", tls=True) as attacker:
            await attacker.begin()
            said.append(await attacker.say(target.plain(username, "wrong")))
    assert said == ["535 5.7.8 Authentication credentials invalid"] * 2


async def test_s12_no_secret_is_taken_in_clear(target: Target) -> None:
    async with Attacker(target.starttls, STRANGER) as attacker:
        await attacker.reply()
        hello = await attacker.say(b"EHLO client.sender.example\r\n")
        assert "AUTH" not in hello
        assert (await attacker.say(target.plain("app", target.secret))).startswith("538 5.7.11")
        assert (await attacker.say(b"MAIL FROM:<ann@sender.example>\r\n")).startswith("530")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_s12_tls_below_1_2_is_refused(target: Target) -> None:
    context = blind()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", target.implicit, ssl=context)


async def test_s13_a_secret_that_is_refused_is_in_no_log(target: Target) -> None:
    canary = "c4n4ry-" + "x" * 20
    blob = base64.b64encode(f"\0app\0{canary}".encode())
    async with Attacker(target.starttls, "127.0.0.12") as attacker:
        await attacker.begin()
        await attacker.rest(b"AUTH PLAIN " + blob + b"\r\n", blob + b"\r\n", b"AUTHPLAIN " + blob + b"\r\n")
    async with Attacker(target.implicit, "127.0.0.12", tls=True) as attacker:
        await attacker.begin()
        await attacker.rest(b"AUTH PLAIN\r\n", blob + b"\r\n", b"AUTH LOGIN " + blob + b"\r\n", blob + b"\r\n")
    await sentinel(target.world)
    kept = target.world.service.output() + target.world.service.events.read_text()
    assert canary not in kept
    assert blob.decode() not in kept


async def test_s16_an_endless_line_costs_no_memory(target: Target) -> None:
    (worker,) = target.world.service.workers()
    async with Attacker(target.world.service.port) as attacker:
        await attacker.begin()
        await attacker.send(BEGIN + b"DATA\r\n")
        for _ in range(3):
            await attacker.reply()
        before = _resident(worker)
        for _ in range(60):
            await attacker.send(b"x" * 1_000_000)
        grown = _resident(worker) - before
        said = await attacker.say(b"\r\n.\r\n")
    assert said[:1] in ("5", "4", ""), said
    assert grown < 15 * LIMIT, f"{grown / 1e6:.1f} MB for one connection"


def _resident(pid: int) -> int:
    """Octets of memory that a process has."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


async def test_s37_many_slow_connections_of_one_address_keep_nobody_out(target: Target) -> None:
    slow = [Attacker(target.world.service.port, STRANGER) for _ in range(3 * PER_ADDRESS)]
    try:
        said = []
        for one in slow:
            await one.__aenter__()
            said.append(await one.reply())
            await one.send(b"E")
        assert [reply[:3] for reply in said].count("220") <= PER_ADDRESS
        assert said[-1].startswith("421 4.7.0")
        await sentinel(target.world)
    finally:
        for one in slow:
            await one.__aexit__()


async def test_s38_floods_are_answered_or_ended_and_keep_nobody_out(target: Target) -> None:
    async with Attacker(target.world.service.port, STRANGER) as attacker:
        await attacker.begin()
        await attacker.send(b"BOGUS\r\n" * 5_000)
        said = await attacker.rest()
        assert len(codes(said)) < 100
        assert set(codes(said)) <= {500, 421}  # all of it, unless the reset overtook the replies
    said = await converse(
        target.world,
        b"MAIL FROM:<ann@sender.example>\r\n",
        b"".join(b"RCPT TO:<r%d@example.com>\r\n" % n for n in range(5_000)),
    )
    assert codes(said).count(250) <= 101
    assert codes(said).count(452) > 0
    await sentinel(target.world)


async def test_s38_who_talks_before_the_greeting_is_sent_away(target: Target) -> None:
    async with Attacker(target.world.service.port) as attacker:
        said = await attacker.rest(b"EHLO x.example\r\n" + BEGIN + b"DATA\r\n" + letter() + b"\r\n.\r\n")
    assert codes(said)[0] in (220, 554)
    if codes(said)[0] == 554:
        assert codes(said) == [554]


@pytest.mark.parametrize("name", ["ann", "shop", "app", "root", "postmaster", "nobody-at-all"])
async def test_s39_vrfy_and_expn_tell_nothing(target: Target, name: str) -> None:
    said = await converse(target.world, f"VRFY {name}\r\n".encode(), f"EXPN {name}\r\n".encode())
    assert f"{name}@" not in said
    assert codes(said) == [252, 502, 221]


@pytest.mark.parametrize(
    "line",
    [
        b"XCLIENT ADDR=127.0.0.1 NAME=localhost\r\n",
        b"XFORWARD ADDR=127.0.0.1\r\n",
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x00\x01\x00\x19",
    ],
)
async def test_s40_nobody_may_say_that_he_is_another(target: Target, line: bytes) -> None:
    async with Attacker(target.world.service.port, STRANGER) as attacker:
        await attacker.begin()
        said = await attacker.rest(line, b"MAIL FROM:<ann@sender.example>\r\n")
    assert 250 not in codes(said), said
