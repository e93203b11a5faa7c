"""The settings of the embedded PostgreSQL, written at each start: ``embedded.conf`` plus machine-dependent values.

Limitations: meant for one mail service on one machine; tune your own database yourself.
"""

from __future__ import annotations

import os
from pathlib import Path

_CONF = Path(__file__).with_name("embedded.conf")
_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def configuration(data: Path, socket_folder: Path, *, durable: bool) -> str:
    """The text of the configuration file for the server of ``data``; an operator's ``local.conf`` there comes last."""
    text = (
        f"{_CONF.read_text()}\nshared_buffers = {_shared_buffers()}MB\nfsync = {'on' if durable else 'off'}\n"
        f"unix_socket_directories = '{socket_folder}'\nport = 5432\n"
    )
    return text + "include = 'local.conf'\n" if (data / "local.conf").exists() else text


def _shared_buffers() -> int:
    """Megabytes: an eighth of the memory, between 64 and 4096. A queue does with 256, but recipients are looked up all
    over their tables, and each page that is not in these buffers costs a system call."""
    return max(64, min(4096, _memory() // 8 // 2**20))


def _memory() -> int:
    """Octets that this machine, or the container it is, may use."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(_CONTAINER.read_text()))
    except (OSError, ValueError):  # not in a container, or in one without a limit ("max")
        return machine
