"""A credential sends only what it was made for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mta.mail.message import Message
from policy.accounts.account import Grant, Stream
from policy.accounts.purpose import Purpose
from policy.permission.marketing_signs import MailingMarks, header_marks
from policy.rules.account.stream import StreamAllowed
from policy.text.message_text import MessageText
from tests.unit.policy.make import CONTEXT, ask, facts, message

RULE = StreamAllowed(StreamAllowed.Settings(), CONTEXT)


def test_a_stream_that_is_allowed() -> None:
    assert ask(RULE) == "pass: marketing allowed"


def test_a_stream_that_is_not() -> None:
    known = facts(grant=Grant(streams=frozenset({Stream.TRANSACTIONAL})))
    assert ask(RULE, known=known) == (
        'refuse: 550 5.7.1 stream: credential "shop-1" may send transactional mail, this message is marketing; '
        "use a credential for marketing mail"
    )


def test_a_credential_without_any_stream_sends_nothing() -> None:
    known = facts(stream=Stream.TRANSACTIONAL, grant=Grant(streams=frozenset()))
    assert "may send nothing, this message is transactional" in ask(RULE, known=known)


def test_marketing_mail_has_an_envelope_sender() -> None:
    bounce = replace(message(), envelope=replace(message().envelope, sender=None))
    refusal = "refuse: 550 5.7.1 stream: marketing mail needs an envelope sender"
    assert ask(RULE, bounce).startswith(refusal)
    assert ask(RULE, bounce, known=facts(stream=Stream.TRANSACTIONAL)) == "pass: transactional allowed"


LIST_MAIL = b"From: ann@shop.example\r\nSubject: Build 9\r\nList-Id: <builds.shop.example>\r\nPrecedence: list\r\n"


def judged(subject: Message, grant: Grant | None = None, **settings: Any) -> str:
    rule = StreamAllowed(StreamAllowed.Settings(**settings), CONTEXT)
    automatic = subject.envelope.sender is None
    marks = MailingMarks(header_marks(subject.headers, automatic=automatic), MessageText(subject.content))
    known = facts(stream=Stream.TRANSACTIONAL, grant=grant or Grant(), marks=marks)
    return ask(rule, subject, known)


def test_transactional_mail_shows_no_mark_of_a_mailing() -> None:
    refusal = judged(message(LIST_MAIL))
    assert refusal.startswith(
        "refuse: 550 5.7.1 stream: the message is sent as transactional, but shows List-Id, which makes it marketing; "
    )
    assert refusal.endswith("(mta account credential scope, --allow-sign list_id)")
    link = message(body=b"Offers!\r\nUnsubscribe: https://shop.example/x\r\n")
    assert "shows a link to unsubscribe (https://shop.example/x)" in judged(link)


def test_an_operator_allows_each_sign_by_name() -> None:
    assert "shows Precedence: list" in judged(message(LIST_MAIL), allow=["list_id"])
    assert "shows List-Id" in judged(message(LIST_MAIL), Grant(signs=frozenset({"precedence"})))
    passed = judged(message(LIST_MAIL), Grant(signs=frozenset({"precedence"})), allow=["list_id"])
    assert passed == "pass: transactional allowed, although it shows List-Id, Precedence: list"


def test_a_sign_may_be_observed_first() -> None:
    both = {"observe": ["list_id", "precedence"]}
    assert judged(message(LIST_MAIL), **both).startswith(
        "observe: would refuse: 550 5.7.1 stream: the message is sent as transactional, but shows List-Id"
    )
    assert "shows Precedence: list" in judged(message(LIST_MAIL), observe=["precedence"], allow=["list_id"])
    assert judged(message(LIST_MAIL), observe=["list_id"]).startswith("refuse: 550 5.7.1 stream")
    unfit = Grant(purposes=(Purpose.parse("order: Your order *"),))
    assert "fits no sample" in judged(message(LIST_MAIL), unfit, **both)
    crowd = [f"r{n}@example.net" for n in range(21)]
    assert "would refuse" in judged(message(to=crowd), recipients=20, observe=["recipients"])


def test_an_automatic_reply_may_have_a_precedence() -> None:
    head = b"From: ann@shop.example\r\nAuto-Submitted: auto-replied\r\nPrecedence: bulk\r\n"
    assert judged(message(head, sender=None)) == "pass: transactional allowed"
    assert "shows Precedence: bulk" in judged(message(head))
    assert "shows List-Id" in judged(message(LIST_MAIL, sender=None))


def test_many_recipients_make_a_mailing() -> None:
    crowd = [f"r{n}@example.net" for n in range(21)]
    assert "shows 21 recipients at once (limit 20)" in judged(message(to=crowd), recipients=20)
    assert judged(message(to=crowd[:20]), recipients=20).startswith("pass")


def test_what_was_reviewed_is_sent_and_nothing_else() -> None:
    grant = Grant(purposes=(Purpose.parse("order: Your order *"), Purpose.parse("password: Reset your password")))
    order = message("From: ann@shop.example\r\nSubject: =?utf-8?q?Your_order_17?=\r\n")
    offers = message("From: ann@shop.example\r\nSubject: Autumn offers\r\n")
    assert judged(order, grant, purpose="required").endswith("fits order: Your order *")
    for purpose in ("required", "optional"):
        assert 'the subject "Autumn offers" fits no sample' in judged(offers, grant, purpose=purpose)
    assert "was granted for (nothing)" in judged(order, purpose="required")
    assert judged(order, purpose="optional") == "pass: transactional allowed"


def test_one_text_to_many_makes_a_mailing() -> None:
    rule = StreamAllowed(StreamAllowed.Settings(repeats=500), CONTEXT)
    for repeats, refused in ((500, False), (501, True)):
        said = ask(rule, known=facts(stream=Stream.TRANSACTIONAL, repeats=repeats))
        assert ("shows the same text to 501 recipients within an hour (limit 500)" in said) is refused
