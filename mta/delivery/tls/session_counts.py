"""Count sessions for TLS reports in memory, until the worker writes them to the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime

from mta.mail.tls_session import AppliedPolicy, SessionCount, SessionFailure

MAX_POLICIES = 20_000  # counted at once; what is beyond that is not counted


class SessionCounts:
    """What a worker has counted and not yet written."""

    def __init__(self) -> None:
        self._counts: dict[tuple[date, str, AppliedPolicy], SessionCount] = {}

    def succeeded(self, domain: str, policy: AppliedPolicy) -> None:
        self._add(SessionCount(_today(), domain, policy, successful=1))

    def failed(self, domain: str, policy: AppliedPolicy, failure: SessionFailure) -> None:
        self._add(SessionCount(_today(), domain, policy, failed=1, failures=Counter([failure])))

    def take(self) -> Sequence[SessionCount]:
        """Return what was counted, and begin anew."""
        counts, self._counts = self._counts, {}
        return tuple(counts.values())

    def put_back(self, counts: Sequence[SessionCount]) -> None:
        """Count again what could not be written."""
        for count in counts:
            self._add(count)

    def _add(self, count: SessionCount) -> None:
        key = count.day, count.domain, count.policy
        known = self._counts.get(key)
        if known is not None:
            known.add(count)
        elif len(self._counts) < MAX_POLICIES:
            self._counts[key] = count


def _today() -> date:
    return datetime.now(UTC).date()
