"""Tell of TLS sessions with receivers: metrics, events, and the counts for TLS reports.

Invariants: a session is counted once, under the policy of the recipient domain that it was opened for.
"""

from __future__ import annotations

from typing import NamedTuple

from mta.delivery.tls.demand import REQUIRETLS, HostDemand, TlsPolicy, Unfit
from mta.delivery.tls.session_counts import SessionCounts
from mta.mail.tls_session import AppliedPolicy, PolicyKind, SessionFailure, TlsFault
from mta.observe.events import EventLog
from mta.observe.labels import Protection, TlsDemandedBy
from mta.observe.metrics import Metrics


class Peer(NamedTuple):
    """The two ends of a session. ``source``: our address, empty if the system chose it and none was connected."""

    host: str
    address: str
    source: str


class TlsRecorder:
    """``events`` and ``counts``: None if nothing is told there."""

    def __init__(self, metrics: Metrics, events: EventLog | None, counts: SessionCounts | None) -> None:
        self._metrics, self._events, self._counts = metrics, events, counts

    def opened(self, domain: str, found: HostDemand, peer: Peer, tls: str | None, fault: TlsFault | None) -> None:
        """A session was opened for mail to ``domain``. ``tls``: its version, None for plain text. ``fault``: why it is
        that, if TLS was tried."""
        self._metrics.connection_protection[_protection(found, tls)].inc()
        if found.fault is not None:
            self.failed(domain, found, peer, found.fault)
        elif fault is not None:
            self._count(domain, found.applied, peer, fault)
        elif tls is not None and found.applied is not None and self._counts:
            self._counts.succeeded(domain, found.applied)

    def failed(self, domain: str, found: HostDemand | Unfit, peer: Peer, fault: TlsFault) -> None:
        """A host did not come up to what was demanded of it."""
        self._count(domain, found.applied, peer, fault)
        if not found.by:
            return
        testing = isinstance(found, HostDemand) and (found.otherwise is not None or found.fault is not None)
        self._metrics.tls_policy_failures[_demanded_by(found, testing=testing)].inc()
        if self._events:
            self._events.tls_policy_failed(domain, peer.host, found.by, fault, testing=testing)

    def _count(self, domain: str, applied: AppliedPolicy | None, peer: Peer, fault: TlsFault) -> None:
        if applied is not None and self._counts:
            failure = SessionFailure(fault.result, peer.source, peer.host, peer.address, fault.text)
            self._counts.failed(domain, applied, failure)


def _demanded_by(found: HostDemand | Unfit, *, testing: bool) -> TlsDemandedBy:
    if found.by == REQUIRETLS:
        return TlsDemandedBy.REQUIRETLS
    if found.applied is not None and found.applied.kind is PolicyKind.TLSA:
        return TlsDemandedBy.DANE
    return TlsDemandedBy.MTA_STS_TESTING if testing else TlsDemandedBy.MTA_STS


def _protection(found: HostDemand, tls: str | None) -> Protection:
    if tls is None:
        return Protection.PLAIN
    if found.demand.policy is TlsPolicy.DANE:
        return Protection.DANE
    return Protection.VERIFIED if found.demand.policy.is_pkix else Protection.ENCRYPTED
