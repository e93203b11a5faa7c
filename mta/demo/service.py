"""The demo's service, in a process that ends, and leaves nothing, when the demo has ended in whatever way.

    python -m mta.demo.service DIRECTORY    with mta.toml in it, and standard input a pipe from the demo

It is started first of all and waits for a word before it serves, so that it can put everything away from the beginning.
The demo holds the other end of the pipe: once that is closed, in order or by ``kill -9``, the service is stopped, the
database with it, and the directory is deleted.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from config.load import load_file
from mta.observe.log import configure
from mta.service.supervisor import Supervisor
from mta.store.postgres.embedded import EmbeddedPostgres


def main() -> None:
    directory = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the demo's to act on
    try:
        if os.read(0, 1):
            threading.Thread(target=_stop_with_the_demo, daemon=True).start()
            settings = load_file(directory / "mta.toml")
            configure(settings.observe.log_level, process="supervisor")
            asyncio.run(Supervisor(directory / "mta.toml", settings).run())
    finally:
        _put_away(directory)


def _put_away(directory: Path) -> None:
    """Delete everything, unless the demo still lives: it uses the database, and puts things away itself."""
    data = directory / "data" / "postgres"
    EmbeddedPostgres(data).remove()
    if not data.exists():
        shutil.rmtree(directory, ignore_errors=True)


def _stop_with_the_demo() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
