"""The fields that the service writes: each once, in its own words, folded as RFC 5322 asks, with tokens it can read."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.address import Address
from mta.mail.headers import Headers
from mta.mail.identity import new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient, Stream
from policy.accounts.account import Account
from policy.accounts.checked_pages import CheckedPage, CheckedPages, shape_of
from policy.accounts.mailing import Mailing
from policy.base import Amend, Facts, Pass, RecipientFacts, Refuse, Verdict
from policy.chain import Chain, personalise
from policy.header_fields import StampError, fold, named, stamp
from policy.permission.tokens import Claim, Tokens
from policy.rule_context import RuleContext
from policy.rules.mailing.cfbl import Cfbl
from policy.rules.mailing.csa import CsaComplaints
from policy.rules.mailing.feedback_id import FeedbackId
from policy.rules.mailing.list_id import ListId, label
from policy.rules.mailing.list_unsubscribe import ListUnsubscribe
from policy.rules.mailing.mailing_id import MailingId

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANN = Address.parse("ann@example.net")
KEY = bytes(range(16))
TOKENS = Tokens(bytes(32))
CONTEXT = RuleContext("mx.example.com", TOKENS, web_url="https://mail.example.com", returns="back.example.com")
MAILING = Mailing("01j0000000000000000000000a", 7, "june", "offers", "customers")
FACTS = Facts(
    Account(7, "shop", frozenset({"shop.example"})),
    stream=Stream.MARKETING,
    mailing_name="june",
    mailing=MAILING,
    topic="offers",
    recipients=(RecipientFacts(ANN, key=KEY),),
)
BODY = "Hello\r\n\r\nworld\r\n"


def message(*fields: str) -> Message:
    content = "".join(f"{field}\r\n" for field in ("From: shop@shop.example", *fields)) + "\r\n" + BODY
    origin = Origin(7, "shop", "shop-1", ip_address("192.0.2.1"), "app", "s1", "ESMTPSA", NOW)
    envelope = Envelope(Address.parse("shop@shop.example"), (Recipient(ANN),))
    return Message.of(new_message_id(), envelope, origin, content.encode())


def run(rule: Any, *fields: str, facts: Facts = FACTS, context: RuleContext = CONTEXT, **settings: Any) -> Verdict:
    subject = message(*fields)
    verdict, _ = rule(rule.Settings(**settings), context).on_content(subject, facts, NOW)
    assert isinstance(verdict, Pass | Amend | Refuse)
    if isinstance(verdict, Amend):
        look_at(stamp(subject, named(verdict.fields)), verdict)
    return verdict


def look_at(amended: Message, verdict: Amend) -> None:
    """What must hold for every amended message."""
    assert amended.headers == Headers.split(amended.content)  # what the rule says it wrote is what it wrote
    assert amended.content[amended.headers.size :] == BODY.encode()
    assert max(map(len, amended.content.split(b"\r\n"))) <= 998
    assert all(amended.headers.count(name) == 1 for name, _ in named(verdict.fields))


def told(verdict: Verdict, name: str) -> str:
    """The one field of that name."""
    assert isinstance(verdict, Amend), verdict
    headers = Headers.split(b"\r\n".join(verdict.fields))
    assert headers.count(name.lower().encode()) == 1
    return headers.value(name.lower().encode()) or ""


def refused(verdict: Verdict) -> str:
    assert isinstance(verdict, Refuse)
    return str(verdict.reply)


WRITERS = [
    (MailingId, ["X-Mailing-ID: mine"], "X-Mailing-ID"),
    (FeedbackId, ["Feedback-ID: a:b:c:mine"], "Feedback-ID"),
    (CsaComplaints, ["X-CSA-Complaints: mine@example.org"], "X-CSA-Complaints"),
    (Cfbl, ["CFBL-Address: mine@example.org; report=arf", "cfbl-feedback-id: mine"], "CFBL-Address"),
    (Cfbl, ["CFBL-Address: mine@example.org; report=arf", "cfbl-feedback-id: mine"], "CFBL-Feedback-ID"),
]


@pytest.mark.parametrize(("rule", "own", "name"), WRITERS)
def test_a_field_of_the_application_is_replaced_never_doubled(rule: Any, own: list[str], name: str) -> None:
    assert "mine" not in told(run(rule, *own, *own), name)


def test_what_each_field_says() -> None:
    assert told(run(MailingId), "X-Mailing-ID") == MAILING.id
    assert told(run(FeedbackId), "Feedback-ID") == f"{MAILING.id}:7:marketing:imprimatur"
    assert told(run(ListId), "List-Id") == "<customers.7.mx.example.com>"
    assert told(run(CsaComplaints), "X-CSA-Complaints") == "csa-complaints@eco.de"
    assert told(run(Cfbl), "CFBL-Address") == "fbl@back.example.com; report=arf"
    assert TOKENS.read(told(run(Cfbl), "CFBL-Feedback-ID")) == Claim("c", 7, KEY, MAILING.id, "offers")


def test_transactional_mail_without_a_mailing_has_a_feedback_id_and_no_list() -> None:
    facts = replace(FACTS, stream=Stream.TRANSACTIONAL, mailing=None, mailing_name=None, topic=None)
    assert told(run(FeedbackId, facts=facts), "Feedback-ID") == ":7:transactional:imprimatur"
    assert run(ListId, facts=facts) == Pass()
    assert run(MailingId, facts=facts) == Pass()


def test_nothing_is_said_of_complaints_where_nobody_takes_them() -> None:
    assert run(Cfbl, context=replace(CONTEXT, returns=None)) == Pass()


def test_the_domain_for_complaints_signs_only_what_we_wrote_it_into() -> None:
    rule = Cfbl(Cfbl.Settings(), CONTEXT)
    assert personalise(Chain([rule]), message(), FACTS, NOW).signers == ("back.example.com",)
    assert personalise(Chain([rule], observed=frozenset({"cfbl"})), message(), FACTS, NOW).signers == ()
    assert personalise(Chain([]), message(), FACTS, NOW).signers == ()
    nowhere = Cfbl(Cfbl.Settings(), replace(CONTEXT, returns=None))
    assert personalise(Chain([nowhere]), message(), FACTS, NOW).signers == ()


@pytest.mark.parametrize("own", ["<news.shop.example>", '"News" <news.shop.example>', "News of the shop <a.b>"])
def test_a_well_formed_list_id_is_kept_by_default(own: str) -> None:
    assert run(ListId, f"List-Id: {own}") == Pass()
    assert told(run(ListId, f"List-Id: {own}", own="replace"), "List-Id") == "<customers.7.mx.example.com>"
    assert "leave it out" in refused(run(ListId, f"List-Id: {own}", own="refuse"))


@pytest.mark.parametrize("own", ["news", "<news>", "<a b.c>", "<>", "<a..b>"])
def test_a_malformed_list_id_is_replaced(own: str) -> None:
    assert told(run(ListId, f"List-Id: {own}"), "List-Id") == "<customers.7.mx.example.com>"
    assert told(run(ListId, "List-Id: <a.b>", "List-Id: <c.d>"), "List-Id") == "<customers.7.mx.example.com>"


@given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=64))
def test_different_lists_have_different_labels(one: str, other: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]{1,63}", label(one))
    assert (label(one) == label(other)) == (one == other)


# List-Unsubscribe

OURS = re.compile(r"<https://mail\.example\.com/u/([\w-]+)>, <mailto:unsubscribe@back\.example\.com\?subject=([\w-]+)>")
APP = "List-Unsubscribe: <https://shop.example/u/1>"
POST = "List-Unsubscribe-Post: List-Unsubscribe=One-Click"


def test_our_link_knows_who_clicks() -> None:
    verdict = run(ListUnsubscribe)
    match = OURS.fullmatch(told(verdict, "List-Unsubscribe"))
    assert match
    assert match[1] == match[2]
    assert TOKENS.read(match[1]) == Claim("u", 7, KEY, MAILING.id, "offers")
    assert told(verdict, "List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"


def test_without_a_domain_for_returns_there_is_the_link_alone() -> None:
    verdict = run(ListUnsubscribe, context=replace(CONTEXT, returns=None))
    assert re.fullmatch(r"<https://mail\.example\.com/u/[\w-]+>", told(verdict, "List-Unsubscribe"))


def test_an_applications_own_is_judged_by_the_page_that_was_seen_at_the_confirmation() -> None:
    def seen(fault: str) -> Facts:
        url = "https://shop.example/u/2"
        link = CheckedPage("list_unsubscribe", url, shape_of(url), NOW, url, 200, fault=fault)
        return replace(FACTS, mailing=replace(MAILING, pages=CheckedPages((link,))))

    assert run(ListUnsubscribe, APP, POST, facts=seen(""), page="require") == Pass()
    answer = refused(run(ListUnsubscribe, APP, POST, facts=seen("answers 404, not 200")))
    assert "the page of https://shop.example/u/1: answers 404, not 200" in answer
    assert run(ListUnsubscribe, APP, POST, facts=seen("answers 404, not 200"), page="ignore") == Pass()
    assert "was not looked at" in refused(run(ListUnsubscribe, APP, POST, page="require"))


def test_only_an_applications_own_link_that_is_kept_is_looked_at() -> None:
    def pages(*fields: str, **settings: Any) -> list[str]:
        return list(ListUnsubscribe(ListUnsubscribe.Settings(**settings), CONTEXT).pages(message(*fields), FACTS))

    assert pages(APP, POST) == ["https://shop.example/u/1"]
    assert pages(APP) == pages(APP, POST, own="replace") == pages(APP, POST, page="ignore") == pages() == []
    assert pages("List-Unsubscribe: <https://mail.example.com/u/AQ8f2a>", POST) == []


def test_an_applications_own_is_kept_if_it_can_do_one_click() -> None:
    assert run(ListUnsubscribe, APP, POST) == Pass()
    assert run(ListUnsubscribe, f"{APP},\r\n\t<mailto:off@shop.example>", POST) == Pass()
    assert OURS.fullmatch(told(run(ListUnsubscribe, APP, POST, own="replace"), "List-Unsubscribe"))
    assert "leave it out" in refused(run(ListUnsubscribe, APP, POST, own="refuse"))


@pytest.mark.parametrize(
    "fields",
    [
        [APP],
        [APP, "List-Unsubscribe-Post: One-Click"],
        [APP, POST, POST],
        [APP, APP, POST],
        ["List-Unsubscribe: <http://shop.example/u/1>", POST],
        ["List-Unsubscribe: https://shop.example/u/1", POST],
        ["List-Unsubscribe: <https://a.example/1>, <https://b.example/2>", POST],
        ["List-Unsubscribe: <https://localhost/1>", POST],
        ["List-Unsubscribe: <https://[::1/1>", POST],
        ["List-Unsubscribe: ", POST],
    ],
)
def test_one_that_cannot_is_completed_or_refused(fields: list[str]) -> None:
    verdict = run(ListUnsubscribe, *fields)
    assert OURS.fullmatch(told(verdict, "List-Unsubscribe"))
    assert told(verdict, "List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
    assert "RFC 8058" in refused(run(ListUnsubscribe, *fields, incomplete="refuse"))


@pytest.mark.parametrize(
    "uri",
    ["https://shop.example/{{ token }}", "https://shop.example/{token}", "https://shop.example/*|UNSUB|*",
     "https://shop.example/%%unsub%%", "https://shop.example/[[unsub]]", "https://shop.example/${unsub}",
     "https://shop.example/<%= unsub %>", "https://shop.example/?t=%UNSUBSCRIBE%", "https://shop.example/[UNSUBSCRIBE]",
     "https://shop.example/aaa\r\n bbb", "https://shop.example/a b", "https://shop.example/%zz",
     "https://shop.example/ä", "https://shop.example/a\\b", 'https://shop.example/"x"', "https:///x", "https://shop/x"],
)  # fmt: skip
def test_a_uri_that_is_none_is_replaced_and_the_cause_named(uri: str) -> None:
    verdict = run(ListUnsubscribe, f"List-Unsubscribe: <{uri}>", POST)
    assert OURS.fullmatch(told(verdict, "List-Unsubscribe"))
    assert isinstance(verdict, Amend)
    assert "our link in place of the application's" in verdict.note
    assert verdict.note.count(";") == 1


@pytest.mark.parametrize("uri", ["https://shop.example/u?a=b&c=%7E#x", "https://x.y:8443/$1,2;3*'()!@"])
def test_every_uri_is_kept(uri: str) -> None:
    assert run(ListUnsubscribe, f"List-Unsubscribe: <{uri}>", POST) == Pass()


def test_completing_keeps_the_applications_mail_address() -> None:
    value = told(run(ListUnsubscribe, "List-Unsubscribe: <mailto:off@shop.example>"), "List-Unsubscribe")
    assert value.endswith(", <mailto:off@shop.example>")
    assert value.count("https:") == 1


def test_without_an_address_for_our_pages_the_message_is_put_off() -> None:
    context = replace(CONTEXT, web_url=None)
    assert refused(run(ListUnsubscribe, context=context)).startswith("451")
    assert run(ListUnsubscribe, APP, POST, context=context) == Pass()


def test_no_token_is_made_for_somebody_whose_key_is_not_known() -> None:
    facts = replace(FACTS, recipients=(RecipientFacts(ANN),))
    with pytest.raises(ValueError, match="keyed hash"):
        run(ListUnsubscribe, facts=facts)


# folding

WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300)


@given(st.lists(WORD, min_size=1, max_size=20))
def test_folding_changes_nothing_but_the_lines(words: list[str]) -> None:
    raw = fold("X-Name", words)
    assert Headers.split(raw + b"\r\n\r\n").value(b"x-name") == " ".join(words)
    assert all(
        line == b"X-Name:" or len(line) <= 78 or b" " not in line.removeprefix(b"X-Name:").strip()
        for line in raw.split(b"\r\n")
    )


@pytest.mark.parametrize("word", ["", "a\r\nBcc: eve@example.org", "é", "a\0", "x" * 1000])
def test_what_cannot_be_written_is_an_error(word: str) -> None:
    with pytest.raises(StampError):
        fold("X-Name", [word])


def test_stamps_leave_all_other_fields_as_they_came() -> None:
    before = message("Subject: a\r\n b", "X-Mailing-ID: 1", "Other:x")
    after = stamp(before, named([b"X-Mailing-ID: 2"]))
    assert after.headers.fields == (
        (b"x-mailing-id", b"X-Mailing-ID: 2"),
        (b"from", b"From: shop@shop.example"),
        (b"subject", b"Subject: a\r\n b"),
        (b"other", b"Other:x"),
    )
    assert after.headers == Headers.split(after.content)
