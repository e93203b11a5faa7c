"""The rules that write a footer: what they ask for all the same, and what they record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mta.mail.address import Address
from mta.mail.message import Message
from policy.accounts.account import Identity
from policy.base import Facts, RecipientFacts
from policy.chain import Chain, Screened, personalise, screen
from policy.permission.tokens import SampleTokens
from policy.rule_context import RuleContext
from policy.rules.content.imprint import Imprint
from policy.rules.content.unsubscribe import UnsubscribeLink
from policy.text.message_text import MessageText
from tests.unit.policy import identities as known
from tests.unit.policy.make import HEAD, NOW, account, facts, message

CONTEXT = RuleContext("mx.example", SampleTokens(), web_url="https://mail.example.com")
BOB = RecipientFacts(Address.parse("bob@example.net"), key=bytes(16))


def run(subject: Message, *identities: Identity, context: RuleContext = CONTEXT, fields: list[str] | None = None,
        **how: frozenset[str]) -> Screened:  # fmt: skip
    settings = Imprint.Settings.model_validate({"footer": "append", "fields": fields or ["name", "address"]})
    rules = [Imprint(settings, context), UnsubscribeLink(UnsubscribeLink.Settings(footer="append"), context)]
    sender = account(identities=identities or (known.BOLLENHOF, known.BOLLENHOF_EN))
    reading = facts(sender, recipients=(BOB,), reading=MessageText(subject.content))
    chain = Chain(rules, **how)
    assert chain.shared == ()
    return personalise(chain, screen(chain, subject, reading, NOW).message, reading, NOW)


@pytest.mark.parametrize(
    "identity",
    [known.BOLLENHOF, known.WANDERFUCHS, known.CAVE, known.ALMAZARA, known.MOORWOOL],
    ids=lambda one: one.city,
)
@pytest.mark.parametrize("kind", ["plain", "html"])
def test_what_is_written_is_what_would_be_required(identity: Identity, kind: str) -> None:
    made = run(message(f"{HEAD.decode()}Content-Type: text/{kind}\r\n", b"<p>Hello</p>\r\n"), identity)
    fields = ["name", "address", "phone", "email", "register", "vat", "representative"]
    rules = [Imprint(Imprint.Settings.model_validate({"fields": fields}), CONTEXT),
             UnsubscribeLink(UnsubscribeLink.Settings(), CONTEXT)]  # fmt: skip
    reading = Facts(account(identities=(identity,)), reading=MessageText(made.message.content))
    if kind == "plain":
        assert screen(Chain(rules), made.message, reading, NOW).refusal is None
    else:
        assert identity.names[0].split()[0].encode() in made.message.content


def test_the_record_says_who_and_in_which_language() -> None:
    made = run(message(HEAD + b"Content-Type: text/html\r\n", b"<html lang=en><p>Hello"))
    assert [(each.policy, each.verdict, each.evidence) for each in made.findings] == [
        ("imprint", "amend", "the registered imprint was written into the message: Bollenhof Bulbs Ltd (en)"),
        ("unsubscribe", "amend", "our own link was written into the message: en"),
    ]
    other = run(message(HEAD + b"Content-Type: text/html\r\n", b"<html lang=pl><p>Hello"))
    assert "Bollenhof Lisse B.V. (nl)" in other.findings[0].evidence


def test_the_logo_and_the_registration_are_asked_for_all_the_same() -> None:
    made = run(message(HEAD + b"Content-Type: text/html\r\n", b"<p>Hello"), fields=["logo", "name"])
    assert "no logo shows" in str(made.refusal)
    assert "has no postal address" in str(run(message(), replace(known.BOLLENHOF, street="")).refusal)


def test_an_obstacle_before_the_applications_own_link_is_one_all_the_same() -> None:
    made = run(message(body=b"Unsubscribe (log in first): https://shop.example/unsubscribe\r\n"))
    assert "is barred by" in str(made.refusal)


def test_without_an_address_of_ours_there_is_no_link() -> None:
    assert "web.public.url" in str(run(message(), context=RuleContext("mx.example", SampleTokens())).refusal)


def test_a_message_that_cannot_be_written_into_is_refused_with_the_remedy() -> None:
    made = run(message(HEAD + b"Content-Type: text/html\r\n", b"<dialog open>over</dialog>"))
    assert "imprint: no footer can be written: <dialog> could keep the footer from showing" in str(made.refusal)
    assert made.message.content.endswith(b"</dialog>")


def test_observed_rules_write_nothing() -> None:
    subject = message()
    made = run(subject, observed=frozenset({"imprint", "unsubscribe"}))
    assert made.message.content == subject.content
    assert {each.verdict for each in made.findings} == {"observe"}
