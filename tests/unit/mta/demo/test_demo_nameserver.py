"""The demo's name server, asked by a real resolver."""

from __future__ import annotations

from collections.abc import Iterator

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from mta.demo.nameserver import DemoNameServer, DemoRecords

KEY = "v=DKIM1; k=rsa; p=" + "A" * 392
ZONE = {
    "inbox.example": DemoRecords(mx=((10, "mx.inbox.example"), (20, "mx2.inbox.example"))),
    "mx.inbox.example": DemoRecords(a=("127.0.0.2",)),
    "rsa._domainkey.demo.example": DemoRecords(txt=(KEY,)),
}


@pytest.fixture(scope="module")
def server() -> Iterator[DemoNameServer]:
    server = DemoNameServer(ZONE)
    yield server
    server.stop()


def ask(server: DemoNameServer, name: str, kind: str) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
    return dns.query.udp(query, "127.0.0.1", timeout=5, port=server.port)


def test_records(server: DemoNameServer) -> None:
    answer = ask(server, "Inbox.Example", "MX")
    assert sorted(record.to_text() for record in answer.answer[0]) == ["10 mx.inbox.example.", "20 mx2.inbox.example."]
    assert answer.flags & dns.flags.AA
    assert ask(server, "mx.inbox.example", "A").answer[0][0].to_text() == "127.0.0.2"
    (text,) = ask(server, "rsa._domainkey.demo.example", "TXT").answer[0]
    assert b"".join(text.strings).decode() == KEY


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("nowhere.example", "MX", dns.rcode.NXDOMAIN),
        ("mx.inbox.example", "AAAA", dns.rcode.NOERROR),
        ("_domainkey.demo.example", "TXT", dns.rcode.NOERROR),
    ],
)
def test_negative_answers_have_an_soa(server: DemoNameServer, name: str, kind: str, code: int) -> None:
    answer = ask(server, name, kind)
    assert (answer.rcode(), answer.answer) == (code, [])
    assert answer.authority[0].rdtype.name == "SOA"


def test_malformed_queries_are_ignored(server: DemoNameServer) -> None:
    assert server.answer(b"") is None
    assert server.answer(b"\0" * 11) is None
    assert server.answer(b"\0\1\1\0\0\1\0\0\0\0\0\0\77abc") is None
