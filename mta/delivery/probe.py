"""Talk to the hosts of a destination as a delivery would, up to RCPT: what do they say to this source?

Hosts are tried in the order of a delivery. The first one that gets as far as an answer to MAIL is the last.

Invariants: no message is sent: there is no DATA. Only hosts that a delivery may reach are asked, and of these only
public ones, those of a static route, and in tests those on loopback addresses.
Limitations: commands go one by one, so what a host thinks of pipelining does not show.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from config.schema import Settings
from mta.delivery.client import Lost
from mta.delivery.delivery_session import (
    DeliveryError,
    DeliverySession,
    OpportunisticTlsError,
    SessionKey,
    TlsError,
)
from mta.delivery.dialer import Dialer, Quirk, Quirks
from mta.delivery.egress.paths import EgressPath
from mta.delivery.route import Route, Target
from mta.delivery.tls.dane import certified_names
from mta.delivery.tls.demand import Unfit
from mta.delivery.transaction import rcpt_command, unsupported_recipient
from mta.http_client import NotPublic, require_public
from mta.mail.address import Address
from mta.mail.delivery import QueuedRecipient, Stage
from mta.mail.message import SenderTls
from mta.mail.reply import Reply, ReplyKind
from mta.observe.metrics import Metrics
from mta.observe.trace import mask

QUIT_WITHIN = 2.0  # seconds
CLOSED_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class ProbeLine:
    """A line of the conversation. ``after``: seconds since its beginning."""

    after: float
    sent: bool
    text: str


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """What a host has shown. It was verified only if that was demanded."""

    names: tuple[str, ...]
    issuer: str
    ends: datetime


@dataclass(slots=True)
class HostProbe:
    """What one host said. ``stage``: how far it got. ``reply``: the last one, to RCPT if that was asked.

    ``demanded_by``: whose policy asks for TLS, empty for our own settings. ``tls``: version; None for plain text.
    """

    target: Target
    stage: Stage = Stage.CONNECT
    reply: Reply | None = None
    lines: list[ProbeLine] = field(default_factory=list)
    demanded_by: str = ""
    tls: str | None = None
    certificate: ShownCertificate | None = None

    @property
    def went_well(self) -> bool:
        """Whether the host objected to nothing that it was asked."""
        if self.reply is None:
            return self.stage is Stage.HELLO
        return self.stage is Stage.RECIPIENT and self.reply.kind is ReplyKind.POSITIVE


class _Transcript:
    """Keeps the lines of a session, as a TraceSink."""

    def __init__(self, lines: list[ProbeLine]) -> None:
        self.active = True
        self._lines = lines
        self._began = asyncio.get_running_loop().time()

    def line(self, side: str, session: str, peer: str, sent: bool, text: str) -> None:
        after = asyncio.get_running_loop().time() - self._began
        self._lines.append(ProbeLine(after, sent, mask(text, from_client=sent)))


@dataclass(frozen=True, slots=True)
class Prober:
    """Asks one destination. ``sender``: in MAIL, None for the null sender. ``recipient``: in RCPT; None: the end comes
    before MAIL."""

    settings: Settings
    route: Route
    path: EgressPath
    sender: Address | None
    recipient: Address | None

    async def run(self, seconds: float) -> Sequence[HostProbe]:
        """Ask, within so many seconds, of which each host may take its part. Raises Shortage, SourceFailed."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        found: list[HostProbe] = []
        reached = [each for each in self.route.tries() if self.path.source.reaches(each.address)]
        asked = reached[: self.settings.egress.max_hosts]
        for n, target in enumerate(asked):
            probe = HostProbe(target)
            found.append(probe)
            now = loop.time()
            await self._ask(probe, now + (until - now) / (len(asked) - n))
            if probe.went_well or probe.stage in (Stage.SENDER, Stage.RECIPIENT) or loop.time() >= until:
                break
        return found

    async def _ask(self, probe: HostProbe, until: float) -> None:
        """Ask one host; once more with what is enough, if TLS fails, as a delivery does."""
        target, quirks = probe.target, Quirks()
        if not self._may_reach(target):
            text = f"{target.address} is not a public address; only a static route may lead there"
            probe.reply = Reply(550, "5.4.4", text)
            return
        found = self.route.demand(target, self.path.limits, SenderTls.AS_POLICY)
        probe.demanded_by = found.by
        if isinstance(found, Unfit):
            probe.stage, probe.reply = Stage.TLS_POLICY, Reply(451, "4.7.5", f"{found.by}: {found.fault.text}")
            return
        for demand in (found.demand, found.otherwise or found.demand):
            key = SessionKey.of(self.path, self.route, target, demand)
            try:
                await self._converse(probe, key, until, quirks)
                break
            except DeliveryError as error:
                probe.stage, probe.reply = error.stage, error.reply
                if isinstance(error, OpportunisticTlsError):
                    quirks.note(target.address, Quirk.BROKEN_TLS)
                elif not (isinstance(error, TlsError) and found.otherwise):
                    break

    def _may_reach(self, target: Target) -> bool:
        if self.route.published is None or self.settings.testing.loopback_receivers:
            return True
        try:
            require_public(target.address)
        except NotPublic:
            return False
        return True

    async def _converse(self, probe: HostProbe, key: SessionKey, until: float, quirks: Quirks) -> None:
        """Open a session, ask for the recipient, and close it. Raises DeliveryError, Shortage, SourceFailed."""
        closed, dialer = asyncio.Event(), self._dialer(probe.lines, quirks)
        session: DeliverySession | None = None
        try:
            session = await dialer.dial(probe.target, key, self.route.login, self.path.limits, until, closed.set)
            probe.stage, probe.reply = Stage.HELLO, None
            probe.tls, probe.certificate = session.tls, _shown(session)
            if self.recipient is not None:
                await self._ask_for_recipient(probe, session, self.recipient)
            await session.protocol.ask(b"QUIT\r\n", (QUIT_WITHIN,))
        finally:
            if session is not None:
                session.protocol.abort()
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSED_WITHIN):
                    await closed.wait()

    async def _ask_for_recipient(self, probe: HostProbe, session: DeliverySession, recipient: Address) -> None:
        probe.stage, asked = Stage.SENDER, QueuedRecipient(0, recipient)
        for stage, address in ((Stage.SENDER, self.sender), (Stage.RECIPIENT, recipient)):
            if address and (reply := unsupported_recipient(QueuedRecipient(0, address), session.extensions)):
                probe.stage, probe.reply = stage, reply
                return
        needs_utf8 = not recipient.is_ascii or (self.sender is not None and not self.sender.is_ascii)
        mail = f"MAIL FROM:<{self.sender or ''}>{' SMTPUTF8' if needs_utf8 else ''}\r\n".encode()
        timeouts = self.settings.egress.timeouts
        if not await _say(probe, session, mail, timeouts.mail):
            return
        probe.stage = Stage.RECIPIENT
        await _say(probe, session, rcpt_command(asked, session.extensions), timeouts.rcpt)
        await session.protocol.ask(b"RSET\r\n", (timeouts.mail,))

    def _dialer(self, lines: list[ProbeLine], quirks: Quirks) -> Dialer:
        egress, testing = self.settings.egress, self.settings.testing
        return Dialer(
            egress.timeouts,
            egress.ehlo or self.settings.server.hostname,
            loops=testing.loopback_receivers,
            quirks=quirks,
            trace=_Transcript(lines),
            metrics=Metrics(),
            begun=set(),
        )


async def _say(probe: HostProbe, session: DeliverySession, command: bytes, timeout: float) -> bool:
    """Send a command, and note its reply; return whether that was positive."""
    (answer,) = await session.protocol.ask(command, (timeout,))
    probe.reply = answer.reply
    return not isinstance(answer, Lost) and answer.is_positive


def _shown(session: DeliverySession) -> ShownCertificate | None:
    """Return what the host's own certificate says, None without one that can be read."""
    for octets in session.protocol.certificates()[:1]:
        try:
            certificate = x509.load_der_x509_certificate(octets)
            names = tuple(certified_names(certificate))
            return ShownCertificate(names, certificate.issuer.rfc4514_string(), certificate.not_valid_after_utc)
        except ValueError:
            break
    return None
