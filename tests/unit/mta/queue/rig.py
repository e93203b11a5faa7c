"""A dispatcher on a real store, with a courier and a resolver that do as the test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from bounce.classify import Classifier
from bounce.rules import load_rules
from config.schema import QueueSettings, Settings, Shaping, ShapingSettings
from mta.delivery.egress.paths import EgressPath, PathKey
from mta.delivery.egress.slots import StartPermit
from mta.delivery.egress.sources import SourceHealth
from mta.delivery.route import Route, Target
from mta.mail.delivery import Attempt, Delivery, QueuedRecipient, Result, Stage
from mta.mail.identity import MessageId
from mta.mail.message import Stream
from mta.mail.reply import Reply
from mta.observe.background import BackgroundTasks
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.observe.sink import NoSink
from mta.queue.active_queue import Job
from mta.queue.dispatcher import Dispatcher
from mta.queue.dsn import DsnComposer
from mta.queue.outcome_recorder import OutcomeRecorder
from mta.store.queue.enqueue import Queued
from mta.store.store import Store
from policy.accounts.account import Account
from policy.profile import Profiles
from tests.unit.mta.store.make import HOST, OK, accepted, count, leased, now, until
from tests.unit.policy.make import CONTEXT

REFUSED = Reply(421, "4.4.1", "connection refused")
GREYLISTED = Reply(451, "4.7.1", "greylisted, come back later")

Answer = Callable[[QueuedRecipient], tuple[Stage, Reply]]


def yes(_: QueuedRecipient) -> tuple[Stage, Reply]:
    return Stage.FINAL_DOT, OK


def route(domain: str = "example.net", **shaping: Any) -> Route:
    """One host; the site has the name of the domain."""
    return Route(domain, Shaping(**shaping), (Target(f"mx.{domain}", "192.0.2.25", 25),))


@dataclass
class Resolver:
    """Knows the route of every domain, but for those in ``routes`` whose route, reply or exception is given.

    ``blind``: has nothing cached. ``ttl``: for how long the others are known.
    """

    routes: dict[str, Route | Reply | Exception] = field(default_factory=dict)
    blind: bool = False
    ttl: float = 3600.0

    def cached(self, domain: str) -> Route | Reply | None:
        found = None if self.blind else self.routes.setdefault(domain, route(domain))
        return None if isinstance(found, Exception) else found

    def forget_failures(self) -> None:
        """None is remembered."""

    def known_for(self, _: str) -> float:
        return self.ttl

    async def route(self, domain: str) -> Route | Reply:
        await asyncio.sleep(0)
        found = self.routes.setdefault(domain, route(domain))
        if isinstance(found, Exception):
            raise found
        return found


class Courier:
    """Delivers everything, if ``answer`` does not say otherwise. ``attempts``: the addresses of each attempt.

    ``gate``: an attempt waits here before it ends. ``untried``: recipients that the next attempt leaves out.
    """

    def __init__(self) -> None:
        self.attempts: list[tuple[str, ...]] = []
        self.running = 0
        self.most = 0
        self.gate = asyncio.Semaphore(10**6)
        self.answer: Answer = yes
        self.untried = 0
        self.sources = SourceHealth()
        self.paths: list[EgressPath] = []

    def hold(self) -> None:
        """From now on attempts wait for ``let``."""
        self.gate = asyncio.Semaphore(0)

    def let(self, number: int) -> None:
        for _ in range(number):
            self.gate.release()

    def close_idle(self, source: str, site: str, most: int | None = None) -> None:
        """It keeps no connections."""

    def revoke(self, *, in_doubt: bool) -> None:
        """It has none to close."""

    async def deliver(
        self, delivery: Delivery, _: Route, path: EgressPath, content: bytes, permit: StartPermit
    ) -> Attempt:
        self.paths.append(path)
        assert content
        assert await permit.next()
        permit.started()
        self.attempts.append(tuple(str(recipient.address) for recipient in delivery.recipients))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.acquire()
        finally:
            self.running -= 1
        tried = len(delivery.recipients) - self.untried
        untried, self.untried = delivery.recipients[tried:], 0
        if untried:
            delivery = replace(delivery, recipients=delivery.recipients[:tried], whole=False)
        results = tuple(Result(recipient, *self.answer(recipient)) for recipient in delivery.recipients)
        met = results[0].stage is not Stage.CONNECT
        source = "192.0.2.1" if met else None
        return Attempt(delivery, results, now(), 0.1, HOST if met else None, source, untried=untried)


class Accounts:
    """There is one account, with these ``bounce_notifications``."""

    def __init__(self, bounce_notifications: str) -> None:
        self.account = Account(1, "acme", frozenset({"acme.example"}), bounce_notifications)

    def by_id(self, _: int) -> Account:
        return self.account


class Signer:
    def sign(self, *_: object) -> bytes:
        return b""


class Rig:
    def __init__(
        self, store: Store, bounce_notifications: str, shaping: dict[str, Any] | None = None, **queue: Any
    ) -> None:
        self.store = store
        self.resolver = Resolver()
        self.courier = Courier()
        self.metrics = Metrics()
        self.classifier = Classifier(load_rules([]))
        self.settings = Settings(
            queue=QueueSettings(**{"poll": "20ms", "delay_dsn_after": "0s", **queue}),
            shaping=ShapingSettings.model_validate(shaping or {}),
        )
        self.accounts = Accounts(bounce_notifications)
        self.profiles = Profiles.shipped(CONTEXT)
        self.dsn = DsnComposer(self.settings, self.accounts, Signer())  # type: ignore[arg-type]
        self.dispatcher = Dispatcher(
            settings=self.settings.queue,
            egress=self.settings.egress,
            shaping=self.settings.shaping,
            store=store,
            accounts=self.accounts,
            resolver=self.resolver,  # type: ignore[arg-type]
            courier=self.courier,  # type: ignore[arg-type]
            dsn=self.dsn,
            profiles=self.profiles,
            classifier=self.classifier,
            events=EventLog(NoSink()),
            metrics=self.metrics,
            tasks=BackgroundTasks(self.metrics),
        )
        self.active_queue = self.dispatcher.active_queue

    async def submit(self, *to: str, checked_at: float | None = None, **more: Any) -> MessageId:
        """A fresh message, as the intake would hand it over, its recipients checked just now."""
        message = accepted(*to, **more)
        deliveries = leased(await self.store.messages.enqueue(message, leased=True))
        reservations = self.active_queue.reserve_all([delivery.size for delivery in deliveries], message.stream)
        assert reservations
        checked_at = time.monotonic() if checked_at is None else checked_at
        self.dispatcher.submit(
            Job(delivery, reservation, checked_at)
            for delivery, reservation in zip(deliveries, reservations, strict=True)
        )
        return message.message.id

    async def queue(self, *to: str, **more: Any) -> MessageId:
        """A message that waits in the store."""
        message = accepted(*to, **more)
        assert await self.store.messages.enqueue(message, leased=False) == Queued()
        return message.message.id

    async def settled(self) -> None:
        """Wait until nothing is in memory any more; all that was reserved has been given back, once."""
        await until(lambda: self.active_queue.deliveries == 0)
        assert self.active_queue.octets == 0
        assert all(not queue.waiting for queue in self.dispatcher.ready_queues.values())

    async def until_event(self, message_id: MessageId) -> list[tuple[str, int | None]]:
        """Wait until something happened to a message; its events."""
        async with asyncio.timeout(30):
            while not (events := await self.events(message_id)):
                pass
        return events

    def taken(self, site: str) -> int:
        """How many jobs were taken from the ready queue of a site."""
        flows = self.dispatcher.ready_queues[PathKey("system", site)].flows
        return sum(flows[stream].taken for stream in Stream)

    async def queued(self, condition: str = "true") -> int:
        return await count(self.store, f"queue where {condition}")

    async def events(self, message_id: MessageId) -> list[tuple[str, int | None]]:
        """Kind and recipient of what happened to a message, in order."""
        async with self.store._database.session() as connection:
            rows = await connection.fetch(
                "select kind, recipient_index from event where message_id = $1 order by id", message_id
            )
        return [tuple(row) for row in rows]


def outcome_recorder(store: Store) -> OutcomeRecorder:
    """The recorder of a dispatcher that does nothing else."""
    return Rig(store, "none").dispatcher._recorder


@asynccontextmanager
async def dispatching(
    store: Store, *, takes: bool = True, bounce_notifications: str = "none", **queue: Any
) -> AsyncIterator[Rig]:
    """A running dispatcher; ``takes``: it looks for what is due."""
    rig = Rig(store, bounce_notifications, **queue)
    await store.egress_limits.listen(rig.dispatcher.limits.called)
    running = asyncio.create_task(rig.dispatcher.run()) if takes else None
    try:
        yield rig
    finally:
        rig.courier.gate = asyncio.Semaphore(10**6)
        async with asyncio.timeout(20):
            await rig.dispatcher.stop(0.0)
            await rig.dispatcher.close()
            if running:
                await running


def by_address(**replies: tuple[Stage, Reply]) -> Answer:
    """Answers by local part; 250 for the rest."""
    return lambda recipient: replies.get(recipient.address.local, (Stage.FINAL_DOT, OK))
