"""From which of our addresses a connection is made: ``egress.sources`` by turns, but for those that do not serve.

A source is left out while it is listed on a blocklist, and while a site has turned it away several times in a row; if
no other is left, it is used all the same. A source that this machine cannot send from (the address is not there, or has
no way out) is not used until its backoff ends. That is no failure of the site, and no attempt.

Limitations: each worker learns for itself.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from config.schema import Shaping
from mta.delivery.backoff import Backoff
from mta.delivery.shortage import Shortage
from mta.observe.labels import Resource

SOURCE_BACKOFF = 30.0  # seconds, the first one
MAX_PATHS = 10_000  # of a source to a site, that have failed, remembered

_LOCAL = frozenset({errno.EACCES, errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETUNREACH, errno.EPERM})


class SourceFailed(Exception):
    """This machine cannot send from ``source``."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"cannot send from {source} (egress.sources): {why}")
        self.source, self.why = source, why


class Sources:
    """``listed``: those on a blocklist. ``now`` is monotonic seconds."""

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        self.addresses = addresses
        self.listed: frozenset[str] = frozenset()
        self._turn = 0
        self._failing: dict[str, Backoff] = {}
        self._paths: dict[tuple[str, str], Backoff] = {}  # by source and site

    def able(self, address: str, site: str, now: float) -> Sequence[str | None]:
        """Return the sources for a connection of ``site`` to ``address``, best first, or None for the system's choice.
        Raises Shortage if none of them works."""
        six = ":" in address
        family = [source for source in self.addresses if (":" in source) == six]
        if not family:
            return [None]
        working = [source for source in family if not self._in_backoff(self._failing.get(source), now)]
        if not working:
            ends = min(self._failing[source].until for source in family)
            raise Shortage(Resource.SOURCES, ends - now)
        welcome = [source for source in working if not self._in_backoff(self._paths.get((source, site)), now)]
        unlisted = [source for source in welcome or working if source not in self.listed]
        return unlisted or welcome or working

    def next(self, able: Sequence[str | None]) -> str | None:
        """Return the one whose turn it is."""
        self._turn += 1
        return able[self._turn % len(able)]

    def failed(self, source: str, now: float) -> float:
        """Note that this machine cannot send from ``source``; return the seconds for which it is not used."""
        backoff = self._failing.setdefault(source, Backoff())
        backoff.failed(now, seconds=SOURCE_BACKOFF)
        return backoff.until - now

    def met(self, source: str | None, site: str, shaping: Shaping, now: float, *, well: bool) -> None:
        """Note that a connection of ``source`` to ``site`` has got as far as MAIL, or has not."""
        if source is None:
            return
        self._failing.pop(source, None)
        if well:
            self._paths.pop((source, site), None)
            return
        if len(self._paths) >= MAX_PATHS:
            del self._paths[next(iter(self._paths))]
        path = self._paths.setdefault((source, site), Backoff())
        path.failed(now, seconds=shaping.backoff, after=shaping.backoff_after)

    def end_backoffs(self) -> None:
        """Try them all again."""
        self._failing.clear()
        self._paths.clear()

    @staticmethod
    def _in_backoff(backoff: Backoff | None, now: float) -> bool:
        return backoff is not None and backoff.active(now)


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
