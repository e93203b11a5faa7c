"""``mta serve``: run the service in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mta.cli.options import ConfigOption, find_config
from mta.cli.output import fail

if TYPE_CHECKING:
    from mta.store.postgres.embedded import EmbeddedPostgres


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(config: ConfigOption = None) -> None:
    """Run the service: submission, queue, delivery and its own database if none is configured.

    Signals: TERM and INT stop it in order, HUP reloads the configuration, USR1 reopens the event log.
    """
    import signal
    import sys

    from mta.cli.context import load_settings
    from mta.store.postgres.embedded import EmbeddedPostgres

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # until the supervisor handles them
    settings = load_settings(config)
    if settings.database.url:
        _run(config, None)
        return
    embedded = EmbeddedPostgres(settings.server.data_dir / "postgres", user=settings.server.user)
    try:
        embedded.begin()  # the database starts while the service is imported
        _run(config, embedded)
    finally:
        embedded.stop()


def _run(config: Path | None, embedded: EmbeddedPostgres | None) -> None:
    import asyncio

    from mta.cli.check import checked
    from mta.observe.log import configure
    from mta.service.fork_server import ForkServer
    from mta.service.supervisor import AlreadyRunning, Supervisor
    from mta.store.postgres.embedded import EmbeddedError
    from mta.store.store import SchemaError, StoreUnavailable

    fork_server = ForkServer()
    fork_server.fork()  # before there are keys, files, threads or an event loop for children to inherit
    settings, _ = checked(config)
    configure(settings.observe.log_level, process="supervisor")
    try:
        asyncio.run(Supervisor(find_config(config), settings, fork_server, embedded).run())
    except (AlreadyRunning, EmbeddedError, SchemaError, StoreUnavailable, OSError) as error:
        fail(f"mta serve: {error}")
