"""Suppressed means never, in its scope, and by every spelling of the address."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.address import Address, AddressError
from policy.accounts.account import Stream
from policy.base import RecipientFacts, Suppression
from policy.permission.marketing_signs import MailingMark, MailingMarks, MailingSign
from policy.permission.suppression import Reason
from policy.rules.recipient.suppressed import Suppressed
from tests.unit.policy.make import BOB, CONTEXT, ask_recipient, facts

RULE = Suppressed(Suppressed.Settings(), CONTEXT)
SINCE = datetime(2026, 3, 1, tzinfo=UTC)


def answer(scope: str, stream: Stream, topic: str | None) -> str:
    entry = Suppression(BOB, 1, Reason.HARD_BOUNCE, "no-such-user", SINCE, scope)
    return ask_recipient(RULE, RecipientFacts(BOB, (entry,)), facts(stream=stream, topic=topic))


def test_it_says_why_and_what_to_do() -> None:
    assert answer("", Stream.TRANSACTIONAL, None) == (
        "refuse: 550 5.7.1 suppressed: bob@example.net is on the suppression list since 2026-03-01 "
        "(hard_bounce, rule no-such-user); remove the address from your list"
    )


def test_who_is_not_suppressed() -> None:
    assert ask_recipient(RULE, "bob@example.net") == "pass: bob@example.net is not suppressed"


@pytest.mark.parametrize(
    ("scope", "stream", "topic", "holds"),
    [
        ("", Stream.MARKETING, "offers", True),
        ("*", Stream.MARKETING, "offers", True),
        ("*", Stream.MARKETING, None, True),
        ("*", Stream.TRANSACTIONAL, "offers", False),
        ("offers", Stream.MARKETING, "offers", True),
        ("offers", Stream.MARKETING, "news", False),
        ("offers", Stream.MARKETING, None, False),
        ("offers", Stream.TRANSACTIONAL, "offers", False),
    ],
)
def test_its_scope(scope: str, stream: Stream, topic: str | None, holds: bool) -> None:
    assert answer(scope, stream, topic).startswith("refuse") is holds


# The look-up goes by Address.key: spellings that receivers take for one mailbox must have one key.

# Left out: letters whose other case is another letter to Unicode too, such as the Turkish dotless i.
LETTERS = st.characters(whitelist_categories=("Ll", "Lu", "Nd", "Mn")).filter(
    lambda letter: letter.upper().casefold() == letter.casefold() == letter.lower().casefold()
)
LOCAL = st.text(LETTERS, min_size=1, max_size=12)
DOMAINS = st.sampled_from(["example.net", "bücher.example", "例え.jp", "straße.example", "ελλάδα.gr"])


def read(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except AddressError:
        return None


@given(LOCAL, DOMAINS, st.data())
def test_every_spelling_has_one_key(local: str, domain: str, data: st.DataObject) -> None:
    address = read(f"{local}@{domain}")
    if address is None:
        return
    change = data.draw(st.sampled_from([str.upper, str.lower, str.title, str.swapcase, str.casefold]))
    form = data.draw(st.sampled_from(["NFC", "NFD"]))
    spelled = unicodedata.normalize(form, change(local))
    if data.draw(st.booleans()):
        spelled = '"' + "".join(f"\\{letter}" if letter.isascii() else letter for letter in spelled) + '"'
    place = data.draw(st.sampled_from([domain, domain.upper(), address.domain, address.domain.upper()]))
    other = read(f"{spelled}@{place.replace('SS', 'ß')}")
    if other is not None:
        assert other.key == address.key


@pytest.mark.parametrize(
    ("scope", "topic", "refused"),
    [("*", None, True), ("offers", None, True), ("offers", "offers", True), ("offers", "builds", False)],
)
def test_who_unsubscribed_gets_nothing_that_looks_like_a_mailing(scope: str, topic: str | None, refused: bool) -> None:
    entry = Suppression(BOB, 1, Reason.UNSUBSCRIBE, "one click", SINCE, scope)
    marks = MailingMarks((MailingMark(MailingSign.LIST_ID, "List-Id"),))
    known = facts(stream=Stream.TRANSACTIONAL, topic=topic, marks=marks)
    said = ask_recipient(RULE, RecipientFacts(BOB, (entry,)), known)
    assert said.startswith("refuse") is refused
    assert ("the message shows List-Id, so it counts as a mailing" in said) is refused
    plain = facts(stream=Stream.TRANSACTIONAL)
    assert ask_recipient(RULE, RecipientFacts(BOB, (entry,)), plain).startswith("pass")
