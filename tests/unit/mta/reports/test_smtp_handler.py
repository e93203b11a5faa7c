"""The door for what comes back: whom it takes mail for, and when there is too much."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from bounce.verp import Verp
from mta.mail.address import Address
from mta.mail.identity import first_id_at, new_message_id
from mta.mail.message import Envelope, Recipient
from mta.mail.reply import Reply
from mta.observe.labels import InboundReportKind
from mta.observe.metrics import Metrics
from mta.reports.smtp_handler import ReportHandler, ReportTransaction
from mta.smtp_server.handler import Client
from mta.store.postgres.errors import StoreUnavailable

DOMAIN = "returns.example.com"
VERP = Verp(DOMAIN, {1: secrets.token_bytes(32)}, timedelta(days=30))
CLIENT = Client("s1", ip_address("192.0.2.1"), "mx.example.net", extended=True)
NULL = Envelope(None, ())


class Incoming:
    def __init__(self) -> None:
        self.kept: list[tuple[Any, ...]] = []
        self.away = False

    async def put(self, *report: Any) -> int:
        if self.away:
            raise StoreUnavailable("away")
        self.kept.append(report)
        return len(self.kept)


class Rig:
    def __init__(self, domain: str | None = DOMAIN, waiting: int = 0) -> None:
        self.incoming, self.metrics, self.woken = Incoming(), Metrics(), 0
        self.handler = ReportHandler(
            self.incoming,  # type: ignore[arg-type]
            domain=domain,
            verp=VERP if domain else None,
            backlog=10,
            waiting=lambda: waiting,
            arrived=self._wake,
            metrics=self.metrics,
        )

    def _wake(self) -> None:
        self.woken += 1

    async def ask(self, address: Address) -> str:
        return str(await (await self.begun()).on_recipient(Recipient(address)) or "250")

    async def begun(self) -> ReportTransaction:
        transaction = await self.handler.on_sender(CLIENT, NULL, None)
        assert isinstance(transaction, ReportTransaction)
        return transaction


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f"fbl@{DOMAIN}", "250"),
        (f"ABUSE@{DOMAIN}", "250"),
        (f"ann@{DOMAIN}", "550 5.1.1"),
        (f"bounce+abc@{DOMAIN}", "550 5.1.1"),
        ("fbl@example.com", "550 5.7.1"),
        (f"fbl@x.{DOMAIN}", "550 5.7.1"),
        ("returns.example.com@example.com", "550 5.7.1"),
    ],
)
async def test_whom_mail_is_taken_for(text: str, answer: str) -> None:
    assert (await Rig().ask(Address.parse(text))).startswith(answer)
    assert (await Rig(domain=None).ask(Address.parse(text))).startswith("550 5.7.1")


async def test_return_paths_are_looked_at_when_they_are_named() -> None:
    rig = Rig()
    good = VERP.make(new_message_id(), 0)
    old = VERP.make(first_id_at(datetime.now(UTC) - timedelta(days=40)), 0)
    assert await rig.ask(good) == "250"
    assert "return path expired" in await rig.ask(old)
    assert "invalid return path" in await rig.ask(
        Address(good.local[:-1] + ("0" if good.local[-1] != "0" else "1"), DOMAIN)
    )
    assert rig.metrics.inbound_reports[InboundReportKind.EXPIRED].value == 1
    assert rig.metrics.inbound_reports[InboundReportKind.FORGED].value == 1


async def test_when_too_much_waits_it_may_come_later() -> None:
    assert await Rig(waiting=9).begun()
    reply = await Rig(waiting=10).handler.on_sender(CLIENT, NULL, None)
    assert isinstance(reply, Reply)
    assert (reply.code, reply.status) == (452, "4.3.1")


async def test_what_is_taken_is_kept_before_it_is_said() -> None:
    rig = Rig()
    fbl = Address("fbl", DOMAIN)
    envelope = Envelope(None, (Recipient(fbl), Recipient(fbl)))
    reply = await (await rig.begun()).on_message(envelope, b"x")
    assert str(reply) == "250 2.0.0 OK: queued as R-1"
    assert rig.incoming.kept == [(None, [fbl], CLIENT.address, "mx.example.net", b"x")]
    assert rig.woken == 1
    rig.incoming.away = True
    with pytest.raises(StoreUnavailable):
        await (await rig.begun()).on_message(envelope, b"x")
    assert rig.woken == 1
