"""One attempt at one delivery: from a route to the result of each recipient.

Hosts are tried in the order of the route. If a host cannot be reached, or does not get as far as accepting MAIL, the
next one is tried; recipients that have a reply keep it, and from the moment a final dot is on its way no other host is
tried. Sessions are kept for the next message to the same host.

Invariants: ``deliver`` raises nothing but Shortage, SourceFailed and cancellation, and no recipient is left without a
result unless this machine ran short of something or cannot send from the source, which is no attempt. If it is
cancelled before the final dot, nothing was sent.
Limitations: if it is cancelled after the final dot, it is not known whether the message was taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import field, replace
from datetime import UTC, datetime

from bounce.verp import Verp
from config.schema import EgressSettings, PathLimits, Timeouts
from mta.delivery.client import SmtpClientProtocol
from mta.delivery.delivery_session import (
    DeliveryError,
    DeliverySession,
    OpportunisticTlsError,
    PipeliningError,
    SessionKey,
    StaleSessionError,
    TlsError,
)
from mta.delivery.dialer import Dialer, Quirk, Quirks
from mta.delivery.egress.paths import EgressPath
from mta.delivery.egress.slots import StartPermit
from mta.delivery.egress.sources import SourceFailed, SourceHealth
from mta.delivery.pool import Pool, quit_session
from mta.delivery.route import Route, Target
from mta.delivery.shortage import Shortage
from mta.delivery.tls.demand import REQUIRETLS, HostDemand, TlsDemand, TlsPolicy, Unfit
from mta.delivery.tls.recorder import Peer, TlsRecorder
from mta.delivery.tls.session_counts import SessionCounts
from mta.delivery.transaction import Content, Progress, size_of, transact
from mta.mail.delivery import Attempt, Delivery, Host, QueuedRecipient, Result, Stage
from mta.mail.identity import format_id
from mta.mail.message import SenderTls
from mta.mail.reply import Reply, ReplyKind
from mta.mail.tls_session import TlsFault, TlsResult
from mta.mail.values import dataclass
from mta.observe.events import EventLog
from mta.observe.labels import Resource
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.observe.trace import Trace

log = get_logger()

SLOWEST = 1000  # octets a second: a message that is sent more slowly is given up
PER_RECIPIENT = 30.0  # seconds more for each
SLOT_PATIENCE = 30.0  # seconds to wait until a connection of the path is closed

NO_REQUIRETLS = TlsFault(TlsResult.VALIDATION_FAILURE, "the host does not offer REQUIRETLS")
_NO_STARTTLS = TlsFault(TlsResult.STARTTLS_NOT_SUPPORTED, "STARTTLS is not offered, or was rejected")
_INTERNAL = Reply(451, "4.3.0", "internal error; it has been logged")
_STAGES = {stage: n for n, stage in enumerate(Stage)}


class PolicyError(DeliveryError):
    """A host is not fit for mail to this domain, or from this sender; another one may be. ``is_final``: if none is,
    waiting does not help."""

    def __init__(self, by: str, reply: Reply, final: str | None = None) -> None:
        """``final``: the enhanced status code, if it is."""
        self.is_final = final is not None
        text = f"{by}: {reply.text}"
        if final:
            super().__init__(Stage.SENDER, Reply(550, final, text))
        else:
            super().__init__(Stage.TLS_POLICY, Reply(451, reply.status, text))

    @classmethod
    def of(cls, found: HostDemand | Unfit, fault: TlsFault, reply: Reply) -> PolicyError:
        """``reply``: what is recorded of the fault. To REQUIRETLS what is no accident is final (RFC 8689 4.2.1)."""
        return cls(found.by, reply, "5.7.10" if found.by == REQUIRETLS and not fault.in_handshake else None)


class Courier:
    """``hostname``: our name in EHLO, unless the settings give another. ``verp``: makes the return paths; None: bounces
    go to the sender. ``connections``: most at once, idle ones included."""

    def __init__(
        self,
        settings: EgressSettings,
        hostname: str,
        verp: Verp | None = None,
        *,
        loopback_receivers: bool = False,
        trace: Trace | None = None,
        metrics: Metrics | None = None,
        events: EventLog | None = None,
        counts: SessionCounts | None = None,
        connections: int = 100_000,
    ) -> None:
        self.connections = connections
        self._under_way = 0
        self._begun: set[SmtpClientProtocol] = set()
        self._busy: set[SmtpClientProtocol] = set()
        self._trace = trace
        self._metrics = metrics or Metrics()
        self._events = events
        self._tls = TlsRecorder(self._metrics, events, counts)
        self._quirks = Quirks()
        self._pool = Pool()
        self.sources = SourceHealth()
        self.configure(settings, hostname, verp, loopback_receivers=loopback_receivers)

    def configure(
        self,
        settings: EgressSettings,
        hostname: str,
        verp: Verp | None = None,
        *,
        loopback_receivers: bool = False,
    ) -> None:
        """Take over new settings; attempts under way go on with the old ones."""
        self._settings = settings
        self._verp = verp
        self._time_limit = _time_limit(settings.timeouts)
        self._dialer = Dialer(
            settings.timeouts,
            settings.ehlo or hostname,
            loops=loopback_receivers,
            quirks=self._quirks,
            trace=self._trace,
            metrics=self._metrics,
            begun=self._begun,
        )

    async def deliver(
        self,
        delivery: Delivery,
        route: Route,
        path: EgressPath,
        content: Content,
        permit: StartPermit | None = None,
    ) -> Attempt:
        """Attempt a delivery from the source of ``path``; return a result for every recipient. ``content``: with CRLF
        line ends. ``permit``: asked before each MAIL.

        Raises Shortage or SourceFailed if nothing could be tried.
        """
        loop = asyncio.get_running_loop()
        started_at, began = datetime.now(UTC), loop.time()
        limit = began + self._time_limit + len(delivery.recipients) * PER_RECIPIENT + size_of(content) / SLOWEST
        state = _AttemptState(delivery, route, path, content, limit, list(delivery.recipients), permit)
        self._under_way += 1
        try:
            await self._try_hosts(state)
        except SourceFailed as error:
            if not (state.results or state.has_answer):
                raise
            state.errors.append(DeliveryError(Stage.CONNECT, Reply(451, "4.4.1", str(error))))
        except Exception as error:
            if not (short := Shortage.of(error)):
                log.exception("delivery attempt failed", message=format_id(delivery.message_id))
                state.errors.append(DeliveryError(Stage.CONNECT, _INTERNAL))
            elif not (state.results or state.has_answer):
                raise short from error
        finally:
            self._under_way -= 1
        return state.attempt(started_at, loop.time() - began)

    def close_idle(self, source: str, site: str, most: int | None = None) -> None:
        """End the idle sessions of a path, ``most`` of them at most."""
        self._pool.close_idle(source, site, most)

    def revoke(self, *, in_doubt: bool) -> None:
        """Close every connection: this worker cannot rely on its shares any more. What has not been sent to its final
        dot is no attempt. ``in_doubt``: do not wait for the replies to messages that have been, either."""
        self._pool.close_all()
        for protocol in [*self._begun, *self._busy]:
            if in_doubt or not protocol.in_doubt:
                protocol.revoke()

    async def close(self) -> None:
        """End the idle sessions with QUIT."""
        await self._pool.close()

    async def _try_hosts(self, state: _AttemptState) -> None:
        """Try one host after the other. Raises Shortage, SourceFailed."""
        for target in self._order(state):
            error = await self._try_host(target, state)
            if error is None:
                return
            state.errors.append(error)
            if state.is_over:
                return

    async def _try_host(self, target: Target, state: _AttemptState) -> DeliveryError | None:
        """Deliver to the recipients that are left, at this host; return the error that prevented it, if any."""
        found = state.demand(target)
        if isinstance(found, Unfit):
            self._tls.failed(state.domain, found, state.peer(target), found.fault)
            return PolicyError.of(found, found.fault, Reply(451, "4.7.5", found.fault.text))
        worked_around: set[type[DeliveryError]] = set()
        error: DeliveryError | None = None
        while state.left:
            try:
                error = await self._run_transaction(target, found, state, fresh=error is not None)
            except DeliveryError as raised:
                error = raised
                if error.stage is not Stage.CONNECT:
                    state.host = Host(target.name, target.address)
            if isinstance(error, TlsError):
                self._tls.failed(state.domain, found, state.peer(target), error.fault)
                if found.otherwise is not None and not state.is_over:  # a policy in testing: it has been told
                    found = HostDemand(found.otherwise)
                    continue
                if found.by:
                    return PolicyError.of(found, error.fault, error.reply)
            if error is not None:
                if state.is_over or type(error) in worked_around or not self._work_around(error, target):
                    return error
                worked_around.add(type(error))
        return None

    def _work_around(self, error: DeliveryError, target: Target) -> bool:
        """Return whether the same host is worth another session at once, without what went wrong."""
        match error:
            case StaleSessionError():
                return True
            case OpportunisticTlsError():
                self._quirks.note(target.address, Quirk.BROKEN_TLS)
                return True
            case PipeliningError():
                self._quirks.note(target.address, Quirk.BROKEN_PIPELINING)
                return True
            case _:
                return False

    async def _run_transaction(
        self, target: Target, found: HostDemand, state: _AttemptState, *, fresh: bool
    ) -> DeliveryError | None:
        """Run one transaction, on an idle session or a new one. Raises DeliveryError if there is none, Shortage."""
        limits, key = state.path.limits, state.key(target, found.demand)
        session = None if fresh else self._pool.take(key)
        if session is None:
            if self._under_way + len(self._pool) > self.connections:
                self._pool.drop_oldest()
            session = await self._dial(target, key, found, state)
        if state.delivery.tls is SenderTls.REQUIRED and not session.extensions.requiretls:
            self._keep(session, limits)
            lacking = HostDemand(found.demand, by=REQUIRETLS)
            self._tls.failed(state.domain, lacking, state.peer(target), NO_REQUIRETLS)
            raise PolicyError(REQUIRETLS, Reply(550, "5.7.30", f"{target.name} does not offer it"), "5.7.30")
        if state.permit is not None and not await state.permit.next():
            self._keep(session, limits)
            raise Shortage(Resource.SHARE)
        session.protocol.limit = state.limit
        state.enter(session)
        self._busy.add(session.protocol)
        try:
            progress = await self._transact(session, state)
        except BaseException:
            session.protocol.abort()
            raise
        finally:
            self._busy.discard(session.protocol)
        session.octets += size_of(state.content)
        state.unsolicited += [str(reply.reply) for reply in session.protocol.unsolicited_replies]
        self._keep(session, limits)
        state.results += progress.results
        state.left = progress.left
        if session.protocol.is_revoked and state.left:
            raise Shortage(Resource.LEASE)
        return progress.error

    async def _transact(self, session: DeliverySession, state: _AttemptState) -> Progress:
        timeouts, most = self._settings.timeouts, state.path.limits.recipients_per_transaction
        started = _nothing if state.permit is None else state.permit.started
        try:
            return await transact(
                session, state.delivery, state.left, state.content, timeouts, most, self._verp, started=started
            )
        finally:
            started()

    async def _dial(self, target: Target, key: SessionKey, found: HostDemand, state: _AttemptState) -> DeliverySession:
        path, slots = state.path, state.path.slots
        await self._take_slot(path)
        try:
            session = await self._dialer.dial(target, key, state.route.login, path.limits, state.limit, slots.release)
        except SourceFailed as failure:
            seconds = self.sources.failed(failure.source, asyncio.get_running_loop().time())
            self._metrics.source_backoffs.inc()
            if self._events is not None:
                self._events.source_backoff(failure.source.name, failure.source.address, seconds, failure.why)
            log.error("egress source cannot be used", source=str(failure.source), reason=failure.why, seconds=seconds)
            raise
        except DeliveryError:
            self.sources.worked(key.source)
            raise
        self.sources.worked(key.source)
        wanted = key.tls.policy is TlsPolicy.OPPORTUNISTIC and not self._quirks.has(target.address, Quirk.BROKEN_TLS)
        fault = _NO_STARTTLS if wanted and session.tls is None else None
        self._tls.opened(state.domain, found, Peer(target.name, target.address, session.source), session.tls, fault)
        return session

    async def _take_slot(self, path: EgressPath) -> None:
        """Count one more connection of the path; if there are too many, close an idle one first. Raises Shortage."""
        deadline = asyncio.get_running_loop().time() + SLOT_PATIENCE
        while not path.slots.take():
            self._pool.close_idle(path.source.name, path.site, 1)
            free = asyncio.Event()
            path.slots.when_free(free.set)
            try:
                async with asyncio.timeout_at(deadline):
                    await free.wait()
            except TimeoutError:
                raise Shortage(Resource.SHARE) from None

    def _keep(self, session: DeliverySession, limits: PathLimits) -> None:
        most, octets = limits.messages_per_connection, limits.octets_per_connection
        if session.extensions.transactions is not None:
            most = min(most, session.extensions.transactions)
        if session.transactions < most and (octets is None or session.octets < octets):
            self._pool.put(session, limits.idle)
        else:
            quit_session(session)

    def _order(self, state: _AttemptState) -> Sequence[Target]:
        """Return the hosts to try; one with an idle session comes first, whatever its preference."""
        source = state.path.source
        tries = [target for target in state.route.tries() if source.reaches(target.address)][: self._settings.max_hosts]
        if len(tries) > 1 and len(self._pool):
            return sorted(tries, key=lambda target: not self._has_idle(target, state))
        return tries

    def _has_idle(self, target: Target, state: _AttemptState) -> bool:
        found = state.demand(target)
        return isinstance(found, HostDemand) and self._pool.has(state.key(target, found.demand))


def _nothing() -> None:
    """No permit takes note."""


def _time_limit(timeouts: Timeouts) -> float:
    """Return the seconds up to DATA, however the receivers spread their slowness over the stages and hosts."""
    before_mail = timeouts.connect + timeouts.greeting + timeouts.hello + timeouts.starttls
    return before_mail + timeouts.mail + timeouts.rcpt + timeouts.data


@dataclass(slots=True, eq=False)
class _AttemptState:
    """An attempt under way. ``limit``: loop time. ``unsolicited``: replies that belong to no command."""

    delivery: Delivery
    route: Route
    path: EgressPath
    content: Content
    limit: float
    left: list[QueuedRecipient]
    permit: StartPermit | None
    results: list[Result] = field(default_factory=list)
    errors: list[DeliveryError] = field(default_factory=list)
    host: Host | None = None
    source: str | None = None
    receiver_sends_dsn: bool = True
    unsolicited: list[str] = field(default_factory=list)

    @property
    def domain(self) -> str:
        return self.delivery.destination

    def demand(self, target: Target) -> HostDemand | Unfit:
        """Return what TLS the host must show for this mail."""
        return self.route.demand(target, self.path.limits, self.delivery.tls)

    def key(self, target: Target, demand: TlsDemand) -> SessionKey:
        """Return which idle sessions will do."""
        return SessionKey.of(self.path, self.route, target, demand)

    def peer(self, target: Target) -> Peer:
        return Peer(target.name, target.address, self.path.source.address or "")

    @property
    def is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self.limit

    @property
    def has_answer(self) -> bool:
        """Whether some host was reached."""
        return any(error.stage is not Stage.CONNECT for error in self.errors)

    def enter(self, session: DeliverySession) -> None:
        """Note which session is used now, for the record."""
        self.host = Host(session.target.name, session.target.address, session.tls)
        self.source = session.source
        self.receiver_sends_dsn = self.receiver_sends_dsn and session.extensions.dsn

    def attempt(self, started_at: datetime, seconds: float) -> Attempt:
        """Return the attempt. Of several hosts' errors the one that got furthest counts; of equals, a transient one.
        That no host may have the mail is final only if each of them could be asked."""
        results, delivery = tuple(self.results), self.delivery
        untried: tuple[QueuedRecipient, ...] = ()
        if self.left and not self.errors:
            untried = tuple(self.left)
            delivery = replace(delivery, recipients=tuple(result.recipient for result in results), whole=False)
        elif self.left:
            passing = [each for each in self.errors if not (isinstance(each, PolicyError) and each.is_final)]
            worst = max(passing or self.errors, key=_rank)
            results += tuple(Result(recipient, worst.stage, worst.reply) for recipient in self.left)
        return Attempt(
            delivery,
            results,
            started_at,
            seconds,
            self.host,
            self.source,
            transcript="\n".join(self.unsolicited) or None,
            receiver_sends_dsn=self.receiver_sends_dsn and self.source is not None,
            provider=self.route.provider,
            untried=untried,
        )


def _rank(error: DeliveryError) -> tuple[int, bool]:
    return _STAGES[error.stage], error.reply.kind is not ReplyKind.PERMANENT
