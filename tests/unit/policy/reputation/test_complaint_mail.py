"""What an account reads about complaints, in five languages."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from policy.accounts.account import Account, Identity
from policy.languages import TextLanguage
from policy.reputation.complaint import Case, CaseState, Occasion, Source
from policy.reputation.complaint_mail import LABEL, WIDTH, ComplaintMailWriter

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DUE = datetime(2026, 6, 2, 12, 30, tzinfo=UTC)
SCRIBE = ComplaintMailWriter(ZoneInfo("Europe/Amsterdam"), "Example Mail")
DOSSIER = {
    "consents": [
        {"basis": "double_opt_in", "given_at": "2026-01-02T10:00:00+00:00", "topics": ["offers"], "state": "holds"}
    ]
}


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
        dossier=DOSSIER,
    )
    return replace(known, **more)


@pytest.mark.parametrize("language", TextLanguage)
@pytest.mark.parametrize("occasion", Occasion)
def test_every_language_says_everything(language: TextLanguage, occasion: Occasion) -> None:
    letter = SCRIBE.write(occasion, [case()], language, "which form?")
    assert letter.subject.startswith("[C-12] ")
    for fact in ("june (01k", "rita@example.net", "I never signed up", "14:30", "C-12", "Example Mail", "2026"):
        assert fact in letter.text
    assert letter.text.count("\n1. ") == letter.text.count("\n3. ") == occasion.asks, "it says what must be answered"
    assert "{" not in letter.subject + letter.text
    assert ("which form?" in letter.text) == (occasion in (Occasion.REJECTED, Occasion.AGREED))
    assert max(len(line) for line in letter.text.splitlines()) <= WIDTH
    assert letter.dossiers == ({"C-12": DOSSIER} if occasion.asks else {})


@pytest.mark.parametrize("language", TextLanguage)
def test_every_source_and_label_has_words(language: TextLanguage) -> None:
    for source in Source:
        text = SCRIBE.write(Occasion.COMPLAINT, [case(source=source, complaints=3)], language).text
        labels = re.findall(rf"(?m)^(\S.{{0,{LABEL - 2}}}?) {{2,}}\S", text)
        assert len(labels) >= 9


def test_no_two_languages_say_the_same() -> None:
    for occasion in Occasion:
        assert len({SCRIBE.write(occasion, [case()], language).text for language in TextLanguage}) == 5


def test_several_cases_are_one_letter_with_the_first_deadline() -> None:
    cases = [case(), case(id=13, due_at=NOW, dossier=None, address=None, mailing=None)]
    letter = SCRIBE.write(Occasion.COMPLAINT, cases, TextLanguage.EN)
    assert (
        letter.subject
        == "[C-12 +1] Complaint: your answer is needed by 1 June 2026, 14:00 (Central European Summer Time)"
    )
    assert "C-13" in letter.text
    assert list(letter.dossiers) == ["C-12"]


def test_nothing_in_the_ledger_is_said() -> None:
    assert (
        "nothing is recorded of this address"
        in SCRIBE.write(Occasion.COMPLAINT, [case(dossier={"consents": []})], TextLanguage.EN).text
    )


def test_a_complaint_cannot_write_our_header() -> None:
    letter = SCRIBE.write(
        Occasion.REJECTED, [case(summary="x\r\nBcc: all@example.net {due}")], TextLanguage.EN, "a\r\nB: c {x}"
    )
    assert "\n" not in letter.subject
    assert "\r" not in letter.text
    assert len(SCRIBE.write(Occasion.COMPLAINT, [case()] * 300, TextLanguage.DE).subject) <= 200


def test_the_language_is_that_of_the_accounts_identity() -> None:
    def account(*languages: str) -> Account:
        return Account(7, "shop", frozenset(), identities=tuple(Identity(each, ("Shop",)) for each in languages))

    assert SCRIBE.language(account("de", "nl")) is TextLanguage.DE
    assert SCRIBE.language(account("pl", "fr")) is TextLanguage.FR
    assert SCRIBE.language(account("pl")) == SCRIBE.language(account()) is TextLanguage.EN
