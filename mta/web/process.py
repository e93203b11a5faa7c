"""The web side's own process: started by the supervisor like a worker, and serves HTTP until told to stop.

It is apart from the workers so that a scrape never makes mail wait, and mail never a scrape.

It must never outlive its supervisor.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import AsyncExitStack

import structlog
import uvloop
from aiohttp import web

from config.schema import Web
from mta import orders
from mta.observe import log as logging
from mta.observe.metrics import Metrics
from mta.observe.pulse import beat
from mta.orders import Reload, Start
from mta.store.secrets import Secrets
from mta.store.store import Store, StoreUnavailable
from mta.web.app import make_app

log = structlog.get_logger()

REPORT_EVERY = 1.0  # seconds
CLOSING = 2.0  # seconds that running requests may take


async def serve(app: web.Application, settings: Web) -> web.AppRunner:
    """Start answering. Raises OSError if the port is taken."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=CLOSING)
    await runner.setup()
    await web.TCPSite(runner, settings.address, settings.port).start()
    return runner


async def _main(number: int) -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        # A signal to the whole process group is the supervisor's to act on.
        asyncio.get_running_loop().add_signal_handler(ignored, lambda: None)
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=number))
    start = await orders.receive(reader)
    if not isinstance(start, Start):
        return
    logging.configure(start.settings.observe.log_level, process="web")
    web_settings = start.settings.web
    async with AsyncExitStack() as stack:
        try:
            store = await Store.open(start.dsn, start.settings.database, Secrets(start.secret))
            stack.push_async_callback(store.close)
            runner = await serve(make_app(store, start.run_dir), web_settings)
            stack.push_async_callback(runner.cleanup)
        except (StoreUnavailable, OSError) as error:
            log.error("cannot serve HTTP", address=web_settings.address, port=web_settings.port, reason=str(error))
            raise SystemExit(1) from None
        chores = [asyncio.create_task(work) for work in (beat(Metrics.open(start.run_dir)), _report(writer))]
        while (order := await orders.receive(reader)) is not None:
            if isinstance(order, Reload):
                logging.configure(order.settings.observe.log_level, process="web")
        for chore in chores:
            chore.cancel()
    writer.close()


async def _report(writer: asyncio.StreamWriter) -> None:
    while True:
        orders.report(writer, {})
        await asyncio.sleep(REPORT_EVERY)


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(int(sys.argv[1])))


if __name__ == "__main__":
    main()
