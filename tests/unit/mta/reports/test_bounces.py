"""What follows from a report that came to a return path: who is suppressed, and who is not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bounce.parsers.report_kinds import Report, ReportedAction, ReportedRecipient, ReportKind
from bounce.suppression import SoftBounce
from mta.mail.address import Address
from mta.mail.delivery import Action, Classification, Fault
from mta.mail.identity import MessageId, new_message_id
from mta.mail.message import Stream
from mta.mail.reply import Reply
from mta.observe.labels import InboundReportKind
from mta.reports.bounces import actions_of_bounce
from mta.store.results.report_actions import (
    CountReport,
    CountStats,
    RecordEvent,
    RecordSoftBounce,
    ReportAction,
    SentMessage,
    Suppress,
)
from policy.permission.suppression import Reason, SuppressionRequest
from policy.reputation.breaker import ONE_UNKNOWN, MailOrigin

ANN, BEN, EVE = (Address.parse(f"{name}@example.com") for name in ("ann", "ben", "eve"))
NO_USER = Reply(550, "5.1.1", "no such user")
HARD = Classification("bad_mailbox", Fault.RECIPIENT, Action.SUPPRESS, "user-unknown", hard=True)
FULL = Classification("mailbox_full", Fault.RECIPIENT, Action.FAIL, "full")
POLICY = Classification("policy", Fault.SENDER, Action.FAIL, "dmarc")


def sent(*recipients: Address | None) -> SentMessage:
    return SentMessage(new_message_id(), 7, None, recipients or (ANN,), Stream.MARKETING, "spring", {0: "gmail"})


def part(
    address: Address | None, meaning: Classification = HARD, action: ReportedAction = ReportedAction.FAILED
) -> ReportedRecipient:
    return ReportedRecipient(
        action, address, address, "5.1.1", NO_USER, "no such user", host="mx.example.com", classification=meaning
    )


@dataclass(frozen=True)
class Found:
    """The actions about one recipient, by type."""

    key: bytes | None
    kind: InboundReportKind
    event: RecordEvent
    suppression: SuppressionRequest | None = None
    soft: SoftBounce | None = None
    stats: CountStats | None = None

    @property
    def place(self) -> tuple[MessageId | None, int | None, int | None]:
        return self.event.message_id, self.event.recipient_index, self.event.account_id


def follow(about: SentMessage, n: int, *parts: ReportedRecipient, kind: ReportKind = ReportKind.BOUNCE) -> list[Found]:
    report = Report(kind, "rfc3464", parts)
    actions = actions_of_bounce(report, about, n, lambda address: address.key.encode())
    keys = dict.fromkeys(action.dedup_key for action in actions)
    return [found_in([action for action in actions if action.dedup_key == key]) for key in keys]


def found_in(actions: list[ReportAction]) -> Found:
    of = {type(action): action for action in actions}
    assert len(of) == len(actions)
    count, event = of.pop(CountReport), of.pop(RecordEvent)
    suppress, soft, stats = of.pop(Suppress, None), of.pop(RecordSoftBounce, None), of.pop(CountStats, None)
    assert not of
    assert isinstance(count, CountReport)
    assert isinstance(event, RecordEvent)
    return Found(
        count.dedup_key,
        count.kind,
        event,
        suppress.request if isinstance(suppress, Suppress) else None,
        soft.bounce if isinstance(soft, RecordSoftBounce) else None,
        stats if isinstance(stats, CountStats) else None,
    )


def test_an_unknown_user_is_suppressed_for_the_account() -> None:
    about = sent()
    (found,) = follow(about, 0, part(ANN))
    assert (found.kind, found.event.kind, found.place) == (InboundReportKind.BOUNCE, "bounced_async", (about.id, 0, 7))
    assert found.suppression
    assert (
        found.suppression.address,
        found.suppression.account_id,
        found.suppression.topic,
        found.suppression.reason,
    ) == (ANN, 7, "", Reason.HARD_BOUNCE)
    assert found.suppression.evidence == "mx.example.com said 550 5.1.1 no such user"
    assert found.stats
    assert (found.stats.origin, found.stats.counts) == (
        MailOrigin(7, Stream.MARKETING, "spring", "gmail"),
        ONE_UNKNOWN,
    )
    assert found.soft is None


def test_the_return_path_names_the_recipient_where_the_report_does_not() -> None:
    (found,) = follow(sent(BEN, ANN), 1, part(None))
    assert found.event.recipient_index == 1
    assert found.suppression
    assert found.suppression.address == ANN


@pytest.mark.parametrize("classification", [FULL, POLICY])
def test_softer_replies_suppress_nobody(classification: Classification) -> None:
    (found,) = follow(sent(), 0, part(ANN, classification))
    assert (found.suppression, found.stats) == (None, None)
    assert bool(found.soft) is (classification is FULL)


def test_a_failure_behind_the_address_is_a_soft_bounce() -> None:
    (found,) = follow(sent(), 0, part(EVE))
    assert found.suppression is None
    assert found.soft
    assert found.soft.address == ANN


def test_a_delay_stays_a_delay() -> None:
    (found,) = follow(sent(), 0, part(ANN, action=ReportedAction.DELAYED))
    assert (found.kind, found.event.kind) == (InboundReportKind.DELAY, "delay_reported")
    assert (found.suppression, found.soft, found.stats) == (None, None, None)


def test_a_failure_goes_before_a_delay_of_the_same_recipient() -> None:
    (found,) = follow(sent(), 0, part(ANN, action=ReportedAction.DELAYED), part(ANN))
    assert found.event.kind == "bounced_async"


def test_a_report_speaks_of_the_recipient_whose_return_path_it_came_to() -> None:
    (own,) = follow(sent(ANN, BEN), 1, part(ANN), part(EVE), part(BEN))
    assert own.event.recipient_index == 1
    assert own.suppression
    assert own.suppression.address == BEN
    (named,) = follow(sent(ANN, BEN), 0, part(BEN))
    assert (named.event.recipient_index, named.suppression) == (0, None)
    assert named.soft
    assert named.soft.address == ANN


def test_nothing_follows_for_an_erased_recipient() -> None:
    assert follow(sent(None), 0, part(ANN)) == []
    assert follow(sent(ANN), 5, part(ANN)) == []


@pytest.mark.parametrize("kind", [ReportKind.AUTO_REPLY, ReportKind.CHALLENGE, ReportKind.RECEIPT, ReportKind.OTHER])
def test_auto_replies_are_recorded_once(kind: ReportKind) -> None:
    about = sent()
    (first,), (second,) = follow(about, 0, part(ANN), kind=kind), follow(about, 0, kind=kind)
    assert (first.event.kind, first.suppression, first.soft) == ("auto_reply", None, None)
    assert first.key == second.key


def test_dedup_keys_tell_recipients_messages_and_actions_apart() -> None:
    about = sent(ANN, BEN)
    found = [
        *follow(about, 0, part(ANN)),
        *follow(about, 1, part(BEN)),
        *follow(about, 0, part(ANN, action=ReportedAction.DELAYED)),
        *follow(sent(), 0, part(ANN)),
    ]
    assert len({each.key for each in found}) == 4
