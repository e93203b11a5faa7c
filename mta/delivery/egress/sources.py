"""Sources: the addresses that mail is sent from, and which of them this machine can use now.

A source that this machine cannot send from (the address is not there, has no way out, or its proxy is gone) is not used
until its backoff ends: its mail takes another source of the pool. That is no failure of the site, and no attempt.

Limitations: what a connection shows each worker learns for itself; what the hourly check finds all workers of the
machine know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from config.schema import EgressSettings, SourceSettings
from mta.delivery.backoff import Backoff
from mta.delivery.tls.demand import ClientCertificate
from mta.mail.values import dataclass

SOURCE_BACKOFF = 30.0  # seconds, the first one
SYSTEM = "system"  # name of the source that the system chooses


class SourceFailed(Exception):
    """This machine cannot send from ``source``."""

    def __init__(self, source: EgressSource, why: str) -> None:
        super().__init__(f"cannot send from source {source.name} ({source.address}): {why}")
        self.source, self.why = source, why


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where connections begin for us."""

    protocol: Literal["haproxy", "socks5"]
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Proxy:
        """Read ``haproxy://host:port`` or ``socks5://host:port``, checked when the configuration was read."""
        protocol, _, rest = text.partition("://")
        host, _, port = rest.rpartition(":")
        return cls("haproxy" if protocol == "haproxy" else "socks5", host.strip("[]"), int(port))


@dataclass(frozen=True, slots=True)
class EgressSource:
    """``address``: None if the system chooses. ``ehlo``: None for the common name. ``certificate``: that we show."""

    name: str
    address: str | None = None
    ehlo: str | None = None
    proxy: Proxy | None = None
    certified: bool = False
    certificate: ClientCertificate | None = None

    @classmethod
    def of(cls, settings: SourceSettings) -> EgressSource:
        proxy = None if settings.proxy is None else Proxy.parse(settings.proxy)
        certificate = ClientCertificate.of(settings.certificate, settings.key)
        return cls(settings.name, settings.address, settings.ehlo, proxy, settings.certified, certificate)

    def reaches(self, address: str) -> bool:
        """Return whether a receiver's address is of this source's family."""
        return self.address is None or (":" in self.address) == (":" in address)

    def __str__(self) -> str:
        return self.name


SYSTEM_SOURCE = EgressSource(SYSTEM)


def configured(settings: EgressSettings) -> Sequence[EgressSource]:
    """Return the sources of the configuration, or the one that the system chooses."""
    return [EgressSource.of(each) for each in settings.sources] or [SYSTEM_SOURCE]


class SourceHealth:
    """Which sources serve. ``listed``: addresses on a blocklist. ``absent``, ``unfit``: names of sources whose address
    this machine lacks, or that the DNS speaks against. ``now`` is monotonic seconds."""

    def __init__(self) -> None:
        self.listed: frozenset[str] = frozenset()
        self.absent: frozenset[str] = frozenset()
        self.unfit: frozenset[str] = frozenset()
        self._failing: dict[str, Backoff] = {}

    def usable(self, source: EgressSource, now: float) -> bool:
        """Return whether this machine can send from ``source``, as far as it knows."""
        if source.name in self.absent:
            return False
        backoff = self._failing.get(source.name)
        return backoff is None or not backoff.active(now)

    def usable_in(self, sources: Sequence[EgressSource], now: float) -> float:
        """Return the seconds until the first of ``sources`` may be tried again."""
        return max(0.0, min(self._ends(sources, now)) - now)

    def steps_aside(self, source: EgressSource) -> bool:
        """Return whether others are to be used as long as there are any."""
        return source.address in self.listed or source.name in self.unfit

    def failed(self, source: EgressSource, now: float) -> float:
        """Note that this machine cannot send from ``source``; return the seconds for which it is not used."""
        backoff = self._failing.setdefault(source.name, Backoff())
        backoff.failed(now, seconds=SOURCE_BACKOFF)
        return backoff.until - now

    def worked(self, source: EgressSource) -> None:
        """Note that a connection from ``source`` was made."""
        if self._failing:
            self._failing.pop(source.name, None)

    def end_backoffs(self) -> None:
        """Try them all again."""
        self._failing.clear()

    def _ends(self, sources: Sequence[EgressSource], now: float) -> Iterator[float]:
        for source in sources:
            backoff = self._failing.get(source.name)
            until = backoff.until if backoff else 0.0
            yield max(until, now + SOURCE_BACKOFF) if source.name in self.absent else until
