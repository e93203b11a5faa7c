"""The settings of our own PostgreSQL, written anew at each start: ``embedded.conf``, and what depends on the machine.

*Limits.* Meant for one mail service on one machine; a database of your own is yours to tune.
"""

from __future__ import annotations

import os
from pathlib import Path

_CONF = Path(__file__).with_name("embedded.conf")


def configuration(data: Path, socket_folder: Path, *, durable: bool) -> str:
    """The text of the configuration file for the server of ``data``; an operator's ``local.conf`` there comes last."""
    text = (
        f"{_CONF.read_text()}\nshared_buffers = {_shared_buffers()}MB\nfsync = {'on' if durable else 'off'}\n"
        f"unix_socket_directories = '{socket_folder}'\nport = 5432\n"
    )
    return text + "include = 'local.conf'\n" if (data / "local.conf").exists() else text


def _shared_buffers() -> int:
    """Megabytes: an eighth of the machine's memory, between 64 and 256; more has shown no gain for a queue."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(64, min(256, memory // 8 // 2**20))
