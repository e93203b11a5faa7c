"""One attempt at one delivery: from a plan to what each recipient got.

Hosts are tried in the order of the plan. A host that cannot be reached, or does not get as far as taking MAIL, hands
over to the next; whoever has an answer from a receiver keeps it, and from the moment a final dot is on its way nobody
else is tried. Connections are kept for the next message to the same host.

It must never raise (but for cancellation), and never leave a recipient without a result. Cancelled before the final
dot, nothing was sent.

*Limits.* Whoever is cancelled after the final dot does not know what became of the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bounce.verp import Verp
from config.schema import EgressSettings, Timeouts
from mta.delivery.pool import Pool, leave
from mta.delivery.quirks import Quirk, Quirks
from mta.delivery.route import Route, Target
from mta.delivery.session import (
    DeliveryError,
    DeliverySession,
    Dialer,
    Key,
    PipeliningTrouble,
    StaleTrouble,
    TlsTrouble,
)
from mta.delivery.transaction import transact
from mta.mail.delivery import Attempt, Delivery, Host, QueuedRecipient, Result, Stage
from mta.mail.reply import Reply, ReplyKind
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.observe.trace import Trace

log = get_logger()

SLOWEST = 1000  # octets a second: a message that goes out slower is given up
PER_RECIPIENT = 30.0  # seconds more for each

_INTERNAL = Reply(451, "4.3.0", "internal error; it has been logged")
_STAGES = {stage: n for n, stage in enumerate(Stage)}


class Courier:
    """``hostname``: our name in EHLO, unless the settings give another. ``verp``: makes the return paths; None: what
    bounces goes to the sender himself."""

    def __init__(
        self,
        settings: EgressSettings,
        hostname: str,
        verp: Verp | None = None,
        *,
        loopback_receivers: bool = False,
        trace: Trace | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._trace = trace
        self._metrics = metrics or Metrics()
        self._quirks = Quirks()
        self._pool = Pool(settings.timeouts.idle)
        self._turn = 0
        self._resting: frozenset[str] = frozenset()
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
        self._pool.idle = settings.timeouts.idle
        self._patience = _patience(settings.timeouts)
        self._dialer = Dialer(
            settings.timeouts,
            settings.ehlo or hostname,
            loops=loopback_receivers,
            quirks=self._quirks,
            trace=self._trace,
            metrics=self._metrics,
        )

    async def deliver(self, delivery: Delivery, plan: Route, content: bytes) -> Attempt:
        """One attempt; a result for every recipient. ``content``: CRLF line ends, as it is to arrive."""
        loop = asyncio.get_running_loop()
        started_at, began = datetime.now(UTC), loop.time()
        limit = began + self._patience + len(delivery.recipients) * PER_RECIPIENT + len(content) / SLOWEST
        job = _Job(delivery, plan, content, limit, list(delivery.recipients))
        try:
            await self._try_hosts(job)
        except Exception:
            log.exception("delivery attempt failed", message=delivery.message_id)
            job.troubles.append(DeliveryError(Stage.CONNECT, _INTERNAL))
        return job.attempt(started_at, loop.time() - began)

    async def close(self) -> None:
        """Take leave of the receivers that idle connections are open to."""
        await self._pool.close()

    async def _try_hosts(self, job: _Job) -> None:
        for target in self._order(job.plan):
            trouble = await self._serve_at(target, job)
            if trouble is None:
                return
            job.troubles.append(trouble)
            if job.is_over:
                return

    async def _serve_at(self, target: Target, job: _Job) -> DeliveryError | None:
        """Serve who is left, at this host. The trouble that keeps it from serving them all, if any."""
        cured: set[type[DeliveryError]] = set()
        trouble: DeliveryError | None = None
        while job.left:
            try:
                trouble = await self._serve_some(target, job, fresh=trouble is not None)
            except DeliveryError as error:
                trouble = error
                if trouble.stage is not Stage.CONNECT:
                    job.host = Host(target.name, target.address)
            if trouble is not None:
                if job.is_over or type(trouble) in cured or not self._cure(trouble, target):
                    return trouble
                cured.add(type(trouble))
        return None

    def _cure(self, trouble: DeliveryError, target: Target) -> bool:
        """Whether the same host is worth another session at once, without what went wrong."""
        match trouble:
            case StaleTrouble():
                return True
            case TlsTrouble():
                self._quirks.note(target.address, Quirk.BROKEN_TLS)
                return True
            case PipeliningTrouble():
                self._quirks.note(target.address, Quirk.BROKEN_PIPELINING)
                return True
            case _:
                return False

    async def _serve_some(self, target: Target, job: _Job, *, fresh: bool) -> DeliveryError | None:
        """One transaction, on an idle connection or on a new one. Raises Trouble if there is none."""
        session = None if fresh else self._idle(target, job.plan)
        if session is None:
            session = await self._dialer.dial(target, self._next_key(target, job.plan), job.plan.login, job.limit)
        session.wire.limit = job.limit
        job.at(session)
        timeouts = self._settings.timeouts
        try:
            progress = await transact(
                session, job.delivery, job.left, job.content, timeouts, self._settings.max_recipients, self._verp
            )
        except BaseException:
            session.wire.abort()
            raise
        job.note(session)
        self._keep(session, job.plan)
        job.results += progress.results
        job.left = progress.left
        return progress.trouble

    def _keep(self, session: DeliverySession, plan: Route) -> None:
        most = plan.shaping.messages_per_connection
        if session.extensions.transactions is not None:
            most = min(most, session.extensions.transactions)
        if session.transactions < most:
            self._pool.put(session)
        else:
            leave(session)

    def rest(self, sources: frozenset[str]) -> None:
        """These sources are not used as long as there are others."""
        self._resting = sources

    # --- which host, from which source

    def _order(self, plan: Route) -> Sequence[Target]:
        """The hosts to try; one that a connection is open to comes first, whatever its preference."""
        tries = plan.tries()[: self._settings.max_hosts]
        if len(tries) > 1 and len(self._pool):
            return sorted(tries, key=lambda target: not self._pool.has(self._keys(target, plan)))
        return tries

    def _keys(self, target: Target, plan: Route) -> list[Key]:
        username = plan.login.username if plan.login else None
        six = ":" in target.address
        able = [source for source in self._settings.sources if (":" in source) == six]
        sources: list[str | None] = [source for source in able if source not in self._resting] or [*able]
        return [Key(source, target.address, target.port, plan.tls, username) for source in sources or [None]]

    def _idle(self, target: Target, plan: Route) -> DeliverySession | None:
        for key in self._keys(target, plan):
            if session := self._pool.take(key):
                return session
        return None

    def _next_key(self, target: Target, plan: Route) -> Key:
        """The sources take turns."""
        keys = self._keys(target, plan)
        self._turn += 1
        return keys[self._turn % len(keys)]


def _patience(settings: Timeouts) -> float:
    """Seconds up to DATA, however the receivers spread their slowness over the stages and hosts."""
    before_mail = settings.connect + settings.greeting + settings.hello + settings.starttls
    return before_mail + settings.mail + settings.rcpt + settings.data


@dataclass(slots=True, eq=False)
class _Job:
    """An attempt under way."""

    delivery: Delivery
    plan: Route
    content: bytes
    limit: float  # loop time
    left: list[QueuedRecipient]
    results: list[Result] = field(default_factory=list)
    troubles: list[DeliveryError] = field(default_factory=list)
    host: Host | None = None
    source: str | None = None
    dsn: bool = True
    strays: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self.limit

    def at(self, session: DeliverySession) -> None:
        """The session that is used now, for the record."""
        self.host = Host(session.target.name, session.target.address, session.tls)
        self.source = session.source
        self.dsn = self.dsn and session.extensions.dsn

    def note(self, session: DeliverySession) -> None:
        """What the receiver said without being asked."""
        self.strays += [str(Reply.parse(answer.code, answer.text)) for answer in session.wire.strays]

    def attempt(self, started_at: datetime, seconds: float) -> Attempt:
        results = tuple(self.results)
        if self.left:
            worst = max(self.troubles, key=_weight)
            results += tuple(Result(recipient, worst.stage, worst.reply) for recipient in self.left)
        transcript = "\n".join(self.strays) or None
        dsn = self.dsn and self.source is not None
        return Attempt(self.delivery, results, started_at, seconds, self.host, self.source, transcript, dsn)


def _weight(trouble: DeliveryError) -> tuple[int, bool]:
    """Of several hosts' troubles, the one that got furthest is told; of equals, one that gives hope."""
    return _STAGES[trouble.stage], trouble.reply.kind is not ReplyKind.PERMANENT
