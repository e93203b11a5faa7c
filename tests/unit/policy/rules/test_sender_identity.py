"""An account sends in its own name only, however the other name is spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.address import Address
from policy.accounts.account import Grant
from policy.rules.sender.sender_identity import SenderIdentity, foreign
from tests.unit.policy.make import ACCOUNT, CONTEXT, account, ask, facts, message

RULE = SenderIdentity(SenderIdentity.Settings(), CONTEXT)
OWN = "From: ann@shop.example\r\n"


def test_its_own_name() -> None:
    assert ask(RULE) == "pass: ann@shop.example belongs to shop"


@pytest.mark.parametrize("name", ["From", "Sender", "Resent-From", "Resent-Sender"])
@pytest.mark.parametrize("place", ["{own}{other}", "{other}{own}"])
def test_every_field_that_names_a_sender_counts(name: str, place: str) -> None:
    head = place.format(own=OWN, other=f"{name}: eve@evil.example\r\n")
    assert ask(RULE, message(head)) == (
        f"refuse: 550 5.7.1 sender_identity: {name} field eve@evil.example is not of this account; use one of its "
        "domains or register evil.example for it and prove that it is yours"
    )


def test_an_unverified_domain_says_what_to_publish() -> None:
    known = facts(account(unverified=frozenset({"new.example"}), tokens={"new.example": "0123abcd"}))
    answer = ask(RULE, message("From: ann@new.example\r\n"), known)
    assert "From field ann@new.example: new.example is not verified yet; publish " in answer
    assert 'new.example. IN TXT "imprimatur-verification=0123abcd" and run `mta account check shop`' in answer


def test_an_unverified_domain_without_a_token_says_where_to_look() -> None:
    known = facts(account(unverified=frozenset({"new.example"})))
    answer = ask(RULE, message("From: ann@new.example\r\n"), known)
    assert answer.endswith("publish the TXT record that `mta account check shop` shows for it")


def test_a_credential_keeps_to_its_domains() -> None:
    grant = Grant(domains=frozenset({"xn--bcher-kva.example"}))
    assert "ann@shop.example is not for this credential (its domains: xn--bcher-kva.example)" in ask(
        RULE, known=facts(grant=grant)
    )
    assert ask(RULE, message("From: a@bücher.example\r\n", sender="b@bücher.example"), facts(grant=grant)).startswith(
        "pass"
    )


def test_a_domain_taken_from_the_account_is_no_longer_the_credentials() -> None:
    reply = foreign(ACCOUNT, "x", Address.parse("a@sold.example"), Grant(domains=frozenset({"sold.example"})))
    assert reply is not None
    assert reply.code == 550


def test_without_an_author_nothing_goes() -> None:
    assert ask(RULE, message("Subject: x\r\n")).endswith("the message has no author; add a From field")


EVIL = "eve@evil.example"
OWN_TEXT = "ann@shop.example"
ODD = [
    "{evil}",
    "<{evil}>",
    "{own} <{evil}>",
    '"{own}" <{evil}>',
    "Ann ({own}) <{evil}>",
    "({own}) {evil}",
    "{evil} ({own})",
    "{own}, {evil}",
    "{evil}, {own}",
    "<{own}> <{evil}>",
    "<{own},@evil.example:{evil}>",
    "<@shop.example:{evil}>",
    "Group: {own}, {evil};",
    "=?utf-8?q?ann=40shop.example?= <{evil}>",
    "=?utf-8?b?PGFubkBzaG9wLmV4YW1wbGU+?= <{evil}>",
    "{own}@evil.example",
    '"{own}"@evil.example',
    "{own}.evil.example",
    "ann@shop.example.",
    "ann@shop.example\u3002evil.example",
    "ann@xn--shop-.example",
    "ann@ѕhop.example",
    "ann@sub.shop.example",
    "ann@[127.0.0.1]",
    "ann@shop.example\0@evil.example",
    "ann@shop.example(c)evil.example",
    "<{own}",
    "{own}>",
    "",
    " ",
]


@pytest.mark.parametrize("odd", ODD)
def test_no_odd_spelling_lets_another_in(odd: str) -> None:
    value = odd.format(evil=EVIL, own=OWN_TEXT)
    assert ask(RULE, message(f"From: {value}\r\n")).startswith("refuse: 550 5.7.1 sender_identity:")


@given(
    st.text(st.sampled_from('<>@,;:"\\() ann.shopexample=?\t\u3002é'), max_size=60),
    st.sampled_from(["{}<eve@evil.example>", "{} <eve@evil.example>", "{}eve@evil.example", "eve@evil.example{}"]),
)
def test_whatever_stands_around_it_a_foreign_address_never_becomes_ours(noise: str, frame: str) -> None:
    """Only a value whose one address is really of the account may pass; noise must not turn evil.example into it."""
    value = frame.format(noise)
    answer = ask(RULE, message(f"From: {value}\r\n"))
    if answer.startswith("pass"):
        inner = value[value.rfind("<") + 1 :].rstrip("> \t") if "<" in value else value.strip()
        assert inner.rpartition("@")[2].lower().endswith("shop.example")


@given(st.sampled_from(sorted(ACCOUNT.domains)), st.data())
def test_case_of_the_domain_does_not_matter(domain: str, data: st.DataObject) -> None:
    spelled = "".join(data.draw(st.sampled_from([letter.upper(), letter])) for letter in domain)
    assert ask(RULE, message(f"From: ann@{spelled}\r\n")).startswith("pass")
