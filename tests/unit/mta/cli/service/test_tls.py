"""``mta tls``, and what ``mta check`` says of the resolver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mta.mail.tls_session import AppliedPolicy, PolicyKind, SessionCount
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.testing.nameserver import NameServer, Node
from tests.flow.tls_far_end import policy
from tests.unit.mta.cli.shell import Operator

DIGEST = bytes(range(32))


@pytest.fixture
async def nameserver() -> AsyncIterator[tuple[NameServer, int]]:
    server = NameServer({}, secure=True)
    port = await server.start()
    yield server, port
    await server.stop()


def operator(folder: Path, url: str, secrets: Secrets, port: int, more: str = "") -> Operator:
    dns = f'[dns]\nservers = ["127.0.0.1:{port}"]\nvalidating = true\n[egress]\nipv6 = false\n'
    return Operator(folder, url, secrets, f"{dns}{more}[testing]\nloopback_receivers = true\n")


async def test_what_applies_to_a_domain_and_why(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store, nameserver: tuple[NameServer, int]
) -> None:
    server, port = nameserver
    server.zone = {
        "example.com": Node(mx=((10, "mx1.example.com"), (20, "mx2.example.com")), secure=True),
        "mx1.example.com": Node(a=("127.0.0.2",), secure=True),
        "mx2.example.com": Node(a=("127.0.0.3",), secure=True),
        "_25._tcp.mx1.example.com": Node(tlsa=((3, 1, 1, DIGEST),), secure=True),
    }
    shell = operator(tmp_path, database_url, secrets, port)
    await store.sts_policies.keep("example.com", "7", policy("testing", "mx2.example.com"), 86400)
    shown = await shell.json("tls", "show", "example.com")
    assert shown["mta_sts"]["policy"][1] == "mode: testing"
    assert shown["hosts"] == [
        {
            "host": "mx1.example.com",
            "demand": "dane",
            "by": "DANE for mx1.example.com",
            "tlsa": [f"3 1 1 {DIGEST.hex()}"],
        },
        {
            "host": "mx2.example.com",
            "demand": "required (testing)",
            "by": "MTA-STS policy of example.com",
            "tlsa": [],
        },
    ]
    said = await shell.says("tls", "show", "Example.COM.")
    assert "mode: testing" in said
    assert "DANE for mx1.example.com" in said
    assert "does not exist" in await shell.fails("tls", "show", "nowhere.example")


async def test_todays_sessions(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store, nameserver: tuple[NameServer, int]
) -> None:
    shell = operator(tmp_path, database_url, secrets, nameserver[1])
    today = datetime.now(UTC).date()
    await store.tls_results.add([SessionCount(today, "example.com", AppliedPolicy(PolicyKind.NONE, "example.com"), 3)])
    (shown,) = await shell.json("tls", "report")
    assert (shown["domain"], shown["policy"]["policy-type"]) == ("example.com", "no-policy-found")
    assert shown["summary"]["total-successful-session-count"] == 3
    assert "no-policy-found" in await shell.says("tls", "report", "example.com")
    assert await shell.json("tls", "report", "other.example") == []


async def test_check_tests_whether_the_resolver_validates(
    tmp_path: Path, database_url: str, secrets: Secrets, nameserver: tuple[NameServer, int]
) -> None:
    server, port = nameserver
    shell = operator(tmp_path, database_url, secrets, port)
    assert "the resolver does not validate" not in (await shell.run("check")).output
    assert server.asked("", "SOA") == 1
    server.secure = False
    assert "the resolver does not validate" in await shell.fails("check", status=2)


async def test_the_ad_flag_of_a_resolver_elsewhere_is_worth_nothing(
    tmp_path: Path, database_url: str, secrets: Secrets
) -> None:
    shell = Operator(tmp_path, database_url, secrets, '[dns]\nservers = ["192.0.2.53"]\nvalidating = true\n')
    assert "could forge its AD flag" in await shell.fails("check", status=2)
