"""TLS reports by mail and HTTPS: signed, compressed, once, and never stopped by what they report."""

from __future__ import annotations

import asyncio
import email
import gzip
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import policy as mail_policy
from pathlib import Path

import orjson
import pytest
import trustme

from config.schema import Settings
from mta.dkim.keys import Algorithm, new_pem
from mta.mail.delivery import Delivery
from mta.mail.message import SenderTls, Stream
from mta.mail.tls_session import AppliedPolicy, PolicyKind, SessionCount, SessionFailure, TlsResult
from mta.observe.labels import Success
from mta.observe.metrics import Metrics
from mta.service.jobs.tls_reports import send_due_reports
from mta.store.store import Store
from mta.testing.nameserver import NameServer, Node
from tests.flow.tls_far_end import PolicyHost, policy_host, served
from tests.unit.mta.store.make import execute

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
POLICY = AppliedPolicy(PolicyKind.STS, "example.com", ("version: STSv1", "mode: enforce"), ("mx1.example.com",))
EXPIRED = SessionFailure(TlsResult.CERTIFICATE_EXPIRED, "192.0.2.1", "mx1.example.com", "198.51.100.1", "expired")


class World:
    """The zone, and a store in which example.com had sessions yesterday."""

    def __init__(self, store: Store, nameserver: NameServer, port: int, folder: Path) -> None:
        self.store, self.zone, self.port, self.folder = store, nameserver.zone, port, folder
        self.metrics = Metrics()

    def wants(self, *places: str) -> None:
        self.zone["_smtp._tls.example.com"] = Node(txt=(f"v=TLSRPTv1; rua={','.join(places)}",))  # type: ignore[index]

    def settings(self, *, signed: bool = True) -> Settings:
        key = self.folder / "key.pem"
        if not key.exists():
            key.write_bytes(new_pem(Algorithm.ED25519))
            key.chmod(0o600)
        keys = [{"domain": "mta.example", "selector": "s1", "file": str(key)}] if signed else []
        return Settings.model_validate(
            {
                "server": {"hostname": "mta.example"},
                "dns": {"servers": [f"127.0.0.1:{self.port}"]},
                "egress": {"ipv6": False},
                "testing": {"loopback_receivers": True},
                "signing": {"keys": keys},
            }
        )

    async def send(self, **more: bool) -> None:
        await execute(self.store, "update tls_report set due_at = now()")
        await send_due_reports(self.settings(**more), self.store, self.metrics)

    async def queued(self) -> list[Delivery]:
        return await self.store.messages.claim(
            deliveries=9, octets=10**7, wanted=lambda destination: True, stream=Stream.TRANSACTIONAL, expiry=True
        )


@pytest.fixture
async def world(store: Store, tmp_path: Path) -> AsyncIterator[World]:
    count = SessionCount(YESTERDAY, "example.com", POLICY, 5, 2, Counter({EXPIRED: 2}))
    await store.tls_results.add([count])
    nameserver = NameServer({})
    port = await nameserver.start()
    yield World(store, nameserver, port, tmp_path)
    await nameserver.stop()


async def test_a_report_by_mail(world: World) -> None:
    world.wants("mailto:tls@example.com")
    await world.send()
    (delivery,) = await world.queued()
    assert (str(delivery.recipients[0].address), delivery.sender) == ("tls@example.com", None)
    assert delivery.tls is SenderTls.OPTIONAL  # a policy that fails must not stop the report of that
    content = await world.store.messages.content(delivery.message_id)
    assert isinstance(content, bytes)
    mail = email.message_from_bytes(content, policy=mail_policy.default)
    assert "d=mta.example;" in mail["DKIM-Signature"]
    assert (mail.get_content_type(), mail.get_param("report-type")) == ("multipart/report", "tlsrpt")
    assert mail["From"] == "postmaster@mta.example"
    assert mail["Subject"].startswith("Report Domain: example.com Submitter: mta.example Report-ID: <")
    fields = (mail["TLS-Report-Domain"], mail["TLS-Report-Submitter"], mail["TLS-Required"], mail["Auto-Submitted"])
    assert fields == ("example.com", "mta.example", "No", "auto-generated")
    text, report = mail.iter_parts()
    assert "5 came about" in text.get_content()
    assert report.get_content_type() == "application/tlsrpt+gzip"
    assert report.get_filename().startswith("mta.example!example.com!")
    told = orjson.loads(gzip.decompress(report.get_content()))
    assert told["policies"][0]["summary"] == {
        "total-successful-session-count": 5,
        "total-failure-session-count": 2,
    }
    await world.send()
    assert await world.queued() == []  # once


async def test_without_a_key_nothing_is_mailed(world: World) -> None:
    world.wants("mailto:tls@example.com")
    await world.send(signed=False)
    assert await world.queued() == []
    await world.send()
    assert len(await world.queued()) == 1  # it was not given up


@pytest.mark.parametrize("records", [(), ("v=TLSRPTv1; rua=ftp://example.com",)])
async def test_who_does_not_ask_gets_none(world: World, records: tuple[str, ...]) -> None:
    world.zone["_smtp._tls.example.com"] = Node(txt=records)  # type: ignore[index]
    await world.send()
    world.wants("mailto:tls@example.com")
    await world.send()
    assert await world.queued() == []


async def test_a_report_by_https(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(world.folder / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(world.folder / "ca.pem"))
    host = PolicyHost(b"", status="503 Service Unavailable")
    context: ssl.SSLContext = served(authority.issue_cert("reports.example.com"))
    async with asyncio.timeout(60), policy_host(host, context) as port:
        world.zone["reports.example.com"] = Node(a=("127.0.0.3",))  # type: ignore[index]
        world.wants(f"https://reports.example.com:{port}/v1/tls")
        await world.send()
        host.status = "201 Created"
        await world.send()
        await world.send()
    assert host.requests == ["POST /v1/tls HTTP/1.1"] * 2  # the first one was not taken
    assert world.metrics.tls_reports[Success.NO].value == 1
    assert world.metrics.tls_reports[Success.YES].value == 1
