"""Whoever gets the mail can answer it."""

from __future__ import annotations

import pytest

from policy.rules.sender.reply_address import ReplyAddress
from tests.unit.policy.make import CONTEXT, account, ask, facts, message

RULE = ReplyAddress(ReplyAddress.Settings(), CONTEXT)
LENIENT = ReplyAddress(ReplyAddress.Settings(no_reply="allow", foreign="allow"), CONTEXT)
FROM = "From: Ann <ann@shop.example>\r\n"


def test_replies_go_to_the_author() -> None:
    assert ask(RULE) == "pass: replies go to ann@shop.example"


def test_replies_go_to_reply_to_if_there_is_one() -> None:
    head = "From: noreply@shop.example\r\nReply-To: Service <help@bücher.example>\r\n"
    assert ask(RULE, message(head)) == "pass: replies go to help@xn--bcher-kva.example"


@pytest.mark.parametrize(
    "local",
    ["noreply", "no-reply", "No.Reply", "no_reply", "noreply2", "shop-noreply", "noreply+news", "donotreply",
     "do-not-reply", "niet-beantwoorden", "geen.antwoord", "nichtantworten", "keine-antwort", "ne-pas-repondre",
     "ne_pas_répondre", "no-responder", "NORESPONDER", "ｎｏｒｅｐｌｙ", '"noreply"'],
)  # fmt: skip
def test_nobody_reads_it(local: str) -> None:
    subject = message(f"From: {local}@shop.example\r\n")
    answer = ask(RULE, subject)
    assert answer.startswith("refuse: 550 5.7.1 reply_address:")
    assert answer.endswith("says that replies are not read; use an address that is read")
    assert ask(LENIENT, subject).startswith("pass")


@pytest.mark.parametrize("local", ["ann", "reply", "casinoreply", "answers", "norepl", "arno.reply"])
def test_somebody_may_read_it(local: str) -> None:
    assert ask(RULE, message(f"From: {local}@shop.example\r\n")).startswith("pass")


@pytest.mark.parametrize("head", [FROM, "From: ann@xn--bcher-kva.example\r\nReply-To: ann@shop.example\r\n"])
def test_a_domain_that_takes_no_mail(head: str) -> None:
    known = facts(account(deaf=frozenset({"shop.example"})))
    assert "takes no mail; publish an MX record for it, or use another domain" in ask(RULE, message(head), known)


def test_a_foreign_place_for_replies() -> None:
    subject = message(f"{FROM}Reply-To: eve@evil.example\r\n")
    assert ask(RULE, subject) == (
        "refuse: 550 5.7.1 reply_address: Reply-To eve@evil.example is not of this account; use one of its domains or "
        "register evil.example for it and prove that it is yours"
    )
    assert ask(LENIENT, subject) == "pass: replies go to eve@evil.example"


@pytest.mark.parametrize("value", ["", "Ann", "a@shop.example, b@shop.example", "ann@shop.example <eve@evil.example>"])
def test_what_is_not_one_address(value: str) -> None:
    assert "reply_address: the Reply-To field" in ask(LENIENT, message(f"{FROM}Reply-To: {value}\r\n"))


def test_no_address_at_all() -> None:
    assert "there is no address for replies" in ask(RULE, message("Subject: x\r\n"))
