"""What follows from a report that came to a return path: who is suppressed, and who is not."""

from __future__ import annotations

import pytest

from bounce.parsers.report_kinds import Report, ReportedAction, ReportedRecipient, ReportKind
from mta.mail.address import Address
from mta.mail.delivery import Action, Classification, Fault
from mta.mail.identity import new_message_id
from mta.mail.message import Stream
from mta.mail.reply import Reply
from mta.observe.labels import InboundReportKind
from mta.reports import bounces
from mta.store.results.apply_report import ReportAction, Sent
from policy.permission.suppression import Reason

ANN, BEN, EVE = (Address.parse(f"{name}@example.com") for name in ("ann", "ben", "eve"))
NO_USER = Reply(550, "5.1.1", "no such user")
HARD = Classification("bad_mailbox", Fault.RECIPIENT, Action.SUPPRESS, "user-unknown", hard=True)
FULL = Classification("mailbox_full", Fault.RECIPIENT, Action.FAIL, "full")
POLICY = Classification("policy", Fault.SENDER, Action.FAIL, "dmarc")


def sent(*recipients: Address | None) -> Sent:
    return Sent(new_message_id(), 7, None, recipients or (ANN,), Stream.MARKETING, "spring", "offers")


def part(
    address: Address | None, meaning: Classification = HARD, action: ReportedAction = ReportedAction.FAILED
) -> ReportedRecipient:
    return ReportedRecipient(
        action, address, address, "5.1.1", NO_USER, "no such user", host="mx.example.com", classification=meaning
    )


def follow(
    about: Sent, n: int | None, *parts: ReportedRecipient, kind: ReportKind = ReportKind.BOUNCE
) -> list[ReportAction]:
    return bounces.follow(Report(kind, "rfc3464", parts), about, n, lambda address: address.key.encode())


def test_a_dead_mailbox_is_suppressed_for_the_account() -> None:
    about = sent()
    (found,) = follow(about, 0, part(ANN))
    assert (found.sort, found.kind, found.message_id, found.recipient_index, found.account_id) == (
        InboundReportKind.BOUNCE, "bounced_async", about.id, 0, 7
    )  # fmt: skip
    assert found.act
    assert (found.act.address, found.act.account_id, found.act.topic, found.act.reason) == (
        ANN, 7, "", Reason.HARD_BOUNCE
    )  # fmt: skip
    assert found.act.evidence == "mx.example.com said 550 5.1.1 no such user"
    assert found.unknown
    assert found.soft is None


def test_the_return_path_names_him_where_the_report_does_not() -> None:
    (found,) = follow(sent(BEN, ANN), 1, part(None))
    assert found.recipient_index == 1
    assert found.act
    assert found.act.address == ANN


@pytest.mark.parametrize("meaning", [FULL, POLICY])
def test_softer_answers_suppress_nobody(meaning: Classification) -> None:
    (found,) = follow(sent(), 0, part(ANN, meaning))
    assert found.act is None
    assert bool(found.soft) is (meaning is FULL)


def test_another_mailbox_behind_his_own_counts_softly() -> None:
    (found,) = follow(sent(), 0, part(EVE))
    assert found.act is None
    assert found.soft
    assert found.soft.address == ANN


def test_a_delay_stays_a_delay() -> None:
    (found,) = follow(sent(), 0, part(ANN, action=ReportedAction.DELAYED))
    assert (found.sort, found.kind, found.act, found.soft) == (InboundReportKind.DELAY, "delay_reported", None, None)


def test_a_failure_goes_before_a_delay_of_the_same_recipient() -> None:
    (found,) = follow(sent(), 0, part(ANN, action=ReportedAction.DELAYED), part(ANN))
    assert found.kind == "bounced_async"


def test_of_several_only_those_of_the_envelope_count() -> None:
    found = follow(sent(ANN, BEN), None, part(BEN), part(EVE), part(None))
    assert [(each.recipient_index, each.act and each.act.address) for each in found] == [(1, BEN)]


def test_somebody_who_was_erased_is_nobody() -> None:
    assert follow(sent(None), 0, part(ANN)) == []
    assert follow(sent(ANN), 5, part(ANN)) == []


@pytest.mark.parametrize("kind", [ReportKind.AUTO_REPLY, ReportKind.CHALLENGE, ReportKind.RECEIPT, ReportKind.OTHER])
def test_answers_are_written_down_once(kind: ReportKind) -> None:
    about = sent()
    (first,), (second,) = follow(about, 0, part(ANN), kind=kind), follow(about, 0, kind=kind)
    assert (first.kind, first.act, first.soft) == ("auto_reply", None, None)
    assert first.mark == second.mark


def test_dedup_keys_tell_recipients_messages_and_actions_apart() -> None:
    about = sent(ANN, BEN)
    found = [
        *follow(about, 0, part(ANN)),
        *follow(about, 1, part(BEN)),
        *follow(about, 0, part(ANN, action=ReportedAction.DELAYED)),
        *follow(sent(), 0, part(ANN)),
    ]
    assert len({each.mark for each in found}) == 4
