"""How many files and sockets each worker may have open, how many its settings may need, and how they are shared out.

    limit = reserve + database + listeners + DNS + clients (in) + receivers (out)

Clients and receivers get what they may need. If that is more than the limit allows, each side gets half of it at most,
so that neither can use up what the other, the database or the log needs.

Invariants: every process runs with its soft limit raised to the hard one.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from dataclasses import dataclass

from config.schema import Settings
from mta.delivery.name_servers import CONCURRENT as DNS

RESERVE = 128  # standard streams, event loop, metrics, log, trace, scanners; connections told that there are too many
MOST = 1 << 20  # more is never needed, and there are programs that try to close every number below the limit
LEAST = 64  # clients and receivers each: below that a worker is of no use


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one, or to MOST; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < hard_limit():
        with suppress(OSError, ValueError):  # forbidden by a seccomp filter
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit(), hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if soft == resource.RLIM_INFINITY else soft


def hard_limit() -> int:
    """Return the limit that a service started from here would have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)


def open_descriptors() -> int:
    """Return how many this process has open."""
    counted = os.stat("/proc/self/fd").st_size  # since Linux 6.2; before it is 0
    return counted or len(os.listdir("/proc/self/fd")) - 1  # that of the listing


@dataclass(frozen=True, slots=True)
class Descriptors:
    """One worker's share. ``submission``, ``reports``: clients at once; ``outbound``: connections to receivers.
    ``needed``: the limit at which nobody is cut short.
    """

    limit: int
    needed: int
    submission: int
    reports: int
    outbound: int

    @property
    def is_enough(self) -> bool:
        return self.limit >= self.needed

    @property
    def is_usable(self) -> bool:
        return self.is_enough or min(self.submission, self.outbound) >= LEAST

    def shown(self) -> str:
        """Return what the limit allows and how to raise it, for the operator."""
        wanted = _rounded(self.needed)
        return (
            f"a worker may open {self.limit} files, and needs {self.needed} for what is configured; with fewer it"
            f" serves at most {self.submission + self.reports} clients and {self.outbound} receivers at once. Set"
            f" LimitNOFILE={wanted} (systemd), --ulimit nofile={wanted} (Docker) or `ulimit -Hn {wanted}` (shell)"
        )


def share_out(settings: Settings, limit: int) -> Descriptors:
    """Share out ``limit`` among the parts of a worker."""
    listeners = len(settings.submission.listeners) + len(settings.reports.listeners)
    fixed = RESERVE + DNS + settings.database.pool_size + 1 + 4 * listeners  # two of each, and those of a neighbour
    submission = settings.submission.limits.connections
    reports = settings.reports.limits.connections if settings.reports.listeners else 0
    outbound = settings.queue.active_deliveries
    rest = max(0, limit - fixed)
    inbound = min(submission + reports, max(rest // 2, rest - outbound))
    for_reports = inbound * reports // (submission + reports)
    return Descriptors(
        limit=limit,
        needed=fixed + submission + reports + outbound,
        submission=max(1, inbound - for_reports),
        reports=for_reports,
        outbound=max(1, min(outbound, rest - inbound)),
    )


def _rounded(number: int) -> int:
    """Return the next power of two."""
    return 1 << (number - 1).bit_length()
