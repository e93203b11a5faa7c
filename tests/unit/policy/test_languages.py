"""The texts in five languages: the same keys and placeholders, and the mistakes are named."""

from __future__ import annotations

import pytest

from config.toml import LANGUAGES, ConfigError, read
from policy.languages import TextLanguage, Texts, compare, leaves, load_texts, placeholders, spoken

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
    assert "dossier.labels.given: other placeholders" in mistakes(ENGLISH.replace("entry {number}", "entry {count}"))


def test_placeholders() -> None:
    assert placeholders("{cases} until {due}, {{not}}") == {"cases", "due"}


def test_the_first_language_that_is_known() -> None:
    assert spoken("pl", "fr", "nl") is TextLanguage.FR
    assert spoken() is spoken("pl") is TextLanguage.EN
