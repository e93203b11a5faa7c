"""What opt_in tells the client, for each way in which there is no consent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mta.mail.address import Address
from policy.accounts.account import Account, Identity, Stream
from policy.accounts.mailing import Mailing
from policy.base import Facts, Pass, RecipientFacts, Refuse
from policy.permission.consent import Basis, Consent
from policy.permission.tokens import SampleTokens
from policy.rule_context import RuleContext
from policy.rules.recipient.opt_in import OptIn

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GIVEN = datetime(2026, 1, 10, tzinfo=UTC)
ANN = Address.parse("ann@example.net")
CONTEXT = RuleContext("mta.example", SampleTokens())
ACCOUNT = Account(1, "shop", frozenset({"shop.example"}), identities=(Identity("nl", ("Shop B.V.",)),))
GOOD = Consent(Basis.DOUBLE_OPT_IN, frozenset({"offers"}), GIVEN, GIVEN, 12)


def answer(*consents: Consent, topic: str | None = "offers", category: str | None = None, **settings: object) -> str:
    """The text of the refusal, or the evidence of the pass after a ``+``."""
    rule = OptIn(OptIn.Settings(**settings), CONTEXT)  # type: ignore[arg-type]
    recipient = RecipientFacts(ANN, consents=consents)
    mailing = None if category is None else Mailing("m", 1, "june", topic or "", "list", category=category)
    facts = Facts(ACCOUNT, Stream.MARKETING, mailing=mailing, topic=topic)
    verdict, evidence = rule.on_recipient(recipient, facts, NOW)
    match verdict:
        case Pass():
            return f"+{evidence}"
        case Refuse(reply):
            assert (reply.code, reply.status) == (550, "5.7.1")
            return reply.text.removeprefix("opt_in: consent of <ann@example.net> ")
    raise AssertionError(verdict)


def test_a_good_one_passes_with_its_entry_in_the_ledger() -> None:
    assert answer(GOOD) == "+ledger entry 12: double_opt_in, confirmed 2026-01-10, until 2027-07-10"


@pytest.mark.parametrize(
    ("consent", "told"),
    [
        (None, "is not recorded; record it with its evidence, or remove the address"),
        (
            replace(GOOD, topics=frozenset({"news"})),
            'is not recorded, only for "news"; mail about that, or remove the address',
        ),
        (replace(GOOD, revoked_at=datetime(2026, 3, 1, tzinfo=UTC)), "was revoked 2026-03-01; remove the address"),
        (
            replace(GOOD, confirmed_at=datetime(2024, 9, 1, tzinfo=UTC)),
            "lapsed 2026-03-01 (18 months without contact); renew it or remove the address",
        ),
        (
            replace(GOOD, missing=("ip", "confirmed_at")),
            "is not proved: missing is the IP address of the sign-up (ip), "
            "the time of the confirmation (confirmed_at); record it again with that, or remove the address",
        ),
        (
            replace(GOOD, basis=Basis.VERBAL),
            "is not accepted: consent was only spoken, and cannot be shown; it must be written or digital; "
            "remove the address",
        ),
    ],
)
def test_each_refusal_says_the_fact_and_the_mend(consent: Consent | None, told: str) -> None:
    assert answer(*[consent] if consent else []) == f'for topic "offers" {told}'


def test_before_the_message_any_topic_will_do() -> None:
    assert answer(GOOD, topic=None).startswith("+")
    assert answer(topic=None) == "is not recorded; record it with its evidence, or remove the address"


def test_a_message_without_a_topic_needs_a_consent_to_all() -> None:
    assert answer(GOOD, topic="").startswith('for topic "" is not recorded, only for "offers"')
    assert answer(replace(GOOD, topics=frozenset({"*"})), topic="").startswith("+")


def test_a_profile_may_take_fewer_bases_or_proved_third_parties() -> None:
    card = replace(GOOD, basis=Basis.BUSINESS_CARD)
    assert "this profile does not take business_card" in answer(card, bases=["double_opt_in"])
    third = replace(GOOD, basis=Basis.THIRD_PARTY)
    assert "to a third party" in answer(third)
    assert answer(third, third_party="allow_with_proof").startswith("+")
    assert "is not proved" in answer(replace(third, missing=("document",)), third_party="allow_with_proof")


def test_a_purchase_is_for_mail_about_such_goods() -> None:
    bought = replace(GOOD, basis=Basis.PURCHASE, confirmed_at=None, facts={"category": "Running shoes"})
    assert answer(bought) == (
        'for topic "offers" is for "Running shoes" (purchase) and the mailing is about "offers"; '
        "give the mailing that category (mta mailing add --category), or remove the address"
    )
    assert answer(bought, category="running-shoes").startswith("+")
    assert 'is for "Running shoes"' in answer(bought, category="hats")
    assert answer(bought, GOOD, category="hats").startswith("+ledger entry 12: double_opt_in")
    assert answer(bought, topic=None).startswith("+")
    assert answer(bought, waived=["category"]).startswith("+")


def test_a_relation_counts_if_the_profile_names_it() -> None:
    dealer = replace(GOOD, basis=Basis.RELATION, facts={"category": "offers"})
    assert "this profile does not take relation" in answer(dealer)
    assert answer(dealer, bases=["relation"]).startswith("+")
    assert 'is for "tools" (relation)' in answer(replace(dealer, facts={"category": "tools"}), bases=["relation"])


def test_what_is_observed_refuses_nothing_and_is_told() -> None:
    vague = replace(GOOD, missing=("statement_subject",))
    assert "a text that says what the mail is about" in answer(vague)
    assert answer(vague, observed=["statement_subject"]).endswith(", not proved: statement_subject")
    assert not answer(vague, waived=["statement_subject"]).endswith("statement_subject")
    assert answer(replace(vague, missing=("ip", "statement_subject")), observed=["statement_subject"]) == (
        'for topic "offers" is not proved: missing is the IP address of the sign-up (ip); '
        "record it again with that, or remove the address"
    )


def test_a_statement_for_another_sender_is_told_or_refused() -> None:
    other = replace(GOOD, facts={"sender": "Other Ltd"})
    assert answer(other).endswith(', statement names "Other Ltd"')
    assert 'names "Other Ltd" as the sender' in answer(other, statement_names="account")
    assert answer(replace(GOOD, facts={"sender": "shop"}), statement_names="account").startswith("+")


def test_co_registration_must_name_the_account() -> None:
    shared = replace(GOOD, basis=Basis.CO_REGISTRATION, facts={"sponsors": "Other Ltd\nSHOP b.v."})
    assert answer(shared).startswith("+")
    assert "do not include shop" in answer(replace(shared, facts={"sponsors": "Other Ltd"}))


def test_the_form_must_be_on_the_own_site_if_the_profile_says_so() -> None:
    elsewhere = replace(GOOD, facts={"source_host": "notshop.example"})
    assert answer(elsewhere).startswith("+")
    assert 'given on "notshop.example"' in answer(elsewhere, own_site=True)
    assert answer(replace(GOOD, facts={"source_host": "www.shop.example"}), own_site=True).startswith("+")


def test_the_lapse_is_a_setting() -> None:
    old = replace(GOOD, confirmed_at=datetime(2025, 1, 1, tzinfo=UTC), contacted_at=datetime(2026, 5, 1, tzinfo=UTC))
    assert answer(old).startswith("+")
    assert "lapsed 2026-01-01 (12 months" in answer(old, lapse_months=12, renewed_by=["click"])
    assert answer(old, lapse_months=0, renewed_by=[]).startswith("+")
