"""From what came back to a return path, to what follows: an event, and for dead mailboxes a suppression.

The return path says which message it was, and mostly which recipient; the report may only say what became of him.

It must never suppress an address that the message was not sent to, nor anybody for a fault of the sender's, for a
delay, for an answer, or for an address to which his mail was passed on: that counts as a soft bounce.

*Limits.* Where a transaction had several recipients the report must name them, and each of them could name another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bounce.parsers.report_kinds import Report, ReportedAction, ReportedRecipient, ReportKind
from bounce.suppression import SoftBounce
from mta.mail.address import Address
from mta.mail.delivery import Action, Classification, Fault
from mta.mail.reply import sanitise
from mta.observe.labels import InboundReportKind
from mta.reports.dedup_key import mark
from mta.store.results.apply_report import ReportAction, Sent
from policy.permission.suppression import Reason, SuppressionRequest

WORDS = 500  # characters kept of what a receiver said
UNKNOWN_USER = "bad_mailbox"  # category of the bounce rules

KeyOf = Callable[[Address], bytes]


@dataclass(frozen=True, slots=True)
class Place:
    """A recipient of the message, and the report's part about him. ``forwarded``: it speaks of another address."""

    recipient_index: int
    address: Address
    part: ReportedRecipient

    @property
    def forwarded(self) -> bool:
        return self.part.address is not None and not _names(self.part, self.address)


def follow(report: Report, sent: Sent, n: int | None, key_of: KeyOf) -> list[ReportAction]:
    """What follows from a ``report`` that came back to the return path of ``sent``, for its recipient ``n`` or for
    several (None)."""
    if report.kind is not ReportKind.BOUNCE:
        return [_answer(report, sent, n)]
    return [_outcome(report, sent, place, key_of) for place in _places(report, sent, n)]


def _places(report: Report, sent: Sent, n: int | None) -> Iterator[Place]:
    """Whom the report is about. The return path's word goes before the report's."""
    parts = [part for part in report.recipients if part.action in (ReportedAction.FAILED, ReportedAction.DELAYED)]
    if n is not None:
        address = sent.recipients[n] if n < len(sent.recipients) else None
        if address and (part := _about(parts, address)):
            yield Place(n, address, part)
        return
    for place, address in enumerate(sent.recipients):
        if address and (named := [part for part in parts if _names(part, address)]):
            yield Place(place, address, named[0])


def _about(parts: list[ReportedRecipient], address: Address) -> ReportedRecipient | None:
    """The part that names him; else the worst one: the report hides his name, or he passes his mail on."""
    named = [part for part in parts if _names(part, address)]
    return min(named or parts, key=lambda part: (part.action is not ReportedAction.FAILED, not part.hard), default=None)


def _names(part: ReportedRecipient, address: Address) -> bool:
    return any(known is not None and known.key == address.key for known in (part.address, part.final))


def _outcome(report: Report, sent: Sent, place: Place, key_of: KeyOf) -> ReportAction:
    part, address = place.part, place.address
    failed = part.action is ReportedAction.FAILED
    meaning = part.classification
    suppresses = failed and not place.forwarded and meaning is not None and meaning.action is Action.SUPPRESS
    return ReportAction(
        mark=mark(part.action.value, sent.id, place.recipient_index),
        sort=InboundReportKind.BOUNCE if failed else InboundReportKind.DELAY,
        kind="bounced_async" if failed else "delay_reported",
        data=_told(report, part, address),
        account_id=sent.account_id,
        message_id=sent.id,
        recipient_index=place.recipient_index,
        act=_act(report, sent, place, meaning, key_of) if suppresses and meaning else None,
        unknown=meaning is not None and meaning.category == UNKNOWN_USER,
        soft=_soft(report, sent, place, meaning, key_of) if failed and meaning and not suppresses else None,
    )


def _act(report: Report, sent: Sent, place: Place, meaning: Classification, key_of: KeyOf) -> SuppressionRequest:
    return SuppressionRequest(
        key_of(place.address),
        sent.account_id,
        Reason.HARD_BOUNCE,
        meaning.rule,
        address=place.address,
        detail=meaning.category,
        evidence=_evidence(report, place.part),
        message_id=sent.id,
    )


def _soft(report: Report, sent: Sent, place: Place, meaning: Classification, key_of: KeyOf) -> SoftBounce | None:
    if meaning.fault is not Fault.RECIPIENT:
        return None
    return SoftBounce(
        key_of(place.address),
        sent.account_id,
        meaning.category,
        sent.mailing or "",
        meaning.rule,
        _evidence(report, place.part),
        place.address,
        sent.id,
    )


def _evidence(report: Report, part: ReportedRecipient) -> str:
    said = f"{part.host or report.reporter or 'a report'} said {part.reply}"
    return sanitise(" ".join(said.split()), WORDS)


def _told(report: Report, part: ReportedRecipient, address: Address) -> dict[str, Any]:
    """The event: what was said, by whom, and what it was taken for."""
    told: dict[str, Any] = {
        "recipient": str(address),
        "status": part.status,
        "text": sanitise(part.reply.text if part.reply else part.diagnostic, WORDS),
        "host": part.host,
        "form": report.form,
    }
    if part.classification:
        found = part.classification
        told |= {"category": found.category, "fault": found.fault.value, "rule": found.rule}
    return {name: value for name, value in told.items() if value}


def _answer(report: Report, sent: Sent, n: int | None) -> ReportAction:
    """A program's answer changes nothing; it is written down once."""
    known = report.kind is not ReportKind.OTHER
    return ReportAction(
        mark=mark("auto_reply", report.kind.value, sent.id, n),
        sort=InboundReportKind.AUTO_REPLY if known else InboundReportKind.OTHER,
        kind="auto_reply",
        data={"by": report.kind.value},
        account_id=sent.account_id,
        message_id=sent.id,
        recipient_index=n,
    )
