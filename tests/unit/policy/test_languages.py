"""The texts in five languages: the same keys and placeholders, and the mistakes are named."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from config.toml import LANGUAGES, ConfigError, read
from policy.languages import TextLanguage, Texts, compare, leaves, load_texts, placeholders, spoken
from policy.local_format import LocalFormat

ENGLISH = (LANGUAGES / "en.toml").read_text()
FIRST = dict(leaves(load_texts()[TextLanguage.EN].model_dump()))


def mistakes(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        read(text, "xx.toml", Texts, lambda texts: compare(texts, FIRST))
    return str(error.value)


def test_a_file_for_each_language_and_no_other() -> None:
    assert (
        {path.stem for path in LANGUAGES.iterdir()}
        == {each.value for each in TextLanguage}
        == {each.value for each in load_texts()}
    )


def test_no_text_is_empty() -> None:
    for texts in load_texts().values():
        assert all(text.strip() for _, text in leaves(texts.model_dump()))


def test_a_missing_a_foreign_and_a_wrongly_filled_text_are_named() -> None:
    assert "dossier.labels.title: missing" in mistakes(ENGLISH.replace('\ntitle = "Proof', '\nheading = "Proof'))
    assert "dossier.labels.heading: not in the first" in mistakes(
        ENGLISH.replace('\ntitle = "Proof', '\nheading = "Proof')
    )
    assert "dossier.labels.given: other placeholders" in mistakes(
        ENGLISH.replace("Entry {number}: consent", "Entry {count}: consent")
    )


def test_placeholders() -> None:
    assert placeholders("{cases} until {due}, {{not}}") == {"cases", "due"}


def test_the_first_language_that_is_known() -> None:
    assert spoken("pl", "fr", "nl") is TextLanguage.FR
    assert spoken() is spoken("pl") is TextLanguage.EN


ENGLISH_WORDS = re.compile(
    r"\b(?:the|and|of|with|your|you|is|are|was|not|this|that|has|been|mail|for|by|at|UTC|"
    r"June|May|January|Summer|Standard|Time|revoked|unsubscribe|complaint|given|click|double_opt_in|hard_bounce)\b"
)
SHARED = {"fr": {"mail"}, "es": {"mail", "is"}, "de": {"was", "mail"}, "nl": {"was", "mail", "is", "been", "of"}}


@pytest.mark.parametrize("language", [each for each in TextLanguage if each is not TextLanguage.EN])
def test_no_text_has_words_of_another_language_or_raw_codes(language: TextLanguage) -> None:
    for path, text in leaves(load_texts()[language].model_dump()):
        plain = re.sub(r"\{\w+\}|Certified Senders Alliance|Double-Opt-in|double opt-in|simple opt-in", "", text)
        found = set(ENGLISH_WORDS.findall(plain)) - SHARED[language.value]
        assert not found, (path, text)
        assert not re.search(r"[a-z]_[a-z]", plain), (path, text)


@pytest.mark.parametrize(
    ("language", "moment"),
    [
        (TextLanguage.EN, "1 July 2026, 14:30 (Central European Summer Time)"),
        (TextLanguage.NL, "1 juli 2026 om 14:30 uur (Midden-Europese zomertijd)"),
        (TextLanguage.DE, "1. Juli 2026, 14:30 Uhr (Mitteleuropäische Sommerzeit)"),
        (TextLanguage.FR, "1er juillet 2026 à 14:30 (heure d’été d’Europe centrale)"),
        (TextLanguage.ES, "1 de julio de 2026 a las 14:30 (hora de verano de Europa central)"),
    ],
)
def test_times_are_written_as_their_language_does(language: TextLanguage, moment: str) -> None:
    at = datetime(2026, 7, 1, 12, 30, tzinfo=UTC)
    assert LocalFormat(language, ZoneInfo("Europe/Amsterdam")).moment(at) == moment
    assert LocalFormat(language, UTC).moment(at).endswith("(UTC)")
