"""The demo's service, in a process that ends, and leaves nothing, when the demo has ended in whatever way.

    python -m mta.demo.service DIRECTORY    with mta.toml in it, and standard input a pipe from the demo

The demo holds the other end of the pipe: once that is closed, by a word or by ``kill -9``, the service is stopped, its
PostgreSQL with it, and the directory is deleted.
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
from mta.store.embedded import EmbeddedPostgres
from mta.supervisor import Supervisor


def main() -> None:
    directory = Path(sys.argv[1])
    threading.Thread(target=_stop_with_the_demo, daemon=True).start()
    try:
        settings = load_file(directory / "mta.toml")
        configure(settings.observe.log_level, process="supervisor")
        asyncio.run(Supervisor(directory / "mta.toml", settings).run())
    finally:
        EmbeddedPostgres(directory / "data" / "postgres").remove()
        shutil.rmtree(directory, ignore_errors=True)


def _stop_with_the_demo() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
