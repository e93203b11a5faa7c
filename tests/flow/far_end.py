"""The outbound stage alone against scripted receivers and a scripted name server; no database, no service.

Receivers listen on addresses of their own (127.0.0.2, ...) at one common port, where MX records lead to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from config.schema import Settings
from mta.delivery.courier import Courier
from mta.delivery.egress.paths import EgressPath, PathShaping
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.sources import EgressSource
from mta.delivery.mx import Resolver
from mta.delivery.route import Route
from mta.delivery.tls.session_counts import SessionCounts
from mta.mail.address import Address
from mta.mail.delivery import Attempt, Delivery, QueuedRecipient
from mta.mail.identity import new_message_id
from mta.mail.reply import Reply
from mta.store.queue.sts_policies import StsPolicyStore
from mta.testing.nameserver import DnsFault, NameServer, Node
from mta.testing.receiver import Receiver
from mta.testing.script import Script

CONTENT = b"From: ann@sender.example\r\nSubject: hello\r\n\r\nAll work and no play.\r\n"
PATIENT = dict.fromkeys(
    ("connect", "greeting", "hello", "starttls", "mail", "rcpt", "data", "block", "final_dot"), "20s"
)


class FarEnd:
    """``settings``: sections laid over those that the tests need."""

    def __init__(self, settings: dict[str, dict[str, Any]]) -> None:
        self.zone: dict[str, Node | DnsFault] = {}
        self.nameserver = NameServer(self.zone)
        self.receivers: list[Receiver] = []
        self.port = 0
        self.sts_store: StsPolicyStore | None = None
        self.counts = SessionCounts()
        self._settings = settings

    async def open(self) -> None:
        self.dns_port = await self.nameserver.start()

    async def close(self) -> None:
        if self.receivers:
            await self.courier.close()
            await self.resolver.close()
        for receiver in self.receivers:
            await receiver.stop()
        await self.nameserver.stop()

    async def receiver(self, script: Script | None = None, address: str = "127.0.0.2") -> Receiver:
        """A receiver more; the first one makes the courier and the resolver possible, as they need its port."""
        receiver = Receiver(script)
        port = await receiver.start(address, self.port)
        self.receivers.append(receiver)
        if len(self.receivers) == 1:
            self.port = port
            self.configure()
        return receiver

    def configure(self, **more: Any) -> None:
        """A new resolver and a new courier; ``more``: sections of the settings."""
        sections = {**self._settings, **more}
        egress: dict[str, Any] = {"ipv6": False} | sections.pop("egress", {})
        egress["timeouts"] = PATIENT | egress.get("timeouts", {})
        shaping: dict[str, Any] = sections.pop("shaping", {})
        shaping = {**shaping, "default": {"idle": "20s"} | shaping.get("default", {})}
        dns = {"servers": [f"127.0.0.1:{self.dns_port}"], "timeout": "20s"} | sections.pop("dns", {})
        server = {"hostname": "out.sender.example"} | sections.pop("server", {})
        testing = {"receiver_port": self.port, "loopback_receivers": True} | sections.pop("testing", {})
        settings = Settings.model_validate(
            {"server": server, "egress": egress, "shaping": shaping, "dns": dns, "testing": testing, **sections}
        )
        self.settings = settings
        self.resolver = Resolver(settings, sts_store=self.sts_store, counts=self.counts)
        self.pools = SourcePools(settings.egress)
        self._shaping = PathShaping(settings.shaping, self.pools)
        self.courier = Courier(
            settings.egress,
            settings.server.hostname,
            loopback_receivers=settings.testing.loopback_receivers,
            counts=self.counts,
        )

    def domain(self, name: str, *addresses: str, preference: int | None = None) -> None:
        """``name`` has an MX for each address, the first one preferred (or all with the same ``preference``)."""
        hosts = [f"mx{n}.{name}" for n in range(1, len(addresses) + 1)]
        self.zone[name] = Node(mx=tuple((preference or 10 * n, host) for n, host in enumerate(hosts, 1)))
        for host, address in zip(hosts, addresses, strict=True):
            self.zone[host] = Node(a=(address,))

    async def route(self, domain: str = "example.com") -> Route:
        route = await self.resolver.route(domain)
        assert isinstance(route, Route), route
        return route

    def path(self, route: Route, source: EgressSource | None = None) -> EgressPath:
        """The path of the next source, or the given one, to a route's site."""
        chosen = source or self.pools.default.turn(self.pools.default.sources)
        return EgressPath(chosen, route.site, self._shaping.limits(chosen, route.shaping))

    async def refusal(self, domain: str = "example.com") -> Reply:
        reply = await self.resolver.route(domain)
        assert isinstance(reply, Reply), reply
        return reply

    async def deliver(self, *recipients: str, content: bytes = CONTENT, **fields: Any) -> Attempt:
        """One attempt; every recipient must have exactly one result."""
        delivery = deliver_to(*recipients, content=content, **fields)
        route = await self.route(delivery.destination)
        attempt = await self.courier.deliver(delivery, route, self.path(route), content)
        assert sorted(result.recipient.index for result in attempt.results) == list(range(len(recipients)))
        return attempt


def deliver_to(*recipients: str, content: bytes = CONTENT, **fields: Any) -> Delivery:
    addresses = [Address.parse(recipient) for recipient in recipients]
    queued = tuple(QueuedRecipient(n, address, **fields.pop(str(n), {})) for n, address in enumerate(addresses))
    fields = {"sender": Address.parse("ann@sender.example"), **fields}
    now = datetime.now(UTC)
    return Delivery(
        message_id=new_message_id(),
        destination=addresses[0].domain,
        recipients=queued,
        account_id=1,
        queued_at=now,
        expires_at=now + timedelta(days=5),
        size=len(content),
        **fields,
    )


def replies(attempt: Attempt) -> dict[str, str]:
    """local part -> "code status", as the recipients got them."""
    return {r.recipient.address.local: f"{r.reply.code} {r.reply.status}" for r in attempt.results}


@asynccontextmanager
async def far_end(**settings: dict[str, Any]) -> AsyncIterator[FarEnd]:
    """A far end; example.com has its MX at 127.0.0.2."""
    far = FarEnd(settings)
    await far.open()
    far.domain("example.com", "127.0.0.2")
    try:
        async with asyncio.timeout(60):
            yield far
    finally:
        await far.close()
