"""Check our sources: that this machine has their addresses every minute, what the DNS says of them every hour.

A source whose address is not here is not used until it is. One that the DNS speaks against is passed over as long as
its pool has others.

Invariants: a look-up that fails changes nothing.

Limitations: a proxy's addresses are the proxy's affair; only the DNS is asked about them.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections import Counter
from collections.abc import Sequence

from config.schema import Settings
from mta.delivery.egress.source_checks import SourceFinding, judge
from mta.delivery.egress.source_lookup import look_up, missing
from mta.delivery.egress.sources import EgressSource, configured
from mta.delivery.mx import Resolver
from mta.mail.source_fault import SourceFaultKind
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.reputation.source_checks import SourceCheck
from mta.store.store import Store

log = get_logger()

EVERY = 3600.0  # seconds between questions to the DNS about a source
DOUBTFUL_EVERY = 300.0  # if the last answer was a fault, or none
AT_ONCE = 20  # sources looked up at the same time


class SourceWatch:
    """One object a service."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._settings: Settings | None = None
        self._due: dict[str, float] = {}  # monotonic time of the next questions
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def look(self, settings: Settings, store: Store) -> None:
        """Check what is due, and record it. Raises StoreUnavailable."""
        if self._settings is not settings:
            self._settings, self._due = settings, {}
        host = platform.node()
        sources = [source for source in configured(settings.egress) if source.address is not None]
        before = {each.source: each for each in await store.source_checks.list(host)}
        resolver = Resolver(settings)
        due = [source for source in sources if self._is_due(source, before.get(source.name))]
        found = await asyncio.gather(*(self._check(settings, resolver, source) for source in due))
        checks = [
            self._checked(host, source, finding, before.get(source.name))
            for source, finding in zip(due, found, strict=True)
        ]
        for check, known in await store.source_checks.record(host, checks):
            _tell(check, known)
        await self._measure(sources, store, host)

    def _is_due(self, source: EgressSource, known: SourceCheck | None) -> bool:
        """Return whether the DNS is to be asked, or the address has come or gone since."""
        if known is None or known.address != source.address or time.monotonic() >= self._due.get(source.name, 0.0):
            return True
        was_absent = any(fault.kind is SourceFaultKind.ABSENT for fault in known.faults)
        return was_absent != (missing(source) is not None)

    async def _check(self, settings: Settings, resolver: Resolver, source: EgressSource) -> SourceFinding:
        async with self._slots:
            return judge(await look_up(settings, resolver, source))

    def _checked(
        self, host: str, source: EgressSource, finding: SourceFinding, known: SourceCheck | None
    ) -> SourceCheck:
        before = known.faults if known is not None and known.address == source.address else ()
        faults = finding.after(before)
        self._due[source.name] = time.monotonic() + (DOUBTFUL_EVERY if faults or finding.unknown else EVERY)
        return SourceCheck(
            host,
            source.name,
            source.address or "",
            faults,
            finding.unknown,
        )

    async def _measure(self, sources: Sequence[EgressSource], store: Store, host: str) -> None:
        names = {source.name for source in sources}
        counts = Counter(
            fault.kind
            for check in await store.source_checks.list(host)
            if check.source in names
            for fault in check.faults
        )
        for kind in SourceFaultKind:
            self._metrics.source_faults[kind].set(counts[kind])


def _tell(check: SourceCheck, known: SourceCheck | None) -> None:
    for fault in check.faults:
        if known is None or fault not in known.faults:
            log.error("egress source has a fault", source=check.source, fault=fault.text, remedy=fault.remedy)
    if not check.faults:
        log.info("egress source is in order again", source=check.source, address=check.address)
