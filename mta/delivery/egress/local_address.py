"""Whether this machine can send from an address."""

from __future__ import annotations

import errno
import os
import socket

_LOCAL = frozenset({errno.EACCES, errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETUNREACH, errno.EPERM})


def bind_fault(address: str) -> str | None:
    """Return why no socket can be bound to an address, None if one can: it is this machine's."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return None


def is_to_blame(source: str, address: str, error: BaseException) -> bool:
    """Return whether a connection to ``address`` failed because of ``source``: there is a way, but not from there.

    Nothing is sent: the kernel looks for a route when a datagram socket is connected.
    """
    if not isinstance(error, OSError) or error.errno not in _LOCAL:
        return False
    return not _has_way(address, source) and _has_way(address, None)


def _has_way(address: str, source: str | None) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            if source is not None:
                probe.bind((source, 0))
            probe.connect((address, 9))
        except OSError:
            return False
        return True
