"""``mta serve``: run the service in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

import typer

from mta.cli.options import ConfigOption, find_config
from mta.cli.output import fail


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(config: ConfigOption = None) -> None:
    """Run the service: submission, queue, delivery and its own database if none is configured.

    Signals: TERM and INT stop it in order, HUP reloads the configuration, USR1 reopens the event log.
    """
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
        asyncio.run(Supervisor(find_config(config), settings, fork_server).run())
    except (AlreadyRunning, EmbeddedError, SchemaError, StoreUnavailable, OSError) as error:
        fail(f"mta serve: {error}")
