"""What an account reads about complaints, in five languages."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from policy.accounts.account import Account, Identity
from policy.correspondence import language_of
from policy.languages import TextLanguage
from policy.permission.consent import Basis, Consent
from policy.permission.dossier import Dossier, LedgerProof, as_json
from policy.permission.ledger import EntryKind
from policy.reputation.complaint import Case, CaseState, ComplaintCause, ComplaintCauseKind, Occasion, Source
from policy.reputation.complaint_mail import LABEL, WIDTH, ComplaintMailWriter

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DUE = datetime(2026, 6, 2, 12, 30, tzinfo=UTC)
SCRIBE = ComplaintMailWriter(ZoneInfo("Europe/Amsterdam"), "Example Mail")
DOSSIER = as_json(
    Dossier(
        "rita@example.net",
        Account(7, "shop", frozenset()),
        NOW,
        (
            LedgerProof(
                1, NOW, EntryKind.GIVEN, bytes(32), {"basis": "double_opt_in", "topics": ["offers"], "by": "app"}
            ),
        ),
        (Consent(Basis.DOUBLE_OPT_IN, frozenset({"offers"}), datetime(2026, 1, 2, 10, tzinfo=UTC), None, 1),),
        (),
    )
)


def account(*languages: str) -> Account:
    return Account(7, "shop", frozenset(), identities=tuple(Identity(each, ("Shop",)) for each in languages))


def case(**more: Any) -> Case:
    known = Case(
        12,
        7,
        "shop",
        Source.RECIPIENT,
        CaseState.SENT,
        "spotler",
        "I never signed up",
        NOW,
        mailing="01k" + "a" * 23,
        mailing_name="june",
        address="rita@example.net",
        due_at=DUE,
    )
    return replace(known, **more)


@pytest.mark.parametrize("language", TextLanguage)
@pytest.mark.parametrize("occasion", Occasion)
def test_every_language_says_everything(language: TextLanguage, occasion: Occasion) -> None:
    letter = SCRIBE.write(occasion, [case()], account(language.value), "which form?")
    assert letter.subject.startswith("[C-12] ")
    for fact in ("june (01k", "rita@example.net", "I never signed up", "14:30", "C-12", "Example Mail", "2026"):
        assert fact in letter.text
    assert letter.text.count("\n1. ") == letter.text.count("\n3. ") == occasion.asks, "it says what must be answered"
    assert "{" not in letter.subject + letter.text
    assert ("which form?" in " ".join(letter.text.split())) == (occasion in (Occasion.REJECTED, Occasion.AGREED))
    assert max(len(line) for line in letter.text.splitlines()) <= WIDTH


@pytest.mark.parametrize("language", TextLanguage)
def test_every_source_and_label_has_words(language: TextLanguage) -> None:
    for source in Source:
        text = SCRIBE.write(Occasion.COMPLAINT, [case(source=source, complaints=3)], account(language.value)).text
        labels = re.findall(rf"(?m)^(\S.{{0,{LABEL - 2}}}?) {{2,}}\S", text)
        assert len(labels) >= 8


def test_no_two_languages_say_the_same() -> None:
    for occasion in Occasion:
        assert len({SCRIBE.write(occasion, [case()], account(language.value)).text for language in TextLanguage}) == 5


def test_several_cases_are_one_letter_with_the_first_deadline() -> None:
    cases = [case(dossier=DOSSIER), case(id=13, due_at=NOW, dossier=None, address=None, mailing=None)]
    letter = SCRIBE.write(Occasion.COMPLAINT, cases, account("en"))
    assert letter.subject == "[C-12 +1] Complaint: please reply by 1 June 2026, 14:00 (Central European Summer Time)"
    assert "C-13" in letter.text
    assert [file.name for file in letter.attachments] == ["C-12.pdf", "C-12.json"]


def test_the_dossiers_are_attached_for_people_and_for_programs() -> None:
    pdf, fields = SCRIBE.write(Occasion.COMPLAINT, [case(dossier=DOSSIER)], account("de")).attachments
    assert (pdf.subtype, pdf.content[:5]) == ("pdf", b"%PDF-")
    assert (fields.subtype, json.loads(fields.content)) == ("json", DOSSIER)
    assert not SCRIBE.write(Occasion.AGREED, [case(dossier=DOSSIER)], account("de")).attachments


def test_what_does_not_fit_is_left_out_and_the_mail_says_so() -> None:
    long = DOSSIER | {"entries": [{**DOSSIER["entries"][0], "evidence": {"statement": "x" * 1_500_000}}]}
    letter = SCRIBE.write(Occasion.COMPLAINT, [case(id=n, dossier=long) for n in range(1, 4)], account("en"))
    assert [file.name for file in letter.attachments] == ["C-1.json", "C-2.json"], "too long to be printed"
    assert "We will send you the rest on request." in " ".join(letter.text.split())
    assert "the rest" not in SCRIBE.write(Occasion.COMPLAINT, [case(dossier=DOSSIER)], account("en")).text


@pytest.mark.parametrize("language", TextLanguage)
@pytest.mark.parametrize("kind", ComplaintCauseKind)
def test_what_no_person_has_said_is_told_in_the_language(language: TextLanguage, kind: ComplaintCauseKind) -> None:
    facts = {"list": "dnsbl.example", "subject": "shop.example", "answer": "127.0.0.2", "by": "provider.example"}
    numbers = {"cases": 12, "volume": 1500, "rate": 0.008, "ceiling": 0.0025}
    told = case(summary="complaints:account:7: 12 complaints", cause=ComplaintCause(kind, facts | numbers))
    text = " ".join(SCRIBE.write(Occasion.COMPLAINT, [told], account(language.value)).text.split())
    assert "12 complaints" not in text
    if kind is ComplaintCauseKind.COMPLAINTS:
        assert ("0.8%" if language is TextLanguage.EN else "0,8") in text
        assert "1500" not in text, "thousands are separated"


def test_nothing_in_the_ledger_is_said() -> None:
    assert (
        "no consent is recorded for this address"
        in SCRIBE.write(Occasion.COMPLAINT, [case(dossier=DOSSIER | {"consents": []})], account("en")).text
    )


def test_a_complaint_cannot_write_our_header() -> None:
    letter = SCRIBE.write(
        Occasion.REJECTED, [case(summary="x\r\nBcc: all@example.net {due}")], account("en"), "a\r\nB: c {x}"
    )
    assert "\n" not in letter.subject
    assert "\r" not in letter.text
    assert len(SCRIBE.write(Occasion.COMPLAINT, [case()] * 300, account("de")).subject) <= 200


def test_the_language_is_that_of_the_accounts_identity() -> None:
    assert language_of(account("de", "nl")) is TextLanguage.DE
    assert language_of(account("pl", "fr")) is TextLanguage.FR
    assert language_of(account("pl")) == language_of(account()) is TextLanguage.EN
