"""What a sentence tells of an obstacle before unsubscribing, in five languages."""

from __future__ import annotations

import pytest

from policy.text.obstacle_grammar import Bar, Nearness, Obstacle, ObstacleGrammar
from policy.text.unsubscribe_grammar import plain

BARS = [
    "Om u af te melden dient u in te loggen met uw klantnummer.",
    "Uitschrijven is alleen beschikbaar voor geregistreerde gebruikers.",
    "Ter bevestiging van uw afmelding neemt u telefonisch contact met ons op.",
    "Die Abbestellung ist ausschließlich im eingeloggten Bereich Ihres Kundenkontos möglich.",
    "Für jede Abmeldung berechnen wir 5 Euro.", "Abmeldungen werden nur auf dem Postweg entgegengenommen.",
    "La désinscription ne prend effet qu'à réception d'un courrier daté et signé.",
    "Pour vous désabonner, munissez-vous de votre identifiant.",
    "Las bajas se tramitan únicamente por carta certificada.", "Para la baja necesitarás tu usuario y tu clave.",
    "A £3 administration charge applies to unsubscribe requests.", "You'll have to sign in before you can unsubscribe.",
]  # fmt: skip
FREE = [
    "U kunt zich afmelden; inloggen is daarvoor niet nodig en er zijn geen kosten aan verbonden.",
    "Abmelden kann man sich jederzeit, ein Passwort oder eine Begründung brauchen Sie nicht.",
    "Sie können jederzeit per E-Mail oder per Post widersprechen, ohne dass hierfür andere als die Übermittlungskosten "
    "nach den Basistarifen entstehen, oder den Newsletter abbestellen.",
    "Vous pouvez vous désinscrire sans frais : aucune justification ne vous sera demandée.",
    "Puede darse de baja con un solo clic, sin contraseñas.", "You can unsubscribe here or write to us by letter.",
    "You cannot unsubscribe from order confirmations.", "If unsubscribing is not possible, reply to this mail.",
    "You receive this once a month and can unsubscribe at any time.",
]  # fmt: skip


def told(sentence: str, nearness: Nearness = Nearness.ABOUT, patience: int = 2) -> Obstacle | None:
    return ObstacleGrammar.shipped().told(plain(sentence), nearness, patience)


@pytest.mark.parametrize("sentence", BARS)
def test_what_bars_the_way_is_told(sentence: str) -> None:
    assert told(sentence)


@pytest.mark.parametrize("sentence", FREE)
def test_what_is_no_obstacle_is_none(sentence: str) -> None:
    assert told(sentence) is None


@pytest.mark.parametrize(
    ("sentence", "days"),
    [
        ("Uw verzoek wordt binnen dertig dagen verwerkt", 30), ("Die Bearbeitung kann bis zu sechs Wochen dauern", 42),
        ("Votre demande sera traitée sous 10 jours", 10), ("La baja será efectiva en el plazo de un mes", 30),
        ("Please allow 3 to 5 days for your request", 5), ("Your request takes effect within 72 hours", 3),
    ],
)  # fmt: skip
def test_a_delay_counts_beyond_the_days_allowed(sentence: str, days: int) -> None:
    assert told(sentence, Nearness.NEAR, days - 1)
    assert told(sentence, Nearness.NEAR, days) is None


def test_a_sentence_beside_the_link_must_speak_of_a_request_or_demand_something() -> None:
    assert told("Requests are only dealt with if sent by letter", Nearness.NEAR)
    assert told("Call us by phone or write a letter", Nearness.NEAR) is None
    assert told("You need a password for the shop", Nearness.LISTED) is None
    assert told("Removal takes four to six weeks", Nearness.LISTED)


@pytest.mark.parametrize(
    ("sentence", "obstacle"),
    [
        ("Take a survey before we can remove you", Obstacle(Bar.FIRST, "take a survey before we can remove you")),
        ("Für jede Abmeldung berechnen wir 5 Euro", Obstacle(Bar.COST, "fur jede abmeldung berechnen wir 5 euro")),
        ("Bajas solo por carta certificada", Obstacle(Bar.ANOTHER_WAY, "bajas solo por carta certificada")),
        ("Uitschrijven is niet mogelijk", Obstacle(Bar.IMPOSSIBLE, "uitschrijven is niet mogelijk")),
        ("Désinscription dans un délai d'un mois", Obstacle(Bar.DELAY, "desinscription dans un delai d'un mois")),
    ],
)  # fmt: skip
def test_an_obstacle_is_quoted_with_the_words_about_it(sentence: str, obstacle: Obstacle) -> None:
    assert told(sentence) == obstacle


def test_of_a_long_sentence_whole_words_about_it_are_quoted() -> None:
    obstacle = told(f"{'letters ' * 20}unsubscribing takes up to six weeks {'from today ' * 20}")
    assert obstacle == Obstacle(
        Bar.DELAY, "letters letters letters unsubscribing takes up to six weeks from today from today from today from"
    )
