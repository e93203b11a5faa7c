"""A child for the tests of ``mta.service.fork_server``: tells what it was born with, and ends as it is told."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def main(control: socket.socket, sockets: Sequence[socket.socket]) -> None:
    with control.makefile("rw") as stream:
        stream.write(json.dumps(_birth(control, sockets)) + "\n")
        stream.flush()
        match stream.readline().split():
            case ["exit", status]:
                sys.exit(int(status))
            case ["say", text]:
                sys.exit(text)
            case ["raise"]:
                raise ValueError("as it was told")
            case ["accept"]:
                connection, _ = sockets[0].accept()
                connection.sendall(str(os.getpid()).encode())
                connection.close()
            case ["allocate"]:
                stream.write(f"{_page_faults()}\n")


def _birth(control: socket.socket, sockets: Sequence[socket.socket]) -> dict[str, object]:
    given = {0, 1, 2, control.fileno(), *(each.fileno() for each in sockets)}
    return {
        "other files": list(filter(None, map(_target, {int(name) for name in os.listdir("/proc/self/fd")} - given))),
        "standard input": os.readlink("/proc/self/fd/0"),
        "sockets": [each.getsockname() for each in sockets],
        "name": Path("/proc/self/comm").read_text().strip(),
        "random": random.random(),
        "left to the supervisor": all(signal.getsignal(number) is signal.SIG_IGN for number in SIGNALS),
        "ends of children": signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL,
        "ids": [*os.getresuid(), *os.getresgid()],
        "groups": sorted(os.getgroups()),
    }


def _target(descriptor: int) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:  # that of the listing
        return None


def _page_faults() -> int:
    """That a few hundred large messages cost, of 200,000 pages."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for n in range(200):
        parts = [bytes(200_000 + n) for _ in range(20)]
        del parts
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
