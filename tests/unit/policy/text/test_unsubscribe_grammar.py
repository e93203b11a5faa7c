"""Tests for policy.text.unsubscribe_grammar: the words of a link alone."""

from __future__ import annotations

import pytest

from policy.text.unsubscribe_grammar import UnsubscribeGrammar, plain

GRAMMAR = UnsubscribeGrammar.shipped()


@pytest.mark.parametrize(
    "words",
    [
        "Stop everything", "Drop me from everything", "Turn it all off", "Alles stopzetten", "Zet alles uit",
        "Alles beenden", "Schluss mit allem", "Coupez tout", "Tout arrêter", "Cortarlo todo", "Basta de todo", "Leave",
    ],
)  # fmt: skip
def test_a_link_may_end_everything(words: str) -> None:
    assert GRAMMAR.says_alone(plain(words))


@pytest.mark.parametrize(
    "words",
    [
        "Everything must go", "Discover everything", "Alles muss raus", "Alles raus", "Alles weg", "Tout voir",
        "Para todos los gustos", "Para todo", "Ver todo", "Stop everything and look at our new shoes", "Bekijk alles",
    ],
)  # fmt: skip
def test_a_sale_of_everything_ends_nothing(words: str) -> None:
    assert not GRAMMAR.says_alone(plain(words))


@pytest.mark.parametrize(
    "words",
    [
        "Kies dagelijks, wekelijks of maandelijks", "Hoe vaak wil je mail?", "Wie oft möchtest du Mail?",
        "Täglich oder wöchentlich?", "Choisis ton rythme", "Chaque jour ou chaque semaine ?", "Elige tu ritmo",
        "How often do you want mail?", "Daily or weekly?",
    ],
)  # fmt: skip
def test_a_choice_of_how_often_is_no_end(words: str) -> None:
    assert GRAMMAR.only_lessens(plain(words))
    assert not GRAMMAR.only_lessens(plain(f"{words} unsubscribe"))


@pytest.mark.parametrize("words", ["Alles abbestellen", "Les nouvelles du club", "Zwemlessen", "Zwemles"])
def test_lessons_are_told_from_words_that_end_like_them(words: str) -> None:
    assert GRAMMAR.is_of_others(plain(words), words) is words.startswith("Zwem")


@pytest.mark.parametrize("words", ["Mentions légales", "Privacy policy", "Privacyverklaring", "Aviso de privacidad"])
def test_a_link_to_a_legal_page_is_told_by_its_words(words: str) -> None:
    assert GRAMMAR.names_page(plain(words))
