"""What is missing of an account, and which command fixes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from policy.accounts.account import Acceptance, Account, Identity
from policy.accounts.review import Lack, Matter, lacks

NL = Identity("nl", ("Shop B.V.",), "Kade 1", "1011 AA", "Amsterdam", "Nederland", email="info@shop.example")
WHOLE = Account(
    1,
    "shop",
    frozenset({"shop.example"}),
    contact="ann@shop.example",
    identities=(NL,),
    terms=Acceptance("2", datetime(2026, 3, 1, tzinfo=UTC), "Ann"),
    lists=frozenset({"offers"}),
)


def missing(account: Account, **changes: Any) -> list[Lack]:
    given: dict[str, Any] = {"may_submit": True, "marketing": True, "terms": "2", "sources": ["offers"]} | changes
    return list(lacks(account, **given))


def test_nothing_is_missing_of_a_whole_account() -> None:
    assert missing(WHOLE) == []


@pytest.mark.parametrize(
    ("account", "changes", "matter", "words", "mend"),
    [
        (WHOLE, {"marketing": None}, Matter.PROFILE, "no profile 'transactional'", "mta account set shop --profile"),
        (replace(WHOLE, contact=""), {}, Matter.CONTACT, "no contact", "mta account set shop --contact"),
        (replace(WHOLE, domains=frozenset()), {}, Matter.DOMAIN, "no sender domain", "mta account domain add shop"),
        (
            replace(WHOLE, unverified=frozenset({"new.example"})), {}, Matter.DOMAIN, "new.example is not verified",
            "mta account domain verify shop new.example",
        ),
        (WHOLE, {"may_submit": False}, Matter.CREDENTIAL, "cannot log in", "mta account credential add shop"),
        (replace(WHOLE, terms=None), {}, Matter.TERMS, "version 2", "mta account terms shop --by"),
        (WHOLE, {"terms": "3"}, Matter.TERMS, "version 2 of the terms was accepted, not 3", "mta account terms shop"),
        (replace(WHOLE, identities=()), {}, Matter.IDENTITY, "not registered", "mta account identity set shop"),
        (
            replace(WHOLE, identities=(replace(NL, city="", email=""),)), {}, Matter.IDENTITY,
            "in nl lacks city, a phone number or e-mail address", "mta account identity set shop nl",
        ),
        (
            replace(WHOLE, identities=(replace(NL, vat="NL812345008B01"),)), {}, Matter.IDENTITY,
            "in nl has a VAT number that cannot be right: NL812345008B01 has a wrong check digit",
            "mta account identity set shop nl",
        ),
        (WHOLE, {"sources": []}, Matter.LIST, "not told", "mta account source add shop"),
        (
            WHOLE, {"sources": ["offers", "old ones"]}, Matter.LIST, "'old ones' is not approved",
            "mta account source approve shop 'old ones'",
        ),
    ],
)  # fmt: skip
def test_each_lack_says_what_is_missing_and_what_mends_it(
    account: Account, changes: dict[str, Any], matter: Matter, words: str, mend: str
) -> None:
    (lack,) = missing(account, **changes)
    assert lack.matter is matter
    assert words in lack.text
    assert lack.remedy.startswith(mend)


def test_transactional_mail_needs_no_terms_identity_or_lists() -> None:
    bare = replace(WHOLE, terms=None, identities=(), lists=frozenset())
    assert missing(bare, marketing=False, sources=[]) == []


def test_names_with_spaces_are_quoted_for_the_shell() -> None:
    (lack,) = missing(replace(WHOLE, name="Shop & Co", contact=""))
    assert "mta account set 'Shop & Co' --contact" in lack.remedy
