"""The name beside the address is the sender's own."""

from __future__ import annotations

from email.header import Header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.rules.sender.display_name import DisplayName
from tests.unit.policy.make import CONTEXT, account, ask, facts, message

RULE = DisplayName(DisplayName.Settings(), CONTEXT)


def answer(name: str, rule: DisplayName = RULE, *, to: str = "To: bob@example.net\r\n", address: str = "bob@example.net"
           ) -> str:  # fmt: skip
    known = facts(account(domains=frozenset({"shop.example.com", "booking.com"})))
    return ask(rule, message(f'From: "{name}" <news@shop.example.com>\r\n{to}', to=[address]), known)


@pytest.mark.parametrize(
    "name",
    ["", "Ann", "Ann Lee", "The Shop", "Shop.Example.com", "www.example.com", "news@shop.example.com", "Booking.com",
     "Shop @ Work", "Node.js Weekly", "E.ON", "A.S. Watson", "Bücher & Co.", "Яндекс", "St.Gallen", "Ann (Shop)",
     "1.2.3", "Dr. Lee"],
)  # fmt: skip
def test_a_name_of_ones_own(name: str) -> None:
    assert answer(name) == f'pass: "{name}"'


@pytest.mark.parametrize(
    "name",
    ["paypal.com", "PayPal.Com", "service@paypal.com", "PayPal <service@paypal.com>", "www.paypal.com",
     "Shop via gmail.com", "Ｐａｙpal。com", "paypal\u200b.com", "paypal\uff0ecom", "example.org", "bank.co.uk"],
)  # fmt: skip
def test_the_domain_of_another(name: str) -> None:
    found = answer(name)
    assert found.startswith("refuse: 550 5.7.1 display_name: the name ")
    assert found.endswith("which is not the sender's domain; use the name of the sender")


def test_an_encoded_name_is_read_as_it_shows() -> None:
    name = Header("service@paypal.com", "utf-8").encode()
    assert "holds paypal.com" in ask(RULE, message(f"From: {name} <ann@shop.example>\r\n"))
    assert "holds paypal.com" in ask(RULE, message(f'From: "{name}" <ann@shop.example>\r\n'))
    assert "holds paypal.com" in ask(RULE, message("From: ann@shop.example (service@paypal.com)\r\n"))


def test_the_recipients_own_name() -> None:
    assert "is the recipient's own" in answer(
        "Bob Jones", to="To: Bob Jones <b@example.net>\r\n", address="b@example.net"
    )
    assert "is the recipient's own" in answer("JONES, bob", address="bob.jones@example.net")
    assert answer("Bob Jones", to="To: Bob Jones <b@example.net>\r\n").startswith("pass")  # it goes to somebody else
    assert answer("Bob", address="bob@example.net").startswith("pass")
    assert answer("Bob Jones", address="bob.jones@booking.com").startswith("pass")


@pytest.mark.parametrize("name", ["Shop ✓", "✅ Shop", "Shop 🔒", "🔔 Shop", "❶ Shop", "Shop ①"])
def test_badges(name: str) -> None:
    assert "holds the badge" in answer(name)


@pytest.mark.parametrize("name", ["Shop (2)", "(13) Shop", "Shop [1]", "Shop (99+)", "Shop （２）"])
def test_counts(name: str) -> None:
    assert "looks like a number of messages" in answer(name)


def test_tricks_can_be_allowed() -> None:
    rule = DisplayName(DisplayName.Settings(allowed=["badge", "count"]), CONTEXT)
    assert answer("Shop ✓ (2)", rule).startswith("pass")
    assert answer("Shop ✓ (2) at paypal.com", rule).startswith("refuse")


@given(st.sampled_from(["paypal.com", "bank.co.uk", "gmail.com"]), st.data())
def test_no_odd_spelling_of_anothers_domain_gets_through(domain: str, data: st.DataObject) -> None:
    wide = str.maketrans({letter: chr(ord(letter) + 0xFEE0) for letter in "abcdefghijklmnopqrstuvwxyz."})
    letters = [data.draw(st.sampled_from([letter, letter.upper(), letter.translate(wide)])) for letter in domain]
    place = data.draw(st.integers(0, len(letters)))
    letters.insert(place, data.draw(st.sampled_from(["", "\u200b", "\u00ad", "\u2060"])))
    before = data.draw(st.sampled_from(["", "Service ", "info@", "(", "https://"]))
    assert answer(before + "".join(letters)).startswith("refuse: 550 5.7.1 display_name:")
