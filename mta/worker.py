"""One worker: a whole MTA in one process, its parts plugged together here and nowhere else.

The supervisor starts it with the number of a socket as its only argument. Over that socket come the settings, the
address of the database and, later, reloaded settings; its end means stop.

It must never outlive its supervisor, and never drop what it is doing when told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
import uvloop

from bounce.classify import Classifier
from config.schema import Settings
from mta import orders
from mta.inbound.auth import Authenticator
from mta.inbound.intake import Intake
from mta.inbound.listener import Listeners
from mta.observe import log as logging
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.observe.trace import Trace
from mta.orders import Reload, Start
from mta.outbound.courier import Courier
from mta.outbound.mx import Resolver
from mta.queue.dispatcher import Dispatcher
from mta.queue.notices import Notices
from mta.signing import KeyRing, Signer
from mta.store.lease import LeaseLost
from mta.store.secrets import Secrets
from mta.store.store import Store, StoreUnavailable

log = structlog.get_logger()

STATUS_EVERY = 1.0  # seconds


class Worker:
    """The parts of one worker, from its start to its orderly end."""

    def __init__(self, start: Start, store: Store) -> None:
        settings = start.settings
        self.settings = settings
        self.store = store
        self.metrics = Metrics.open(start.run_dir)
        self.events = EventLog(open_sink(settings.observe.events, self.metrics))
        self.trace = Trace(start.run_dir / f"trace-{start.index}.sock", self.metrics)
        self.keys = KeyRing.of_files(settings.signing)
        self.signer = Signer(settings.signing, self.keys)
        self.resolver = Resolver(settings)
        self.courier = Courier(settings.egress, settings.server.hostname, trace=self.trace)
        self.dispatcher = Dispatcher(
            settings=settings.queue,
            store=store,
            resolver=self.resolver,
            courier=self.courier,
            notices=Notices(settings, store, self.signer),
            classifier=Classifier.load(settings.bounces.rules),
            events=self.events,
            metrics=self.metrics,
        )
        self.dispatcher.share_among(start.workers)
        self.intake = Intake(
            settings=settings,
            store=store,
            signer=self.signer,
            room=self.dispatcher.window,
            dispatch=self.dispatcher.submit,
            events=self.events,
            metrics=self.metrics,
        )
        self.listeners = Listeners(
            settings.submission,
            [(listener, socket.socket(fileno=number)) for listener, number in start.listeners],
            reception=self.intake,
            authenticator=Authenticator(store.accounts, settings.submission.limits),
            trace=self.trace,
        )

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve until the stream of orders ends."""
        keepers = [
            asyncio.create_task(self._keep(work, name))
            for name, work in (
                ("lease", self._keep_lease),
                ("queue", self.dispatcher.run),
                ("status", lambda: self._report(writer)),
            )
        ]
        await self.listeners.start()
        log.info("worker ready", lease=self.store.lease.id)
        while (order := await orders.receive(reader)) is not None:
            if isinstance(order, Reload):
                self.configure(order.settings)
        await self._end(keepers)

    def configure(self, settings: Settings) -> None:
        """Take over reloaded settings, part by part. Sessions and attempts under way keep what they began with."""
        self.settings = settings
        self.signer.configure(settings.signing)
        self.resolver.configure(settings)
        self.courier.configure(settings.egress, settings.server.hostname)
        notices = Notices(settings, self.store, self.signer)
        self.dispatcher.configure(settings.queue, Classifier.load(settings.bounces.rules), notices)
        self.intake.configure(settings, self.signer)
        self.listeners.configure(settings.submission)
        self.events.reopen()

    async def _end(self, keepers: list[asyncio.Task[None]]) -> None:
        """Stop taking mail, finish what runs, give back what waits, and only then let go of the lease."""
        grace = self.settings.server.shutdown_grace
        await self.listeners.stop(grace)
        await self.dispatcher.stop(grace)
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await self.courier.close()
        await self.store.messages.drain(grace)
        with contextlib.suppress(StoreUnavailable):
            await self.store.lease.release()
        self.events.close()

    async def _keep(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Run ``work`` for as long as the worker lives, whatever happens inside."""
        while True:
            try:
                return await work()
            except StoreUnavailable:
                await asyncio.sleep(STATUS_EVERY)
            except Exception:
                log.exception("restarting a part of the worker", part=name)
                await asyncio.sleep(STATUS_EVERY)

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(self.settings.database.lease / 4)
            try:
                await self.store.lease.renew()
            except LeaseLost:
                log.warning("our lease was lost; others have taken over what we held")
                self.dispatcher.forget()
                await self.store.lease.register()

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        while True:
            orders.report(writer, {"lease": self.store.lease.id, "window": self.dispatcher.window.deliveries})
            self.dispatcher.measure()
            await asyncio.sleep(STATUS_EVERY)


@asynccontextmanager
async def _store(start: Start) -> AsyncIterator[Store]:
    store = await Store.open(start.dsn, start.settings.database, Secrets(start.secret))
    try:
        await store.lease.register()
        yield store
    finally:
        await store.close()


async def _main(number: int) -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A signal to the whole process group is the supervisor's to act on.
        asyncio.get_running_loop().add_signal_handler(ignored, lambda: None)
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=number))
    start = await orders.receive(reader)
    if not isinstance(start, Start):
        return
    logging.configure(start.settings.observe.log_level)
    async with _store(start) as store:
        worker = Worker(start, store)
        # What exists by now stays; looking through it again and again for garbage costs a tenth of the throughput.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        await worker.run(reader, writer)
    writer.close()


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(int(sys.argv[1])))


if __name__ == "__main__":
    main()
