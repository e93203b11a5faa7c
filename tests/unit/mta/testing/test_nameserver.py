"""The scripted name server speaks DNS that an independent implementation understands."""

import asyncio
from collections.abc import AsyncIterator

import dns.asyncquery
import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from mta.testing.nameserver import DnsFault, NameServer, Node, Query

ZONE = {
    "a.example": Node(
        mx=((10, "mx1.a.example"), (20, "mx2.a.example")),
        txt=("v=spf1 -all", "x" * 600),
        faults={"AAAA": DnsFault.SERVFAIL},
    ),
    "mx1.a.example": Node(a=("127.0.0.2", "127.0.0.3"), aaaa=("::1",), ttl=7),
    "alias.example": Node(cname="A.example"),
    "loop.example": Node(cname="loop.example"),
    "null.example": Node(mx=((0, ""),)),
    "big.example": Node(a=tuple(f"127.1.{n}.1" for n in range(200))),
    "silent.example": DnsFault.SILENT,
    "refused.example": DnsFault.REFUSED,
    "cut.example": Node(a=("127.0.0.9",), faults={"A": DnsFault.TRUNCATED}),
    "wrong.example": DnsFault.WRONG_ID,
    "below.part.example": Node(a=("127.0.0.1",)),
}


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    server = NameServer(ZONE)
    yield server
    await server.stop()


async def ask(server: NameServer, name: str, kind: str, timeout: float = 5) -> dns.message.Message:
    port = await server.start()
    query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
    answer, _ = await dns.asyncquery.udp_with_fallback(query, "127.0.0.1", timeout, port)
    return answer


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("a.example", "MX", ["10 mx1.a.example.", "20 mx2.a.example."]),
        ("A.Example", "MX", ["10 mx1.a.example.", "20 mx2.a.example."]),
        ("mx1.a.example", "A", ["127.0.0.2", "127.0.0.3"]),
        ("mx1.a.example", "AAAA", ["::1"]),
        ("null.example", "MX", ["0 ."]),
        ("cut.example", "A", ["127.0.0.9"]),
        ("mx1.a.example", "MX", []),
        ("part.example", "A", []),
    ],
)
async def test_answers(server: NameServer, name: str, kind: str, wanted: list[str]) -> None:
    answer = await ask(server, name, kind)
    assert answer.rcode() == dns.rcode.NOERROR
    assert [record.to_text() for rrset in answer.answer for record in rrset] == wanted


async def test_long_text_is_cut_into_strings_and_comes_whole(server: NameServer) -> None:
    answer = await ask(server, "a.example", "TXT")
    assert sorted(b"".join(record.strings) for record in answer.answer[0]) == [b"v=spf1 -all", b"x" * 600]


async def test_aliases_are_followed(server: NameServer) -> None:
    chain = (await ask(server, "alias.example", "MX")).resolve_chaining()
    assert chain.canonical_name.to_text() == "A.example."
    assert len(chain.answer) == 2


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("nowhere.example", "A", dns.rcode.NXDOMAIN),
        ("a.example", "AAAA", dns.rcode.SERVFAIL),
        ("loop.example", "A", dns.rcode.SERVFAIL),
        ("refused.example", "A", dns.rcode.REFUSED),
    ],
)
async def test_errors(server: NameServer, name: str, kind: str, code: dns.rcode.Rcode) -> None:
    assert (await ask(server, name, kind)).rcode() == code


async def test_what_is_too_big_for_udp_comes_over_tcp(server: NameServer) -> None:
    assert len((await ask(server, "big.example", "A")).answer[0]) == 200
    assert server.queries == [Query("big.example", "A", False), Query("big.example", "A", True)]


async def test_negative_answers_say_how_long_they_hold(server: NameServer) -> None:
    assert (await ask(server, "nowhere.example", "A")).resolve_chaining().minimum_ttl == 60


async def test_silence_and_wrong_ids_are_no_answers(server: NameServer) -> None:
    with pytest.raises(dns.exception.Timeout):
        await ask(server, "silent.example", "A", 0.05)
    with pytest.raises(dns.query.BadResponse):
        await ask(server, "wrong.example", "A", 0.5)


async def test_what_is_no_query_gets_no_answer(server: NameServer) -> None:
    port = await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\0\3abc" + b"\0\x02xy")
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    assert server.queries == []
