"""Decide what follows from an asynchronous bounce: mail that came to one of our return paths.

The return path identifies the message and its recipient; the report only says what happened to it.

Invariants: Only the recipient to whose return path the report came is suppressed, and only for the recipient's own
fault. No recipient is suppressed for a delay, an auto-reply or the failure of an address that the mail was forwarded
to; the last counts as a soft bounce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bounce.parsers.report_kinds import Report, ReportedAction, ReportedRecipient, ReportKind
from bounce.suppression import SoftBounce
from mta.mail.address import Address
from mta.mail.delivery import Action, Classification, Fault
from mta.mail.reply import sanitise
from mta.observe.labels import InboundReportKind
from mta.store.results.report_actions import (
    CountReport,
    CountStats,
    RecordEvent,
    RecordSoftBounce,
    ReportAction,
    SentMessage,
    Suppress,
    dedup_key,
)
from policy.permission.suppression import Reason, SuppressionRequest
from policy.reputation.breaker import ONE_HARD, ONE_UNKNOWN

MAX_TEXT = 500  # characters kept of what a receiver said
UNKNOWN_USER = "bad_mailbox"  # category of the bounce rules

AddressKey = Callable[[Address], bytes]


@dataclass(frozen=True, slots=True)
class _Match:
    """A recipient of the message, and the part of the report about it."""

    index: int
    address: Address
    part: ReportedRecipient

    @property
    def is_forwarded(self) -> bool:
        """Whether the report is about another address, behind this one."""
        return self.part.address is not None and not _names(self.part, self.address)


def actions_of_bounce(
    report: Report,
    sent: SentMessage,
    index: int,
    address_key: AddressKey,
    *,
    hard_expires_at: datetime | None = None,
) -> list[ReportAction]:
    """Return the actions for a report about recipient ``index`` of ``sent``, whomever else it names. Empty if it says
    nothing of them. ``hard_expires_at``: when a suppression for a hard bounce ends."""
    if report.kind is not ReportKind.BOUNCE:
        return _auto_reply(report, sent, index)
    match = _match(report, sent, index)
    return [] if match is None else list(_outcome(report, sent, match, address_key, hard_expires_at))


def _match(report: Report, sent: SentMessage, index: int) -> _Match | None:
    """Match the recipient with its part of the report."""
    parts = [part for part in report.recipients if part.action in (ReportedAction.FAILED, ReportedAction.DELAYED)]
    address = sent.recipient(index)
    part = _part_about(parts, address) if address else None
    return _Match(index, address, part) if address and part else None


def _part_about(parts: list[ReportedRecipient], address: Address) -> ReportedRecipient | None:
    """Return the part that names the address; else the worst one, as the report hides the address or it forwards."""
    named = [part for part in parts if _names(part, address)]
    return min(named or parts, key=lambda part: (part.action is not ReportedAction.FAILED, not part.hard), default=None)


def _names(part: ReportedRecipient, address: Address) -> bool:
    return any(known is not None and known.key == address.key for known in (part.address, part.final))


def _outcome(
    report: Report, sent: SentMessage, match: _Match, address_key: AddressKey, hard_expires_at: datetime | None
) -> Iterator[ReportAction]:
    part, found = match.part, match.part.classification
    failed = part.action is ReportedAction.FAILED
    key = dedup_key(part.action.value, sent.id, match.index)
    yield CountReport(InboundReportKind.BOUNCE if failed else InboundReportKind.DELAY, key, sent.account_id)
    yield RecordEvent(
        key,
        "bounced_async" if failed else "delay_reported",
        _event_data(report, part, match.address),
        sent.account_id,
        sent.id,
        match.index,
    )
    if not failed or found is None:
        return
    evidence = _evidence(report, part)
    if found.action is Action.SUPPRESS and not match.is_forwarded:
        yield Suppress(
            key,
            SuppressionRequest(
                address_key(match.address),
                sent.account_id,
                Reason.HARD_BOUNCE,
                found.rule,
                address=match.address,
                detail=found.category,
                evidence=evidence,
                message_id=sent.id,
                expires_at=hard_expires_at,
            ),
        )
        counts = ONE_UNKNOWN if found.category == UNKNOWN_USER else ONE_HARD
        yield CountStats(key, sent.origin(match.index), counts)
    elif found.fault is Fault.RECIPIENT:
        yield RecordSoftBounce(key, _soft_bounce(sent, match, found, evidence, address_key))


def _soft_bounce(
    sent: SentMessage, match: _Match, found: Classification, evidence: str, address_key: AddressKey
) -> SoftBounce:
    return SoftBounce(
        address_key(match.address),
        sent.account_id,
        found.category,
        sent.mailing or "",
        found.rule,
        evidence,
        match.address,
        sent.id,
    )


def _evidence(report: Report, part: ReportedRecipient) -> str:
    said = f"{part.host or report.reporter or 'a report'} said {part.reply}"
    return sanitise(" ".join(said.split()), MAX_TEXT)


def _event_data(report: Report, part: ReportedRecipient, address: Address) -> dict[str, Any]:
    data: dict[str, Any] = {
        "recipient": str(address),
        "status": part.status,
        "text": sanitise(part.reply.text if part.reply else part.diagnostic, MAX_TEXT),
        "host": part.host,
        "form": report.form,
    }
    if found := part.classification:
        data |= {"category": found.category, "fault": found.fault.value, "rule": found.rule}
    return {name: value for name, value in data.items() if value}


def _auto_reply(report: Report, sent: SentMessage, index: int) -> list[ReportAction]:
    """An auto-reply changes nothing; it is recorded once."""
    key = dedup_key("auto_reply", report.kind.value, sent.id, index)
    kind = InboundReportKind.OTHER if report.kind is ReportKind.OTHER else InboundReportKind.AUTO_REPLY
    data = {"by": report.kind.value}
    return [
        CountReport(kind, key, sent.account_id),
        RecordEvent(key, "auto_reply", data, sent.account_id, sent.id, index),
    ]
