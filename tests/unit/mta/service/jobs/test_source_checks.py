"""Sources are checked over a real (scripted) DNS; what is found is kept, shown, and taken out of use."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from config.load import load_file
from mta.mail.source_fault import SourceFaultKind
from mta.observe.metrics import Metrics
from mta.service.jobs import source_checks
from mta.service.jobs.source_checks import SourceWatch
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.testing.nameserver import DnsFault, NameServer, Node
from tests.unit.mta.cli.shell import Operator

CONFIG = """
[egress]
ehlo = "mta.example.com"
[return_path]
domain = "returns.example.com"
[dns]
servers = ["127.0.0.1:{port}"]
timeout = "1s"
min_ttl = "0s"
max_ttl = "0s"
[[egress.sources]]
name = "good"
address = "192.0.2.1"
ehlo = "mta1.example.com"
proxy = "haproxy://127.0.0.1:9"
[[egress.sources]]
name = "nameless"
address = "192.0.2.2"
proxy = "haproxy://127.0.0.1:9"
[[egress.sources]]
name = "local"
address = "127.0.1.1"
[[egress.sources]]
name = "gone"
address = "192.0.2.3"
ehlo = "mta3.example.com"
"""


def zone() -> dict[str, Node | DnsFault]:
    return {
        "1.2.0.192.in-addr.arpa": Node(ptr=("mta1.example.com",), ttl=0),
        "3.2.0.192.in-addr.arpa": Node(ptr=("mta3.example.com",), ttl=0),
        "mta1.example.com": Node(a=("192.0.2.1",), ttl=0),
        "mta3.example.com": Node(a=("192.0.2.3",), ttl=0),
        "mta.example.com": Node(a=("192.0.2.2",), ttl=0),
        "returns.example.com": Node(txt=("v=spf1 ip4:192.0.2.1 include:more.example -all",), ttl=0),
        "more.example": Node(txt=("v=spf1 ip4:192.0.2.2 ip4:192.0.2.3 -all",), ttl=0),
    }


async def test_what_is_found_is_kept_reported_and_ends(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_checks, "DOUBTFUL_EVERY", 0.0)
    monkeypatch.setattr(source_checks, "EVERY", 0.0)
    server = NameServer(zone())
    operator = Operator(tmp_path, database_url, secrets, CONFIG.format(port=await server.start()))
    settings, metrics = load_file(operator.config), Metrics()
    watch = SourceWatch(metrics)

    async def faults() -> dict[str, list[str]]:
        await watch.look(settings, store)
        return {each.source: [fault.kind.value for fault in each.faults] for each in await store.source_checks.list()}

    assert await faults() == {"good": [], "nameless": ["no_ptr"], "local": [], "gone": ["absent"]}
    assert metrics.source_faults[SourceFaultKind.NO_PTR].value == 1
    shown = (await operator.run("shaping", "sources", "--check")).stdout
    assert "this machine cannot send from 192.0.2.3" in shown
    assert "to fix it: add 192.0.2.3 to an interface" in shown
    assert "a private address: the DNS is not asked" in shown
    (nameless,) = await operator.json("shaping", "sources", "--source", "nameless", status=1)
    assert nameless["checks"][0]["faults"][0]["remedy"].endswith("2.2.0.192.in-addr.arpa. PTR mta.example.com.")

    # the name server is gone: nothing is known, and nothing changes
    server.zone = dict.fromkeys(server.zone, DnsFault.SERVFAIL)
    assert (await faults())["nameless"] == ["no_ptr"]
    assert (await faults())["good"] == []

    # fixed, and something else broken
    server.zone = {
        **zone(),
        "2.2.0.192.in-addr.arpa": Node(ptr=("mta.example.com",), ttl=0),
        "more.example": Node(txt=("v=spf1 ip4:192.0.2.3 -all",), ttl=0),
    }
    assert (await faults())["nameless"] == ["spf"]
    server.zone = {**server.zone, "more.example": zone()["more.example"]}
    assert (await faults())["nameless"] == []
    async with store.events._database.session() as connection:
        rows = await connection.fetch("select kind, data from event where kind like 'source%' order by id")
    told = [(row["kind"], orjson.loads(row["data"])["source"]) for row in rows]
    assert told.count(("source_taken_out", "nameless")) == 2
    assert told.count(("source_restored", "nameless")) == 1
    await server.stop()
