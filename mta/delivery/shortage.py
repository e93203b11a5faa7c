"""Shortages of this machine: file descriptors, memory, local ports, addresses that it can send from.

They say nothing about a message or a site: no attempt has been made, and it is made again shortly.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from time import monotonic

from mta.observe.labels import Resource
from mta.observe.log import Sparingly, get_logger

log = get_logger()

_SHORTAGES = {
    errno.EMFILE: Resource.DESCRIPTORS,  # of this process
    errno.ENFILE: Resource.DESCRIPTORS,  # of the machine
    errno.ENOBUFS: Resource.MEMORY,
    errno.ENOMEM: Resource.MEMORY,
}
_REMEDIES = {
    Resource.DESCRIPTORS: "raise the limit of open files: `mta check` says to how many, and how",
    Resource.MEMORY: "the kernel has no memory for sockets; see net.ipv4.tcp_mem and the memory of the machine",
    Resource.SOURCES: "no source of the pool can be used: see the log, and `ip address`",
    Resource.SHARE: "the limits of the site allow the rest of the attempt later; it is tried again",
    Resource.LEASE: "PostgreSQL did not answer for most of database.lease: see the log, and `mta check`",
    Resource.PORTS: "widen net.ipv4.ip_local_port_range, or add addresses to egress.sources",
}


class Shortage(Exception):
    """This machine lacks ``resource`` now, so nothing was tried. ``seconds``: how long that will last at least."""

    def __init__(self, resource: Resource, seconds: float = 0.0) -> None:
        super().__init__(f"this machine is short of {resource.value}")
        self.resource, self.seconds = resource, seconds

    @classmethod
    def of(cls, error: BaseException) -> Shortage | None:
        """Return the shortage that ``error`` is, or was caused by; None if it is something else."""
        if isinstance(error, Shortage):
            return error
        resource = shortage(error)
        return cls(resource) if resource else None


def shortage(error: BaseException) -> Resource | None:
    """Return what ``error`` says this machine lacks; None if it is about something else."""
    return _SHORTAGES.get(error.errno or 0) if isinstance(error, OSError) else None


def shortage_at_connect(error: BaseException, address: str) -> Resource | None:
    """As ``shortage``, for an error of connect() to ``address``.

    EADDRNOTAVAIL means that all local ports are in use, unless this machine has no address at all from which it could
    reach the other one, which is not going to change.
    """
    if isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        return Resource.PORTS if _has_source_address(address) else None
    return shortage(error)


def _has_source_address(address: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # sends nothing: the kernel chooses an address of ours
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
        return True


class ShortageLog:
    """Logs shortages: each resource once a minute at most, with the number of attempts put off since."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._lines = {resource: Sparingly(clock=clock) for resource in Resource}

    def note(self, resource: Resource) -> None:
        if count := self._lines[resource].due():
            log.error(
                "deliveries put off: this machine is short of a resource",
                resource=resource.value,
                attempts=count,
                remedy=_REMEDIES[resource],
            )
