"""What follows from a report, by the mailbox that it came to and the facts about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bounce.suppression import SoftBounceThresholds
from mta.mail.address import Address
from mta.mail.identity import MessageId, first_id_at, format_id, new_message_id
from mta.mail.message import Stream
from mta.observe.labels import InboundReportKind as Kind
from mta.observe.labels import UnsubscribeMethod
from mta.reports.attribution import AttributedReport, attribute
from mta.reports.process import process, signature_matters
from mta.store.results.report_actions import (
    AnswerCase,
    CountReport,
    CountStats,
    CountUnsubscribe,
    Forward,
    InboundReport,
    OpenCase,
    RecordEvent,
    ReportAction,
    ReportFacts,
    SendReceipt,
    SentMessage,
    Suppress,
    Unsubscribe,
)
from policy.accounts.account import SERVICE_ACCOUNT, Account
from policy.languages import TextLanguage
from policy.permission.suppression import Reason
from policy.permission.tokens import COMPLAINT, UNSUBSCRIBE, Claim
from policy.reputation.breaker import MailOrigin
from policy.reputation.complaint import Source
from policy.reputation.complaint_receipt import ReceiptKind
from tests.inbound_mail import bounce, complaint, letter, vacation
from tests.unit.mta.reports import rig

NOW = datetime.now(UTC)
ANN, SHOP = Address.parse("ann@example.net"), Address.parse("news@shop.example")
MESSAGE, MAILING = new_message_id(), format_id(new_message_id())
ABUSE, FBL, UNSUB = (f"{name}@{rig.DOMAIN}" for name in ("abuse", "fbl", "unsubscribe"))
ACCOUNT = Account(7, "shop", frozenset({"shop.example"}), contact="Bob, bob@shop.example")


def address_key(address: Address) -> bytes:
    return address.key.encode().ljust(16, b".")[:16]


CONTEXT = rig.context(address_key)
SENT = SentMessage(MESSAGE, 7, SHOP, (ANN,), Stream.MARKETING, MAILING, {0: "example.net"})


def token(purpose: str, account_id: int = 7) -> str:
    return rig.TOKENS.make(Claim(purpose, account_id, address_key(ANN), MAILING, "offers"))


def path_of(message_id: MessageId, index: int = 0) -> str:
    return str(rig.VERP.make(message_id, index))


def attributed(content: bytes, *to: str, sent: Iterable[SentMessage] = (SENT,), **more: Any) -> AttributedReport:
    """A mail with the facts about it. ``more``: further facts, and the ``signer``."""
    signer, account = more.pop("signer", None), more.pop("account", ACCOUNT)
    sender = more.pop("sender", None)
    inbound = InboundReport(1, NOW, sender, tuple(map(Address.parse, to)), "192.0.2.1", "mx", content, 1)
    facts = ReportFacts({each.id: each for each in sent}, **more)
    report = attribute(inbound, CONTEXT, NOW, facts)
    return replace(report, facts=facts, accounts={account.id: account}, signer=signer)


def follow(content: bytes, *to: str, **more: Any) -> list[ReportAction]:
    return process(attributed(content, *to, **more), CONTEXT)


def of(kind: type[Any], actions: list[ReportAction]) -> Any:
    """The only action of this type, None if there is none."""
    found = [action for action in actions if isinstance(action, kind)]
    assert len(found) <= 1
    return found[0] if found else None


def counted(actions: list[ReportAction]) -> list[Kind]:
    return [action.kind for action in actions if isinstance(action, CountReport)]


class TestReturnPath:
    def test_a_hard_bounce_suppresses_and_is_forwarded_to_the_sender(self) -> None:
        path = path_of(MESSAGE)
        actions = follow(bounce(path, str(ANN)), path)
        assert counted(actions) == [Kind.BOUNCE]
        request = of(Suppress, actions).request
        assert (request.address, request.reason, request.expires_at) == (ANN, Reason.HARD_BOUNCE, None)
        forward = of(Forward, actions)
        assert (forward.to, forward.account_id) == (SHOP, 7)
        assert len({action.dedup_key for action in actions}) == 1

    @pytest.mark.parametrize(
        ("sent", "account"),
        [(SENT, replace(ACCOUNT, bounce_notifications="event")), (replace(SENT, sender=None), ACCOUNT)],
    )
    def test_but_only_to_one_that_wants_it(self, sent: SentMessage, account: Account) -> None:
        path = path_of(MESSAGE)
        actions = follow(bounce(path, str(ANN)), path, sent=[sent], account=account)
        assert counted(actions) == [Kind.BOUNCE]
        assert of(Forward, actions) is None

    def test_a_suppression_may_end(self) -> None:
        path = path_of(MESSAGE)
        lasts = SoftBounceThresholds(hard_lasts=timedelta(days=90))
        actions = process(attributed(bounce(path, str(ANN)), path), replace(CONTEXT, thresholds=lasts))
        assert of(Suppress, actions).request.expires_at == NOW + timedelta(days=90)

    def test_what_is_not_ours_is_counted_only(self) -> None:
        ours = path_of(MESSAGE)
        forged = ours[:40] + ("0" if ours[40] != "0" else "1") + ours[41:]
        old = path_of(first_id_at(NOW - timedelta(40)))
        unknown = path_of(new_message_id())
        for path, kind in ((forged, Kind.FORGED), (old, Kind.EXPIRED), (unknown, Kind.UNMATCHED)):
            assert follow(bounce(path, str(ANN)), path) == [CountReport(kind)]

    def test_an_auto_reply_is_recorded(self) -> None:
        path = path_of(MESSAGE)
        actions = follow(vacation(path), path)
        assert counted(actions) == [Kind.AUTO_REPLY]
        assert of(RecordEvent, actions).kind == "auto_reply"

    def test_a_second_recipient_of_the_same_mail_is_a_duplicate(self) -> None:
        path = path_of(MESSAGE)
        once, twice = follow(bounce(path, str(ANN)), path), follow(bounce(path, str(ANN)), path, path.upper())
        assert twice == [*once, CountReport(Kind.DUPLICATE)]


class TestComplaint:
    def returned(self, **fields: str) -> bytes:
        fields = {"Received": f"by mta.example with ESMTP id {format_id(MESSAGE)}; x"} | fields
        return "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()).encode()

    def test_a_token_names_account_recipient_and_mailing(self) -> None:
        content = complaint(self.returned(CFBL_Feedback_ID=token(COMPLAINT)))
        actions = follow(content, FBL, signer="feedback.example")
        assert counted(actions) == [Kind.COMPLAINT]
        request, case = of(Suppress, actions).request, of(OpenCase, actions).complaint
        assert (request.address_key, request.account_id, request.topic) == (address_key(ANN), 7, "*")
        assert (case.source, case.mailing, case.account_id) == (Source.FEEDBACK_LOOP, MAILING, 7)

    def test_and_an_id_of_ours_the_message(self) -> None:
        """redacted reports have no Received field; this loop keeps it."""
        content = complaint(b"").replace(b"\r\n--b--", self.returned(CFBL_Feedback_ID=token(COMPLAINT)) + b"\r\n--b--")
        actions = follow(content, FBL, signer="feedback.example")
        event, stats = of(RecordEvent, actions), of(CountStats, actions)
        assert (event.message_id, event.recipient_index) == (MESSAGE, 0)
        assert stats.origin == MailOrigin(7, Stream.MARKETING, MAILING, "example.net")
        assert of(Suppress, actions).request.address == ANN

    def test_a_return_path_in_the_report_is_enough(self) -> None:
        content = complaint(b"Subject: x\r\n").replace(
            b"Feedback-Type", f"Original-Mail-From: <{path_of(MESSAGE)}>\r\nFeedback-Type".encode()
        )
        assert of(Suppress, follow(content, FBL, signer="feedback.example")).request.address == ANN

    @pytest.mark.parametrize(
        ("more", "kind"),
        [
            ({"signer": None}, Kind.UNVERIFIED),
            ({"account": replace(ACCOUNT, id=8)}, Kind.UNMATCHED),
        ],
    )
    def test_nothing_follows_otherwise(self, more: dict[str, Any], kind: Kind) -> None:
        content = complaint(self.returned(CFBL_Feedback_ID=token(COMPLAINT)))
        assert follow(content, FBL, **{"signer": "feedback.example", **more}) == [CountReport(kind)]

    def test_nor_without_a_token(self) -> None:
        actions = follow(complaint(b"Subject: x\r\n"), FBL, signer="feedback.example")
        assert actions == [CountReport(Kind.UNMATCHED)]


class TestUnsubscribe:
    def test_by_the_token_in_the_subject(self) -> None:
        report = attributed(letter(UNSUB, token(UNSUBSCRIBE)), UNSUB)
        (claim,) = [each.claim for each in report.recipients if each.claim]
        assert process(report, CONTEXT) == [
            CountUnsubscribe(UnsubscribeMethod.MAIL),
            CountReport(Kind.UNSUBSCRIBE, account_id=7),
            Unsubscribe(claim),
        ]

    @pytest.mark.parametrize("subject", ["offers", token(COMPLAINT), token(UNSUBSCRIBE, 9)])
    def test_only_by_a_token_for_it(self, subject: str) -> None:
        assert follow(letter(UNSUB, subject), UNSUB) == [
            CountUnsubscribe(UnsubscribeMethod.UNKNOWN),
            CountReport(Kind.FORGED),
        ]

    def test_a_program_unsubscribes_with_a_subject_that_is_the_token_and_nothing_else(self) -> None:
        subject = token(UNSUBSCRIBE).encode()
        alone = vacation(UNSUB).replace(b"Away until Monday", subject)
        assert CountUnsubscribe(UnsubscribeMethod.MAIL) in follow(alone, UNSUB)
        for around in (b"Automatic reply: %s", b"Re: %s", b"%s was read", b"Undeliverable: %s"):
            quoting = vacation(UNSUB).replace(b"Away until Monday", around % subject)
            assert follow(quoting, UNSUB) == [CountReport(Kind.OTHER)]


class TestAbuseMail:
    def test_it_is_recorded_and_forwarded(self) -> None:
        actions = follow(letter(ABUSE, "Hello", "What are your hours?"), ABUSE)
        assert counted(actions) == [Kind.ABUSE_MAIL]
        event, forward = of(RecordEvent, actions), of(Forward, actions)
        assert (event.kind, event.data["about"], event.account_id) == ("abuse_mail", "other", None)
        assert (forward.to, forward.account_id) == (rig.POSTMASTER, SERVICE_ACCOUNT)

    def test_a_token_of_ours_suppresses(self) -> None:
        content = letter(ABUSE, "spam", f"I never subscribed: https://x.example/u/{token(UNSUBSCRIBE)}")
        actions = follow(content, ABUSE)
        assert counted(actions) == [Kind.COMPLAINT, Kind.ABUSE_MAIL]
        assert of(Suppress, actions).request.address_key == address_key(ANN)
        assert of(OpenCase, actions).complaint.source is Source.RECIPIENT

    def test_or_unsubscribes_who_asks_for_that(self) -> None:
        actions = follow(letter(ABUSE, "Please", f"unsubscribe me {token(COMPLAINT)}"), ABUSE)
        assert counted(actions) == [Kind.UNSUBSCRIBE, Kind.ABUSE_MAIL]
        assert of(Unsubscribe, actions).claim.account_id == 7
        assert of(Suppress, actions) is None

    @pytest.mark.parametrize(("signer", "source"), [(None, Source.RECIPIENT), ("acm.nl", Source.REGULATOR)])
    def test_a_mailing_of_ours_is_enough_for_a_case(self, signer: str | None, source: Source) -> None:
        content = letter(ABUSE, "spam", f"I never subscribed. Mailing-ID: {MAILING}")
        actions = follow(content, ABUSE, mailing=(MAILING, 7), signer=signer)
        assert counted(actions) == [Kind.COMPLAINT, Kind.ABUSE_MAIL]
        request = of(Suppress, actions)
        assert (request.request.reason if request else None) is (None if signer else Reason.REQUESTED)
        assert of(OpenCase, actions).complaint.source is source
        assert of(CountStats, actions).origin == MailOrigin(7, Stream.MARKETING, MAILING)

    @pytest.mark.parametrize("mailbox", [ABUSE, UNSUB, f"postmaster@{rig.DOMAIN}"])
    @pytest.mark.parametrize(
        ("signer", "reason"),
        [(None, Reason.REQUESTED), ("example.net", Reason.UNSUBSCRIBE)],
        ids=["unsigned", "signed"],
    )
    def test_a_person_who_asks_for_no_more_mail_gets_none(
        self, mailbox: str, signer: str | None, reason: Reason
    ) -> None:
        content = letter(mailbox, "Uitschrijven", "Graag uitschrijven.\r\n> unsubscribe", author="ann@example.net")
        actions = follow(content, mailbox, mailed_by=(7,), signer=signer)
        request = of(Suppress, actions).request
        assert (request.address, request.account_id, request.topic, request.reason) == (ANN, 7, "*", reason)
        assert of(OpenCase, actions) is None
        assert (of(Forward, actions) is None) is (mailbox == UNSUB), "what is settled needs no person"

    def test_an_empty_mail_to_the_mailbox_for_that_is_one(self) -> None:
        empty = letter(UNSUB, "", "\n", author="ann@example.net")
        assert of(Suppress, follow(empty, UNSUB, mailed_by=(7,))).request.address == ANN
        assert of(Suppress, follow(letter(ABUSE, "", "\n", author="ann@example.net"), ABUSE, mailed_by=(7,))) is None

    def test_nobody_is_stopped_who_did_not_mail_the_writer(self) -> None:
        actions = follow(letter(UNSUB, "unsubscribe", author="ann@example.net"), UNSUB)
        assert counted(actions) == [Kind.ABUSE_MAIL]
        assert of(Suppress, actions) is None
        assert of(Forward, actions)

    def test_a_complaint_without_id_is_a_case_only_of_the_one_who_mailed_the_writer(self) -> None:
        content = letter(ABUSE, "spam", "I never subscribed.", author="ann@example.net")
        one = follow(content, ABUSE, mailed_by=(7,))
        assert (of(OpenCase, one).complaint.account_id, of(OpenCase, one).complaint.mailing) == (7, None)
        two = follow(content, ABUSE, mailed_by=(7, 8))
        assert of(OpenCase, two) is None
        assert [each.request.account_id for each in two if isinstance(each, Suppress)] == [7, 8]

    def test_a_reply_to_the_return_path_unsubscribes_its_recipient_alone(self) -> None:
        path = path_of(MESSAGE)
        asked = letter(path, "Re: Offers", "Please unsubscribe me", author=str(ANN))
        assert of(Unsubscribe, follow(asked, path, sender=str(ANN))).claim.address_key == address_key(ANN)
        other = letter(path, "Re: Offers", "Please unsubscribe me", author="eve@example.net")
        bounced = letter(path, "Failure", "rejected as spam; please unsubscribe", author=str(ANN))
        for content, sender in ((other, "eve@example.net"), (bounced, None), (bounced, str(ANN))):
            actions = follow(content, path, sender=sender)
            assert of(Unsubscribe, actions) is None
            assert of(Suppress, actions) is None
            assert of(OpenCase, actions) is None

    @pytest.mark.parametrize(
        ("author", "signer", "proven"),
        [
            ("bob@shop.example", "shop.example", True),
            ("bob@shop.example", None, False),
            ("bob@evil.example", "evil.example", None),
            ("bob@evil.example", None, None),
        ],
    )
    def test_an_account_replies_about_its_case(self, author: str, signer: str | None, proven: bool | None) -> None:
        content = letter(ABUSE, "Re: [C-3] Complaint", "We have unsubscribed the address.", author=author)
        actions = follow(content, ABUSE, f"postmaster@{rig.DOMAIN}", case_account=7, signer=signer)
        assert counted(actions) == [Kind.ABUSE_MAIL, Kind.ABUSE_MAIL]
        answer = of(AnswerCase, actions)
        assert (answer and answer.proven) is proven
        assert proven is None or (answer.case_id, answer.text, answer.by) == (
            3, "We have unsubscribed the address.", author,
        )  # fmt: skip

    def test_who_answers_at_the_address_of_the_letter_has_read_it(self) -> None:
        address = f"{rig.REPLIES.local_part(3)}@{rig.DOMAIN}"
        content = letter(address, "About your letter", "We have unsubscribed the address.", author="x@lawyer.example")
        assert attributed(content, address).query.case_id == 3
        answer = of(AnswerCase, follow(content, address, case_account=7))
        assert (answer.case_id, answer.proven) == (3, True)
        forged = address.replace("c3.", "c4.")
        assert of(AnswerCase, follow(content, forged, case_account=7)) is None

    def test_what_programs_send_is_counted_only(self) -> None:
        assert follow(vacation(ABUSE), ABUSE) == [CountReport(Kind.AUTO_REPLY)]


class TestReceipt:
    """Once, and to no program: what is answered automatically can begin a loop."""

    TEXT = f"Ich habe mich nie angemeldet: http://evil.example Mailing-ID: {MAILING}"

    def receipt(
        self, *fields: str, author: str = "ann@example.net", sender: str | None = None, text: str = TEXT
    ) -> Any:
        content = letter(ABUSE, "Buy at evil.example", text, author=author)
        content = "".join(f"{field}\r\n" for field in fields).encode() + content
        sender = author if sender is None else sender
        return of(SendReceipt, follow(content, ABUSE, mailing=(MAILING, 7), sender=sender or None))

    def test_the_writer_is_told(self) -> None:
        receipt = self.receipt("Message-ID: <1@example.net>")
        assert (receipt.to, receipt.kind, receipt.language) == (ANN, ReceiptKind.COMPLAINT, TextLanguage.DE)
        assert (receipt.senders, receipt.in_reply_to) == (("shop",), "<1@example.net>")
        assert self.receipt("Message-ID: <buy at evil.example>").in_reply_to is None
        assert self.receipt(text=f"unsubscribe {MAILING}").kind is ReceiptKind.STOPPED

    def test_what_nobody_was_found_for_is_asked_about(self) -> None:
        content = letter(ABUSE, "spam", "I never subscribed.", author="ann@example.net")
        assert of(SendReceipt, follow(content, ABUSE, sender="ann@example.net")).kind is ReceiptKind.UNKNOWN
        other = letter(ABUSE, "Hello", "What are your hours?", author="ann@example.net")
        assert of(SendReceipt, follow(other, ABUSE, sender="ann@example.net")) is None

    @pytest.mark.parametrize(
        "field",
        [
            "Auto-Submitted: auto-replied", "Auto-Submitted: auto-generated; x=y", "Precedence: bulk",
            "Precedence: list", "List-Id: <talk.example.net>", "List-Unsubscribe: <https://x.example>",
            "X-Auto-Response-Suppress: All", "X-Loop: abuse@returns.example", "Mailing-List: x",
        ],
    )  # fmt: skip
    def test_no_program_and_no_list_is_answered(self, field: str) -> None:
        assert self.receipt(field) is None

    @pytest.mark.parametrize(
        ("author", "sender"),
        [
            ("ann@example.net", ""),
            ("ann@example.net", "list-bounces@example.net"),
            ("mailer-daemon@example.net", None),
            ("no-reply@example.net", None),
            (f"abuse@{rig.DOMAIN}", None),
            ("ann@mta.example", None),
        ],
    )
    def test_nor_the_null_sender_nor_ourselves(self, author: str, sender: str | None) -> None:
        assert self.receipt(author=author, sender=sender) is None


class TestSignature:
    """The DNS is asked only where it matters."""

    def test_of_complaints_that_came_to_a_mailbox_of_ours(self) -> None:
        content = complaint(b"Subject: x\r\n")
        assert signature_matters(attributed(content, FBL), CONTEXT)
        assert signature_matters(attributed(content, path_of(MESSAGE)), CONTEXT)
        assert not signature_matters(attributed(content, path_of(new_message_id())), CONTEXT)
        assert not signature_matters(attributed(content, UNSUB), CONTEXT)

    def test_of_mail_about_a_mailing_without_a_token(self) -> None:
        text = f"I never subscribed. Mailing-ID: {MAILING}"
        assert signature_matters(attributed(letter(ABUSE, "spam", text), ABUSE, mailing=(MAILING, 7)), CONTEXT)
        assert not signature_matters(attributed(letter(ABUSE, "spam", text), ABUSE), CONTEXT)
        with_token = letter(ABUSE, "spam", f"{text} {token(UNSUBSCRIBE)}")
        assert not signature_matters(attributed(with_token, ABUSE, mailing=(MAILING, 7)), CONTEXT)

    def test_of_replies_from_the_account(self) -> None:
        for author, matters in (("bob@shop.example", True), ("bob@evil.example", False)):
            content = letter(ABUSE, "Re: [C-3] Complaint", author=author)
            assert signature_matters(attributed(content, ABUSE, case_account=7), CONTEXT) is matters

    def test_of_nothing_else(self) -> None:
        path = path_of(MESSAGE)
        for content, to in ((bounce(path, str(ANN)), path), (vacation(ABUSE), ABUSE), (letter(ABUSE, "Hi"), ABUSE)):
            assert not signature_matters(attributed(content, to), CONTEXT)


def test_what_is_to_be_read() -> None:
    """One query for all recipients of the mail; of a message named twice, all recipients."""
    path = path_of(MESSAGE, 3)
    query = attributed(bounce(path, str(ANN)), path).query
    assert (query.messages, query.mailings, query.case_id) == (((MESSAGE, 3),), (), None)
    query = attributed(bounce(path, str(ANN)), path, path_of(MESSAGE, 4)).query
    assert query.messages == ((MESSAGE, None),)
    query = attributed(letter(ABUSE, "spam", f"I never subscribed. Mailing-ID: {MAILING}"), ABUSE).query
    assert (query.messages, query.mailings) == ((), (MAILING,))
    query = attributed(letter(ABUSE, "Re: [C-3] Complaint"), ABUSE).query
    assert query.case_id == 3
