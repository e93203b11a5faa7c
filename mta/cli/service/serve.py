"""``mta serve``: run the service."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mta.cli.context import load_settings
from mta.cli.installation import changed_files, refuse
from mta.cli.options import ConfigOption, find_config
from mta.cli.output import errors_reported, fail

if TYPE_CHECKING:
    from mta.service.fork_server import ForkServer
    from mta.store.postgres.embedded import EmbeddedPostgres

POLL = 0.05  # seconds between looks for the answer


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(config: ConfigOption = None) -> None:
    """Run the service in the foreground: submission, queue, delivery, and its own database if none is configured.

    Signals: TERM and INT stop it in order, HUP reloads the configuration, USR1 reopens the event log.
    """
    from mta.service.descriptors import raise_limit
    from mta.store.postgres.embedded import EmbeddedPostgres

    raise_limit()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # until the supervisor handles them
    refuse_foreign_files()
    settings = load_settings(config)
    if settings.database.url:
        _run(config, None)
        return
    embedded = EmbeddedPostgres.of(settings)
    try:
        embedded.begin()  # the database starts while the service is imported
        _run(config, embedded)
    finally:
        embedded.stop()


def refuse_foreign_files() -> None:
    """End the command with status 2 if another distribution has written over our files."""
    foreign, _ = changed_files()
    if foreign:
        refuse(foreign)


def _run(config: Path | None, embedded: EmbeddedPostgres | None) -> None:
    import asyncio

    from mta.service import supervisor  # noqa: F401 - shared by the fork: importing it later would copy 13 MiB
    from mta.service.fork_server import ForkServer

    fork_server = ForkServer()
    fork_server.fork()  # before there are keys, files, threads or an event loop for children to inherit
    asyncio.run(_supervise(find_config(config), fork_server, embedded))


async def _supervise(path: Path | None, fork_server: ForkServer, embedded: EmbeddedPostgres | None) -> None:
    from mta.observe.log import configure, get_logger
    from mta.service.config_reader import read_config
    from mta.service.supervisor import AlreadyRunning, Supervisor

    with errors_reported():
        valid = await read_config(fork_server, path)
    configure(valid.settings.observe.log_level, process="supervisor")
    for remark in valid.remarks:
        get_logger().warning("configuration", remark=remark)
    try:
        await Supervisor(path, valid.settings, fork_server, embedded).run()
    except (AlreadyRunning, OSError) as error:
        fail(str(error))
