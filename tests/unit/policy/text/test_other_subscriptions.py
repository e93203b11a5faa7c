"""Links that end another subscription than that to mail, or messages of another kind."""

from __future__ import annotations

import pytest

from policy.text.unsubscribe_grammar import UnsubscribeGrammar, plain


@pytest.mark.parametrize(
    "words",
    [
        "Uw broodabonnement opzeggen", "Sportabonnement beëindigen", "Ihr Zeitungsabo kündigen", "Kaffee-Abo kündigen",
        "Résilier mon abonnement mobile", "Suspendre mon abonnement au panier bio", "Cancel my coffee subscription",
        "Cancelar mi suscripción a la caja de vinos", "Cancel Your Coffee Subscription",
    ],
)  # fmt: skip
def test_it_is_of_others(words: str) -> None:
    assert UnsubscribeGrammar.shipped().is_of_others(plain(words), words)


@pytest.mark.parametrize(
    "words",
    [
        "Abonnement opzeggen", "Nieuwsbriefabonnement opzeggen", "Newsletter-Abo kündigen", "Mailabo beenden",
        "Abo kündigen", "Résilier mon abonnement", "Résilier mon abonnement à cette lettre", "Désabonnement",
        "Résilier mon abonnement à Riverside", "Cancelar mi suscripción ahora", "Cancel your subscription",
        "Cancel my Riverside subscription", "Cancel this email subscription",
    ],
)  # fmt: skip
def test_it_is_of_mail(words: str) -> None:
    assert not UnsubscribeGrammar.shipped().is_of_others(plain(words), words)


@pytest.mark.parametrize(
    "words",
    [
        "Turn off browser notifications", "Delete my account", "Stop receiving printed catalogues",
        "Uitschrijven als patiënt van onze praktijk", "Als Mitglied abmelden als Patient", "Ne plus recevoir d'appels",
        "Dejar de recibir el catálogo impreso", "Keine SMS mehr erhalten", "Remove me from the waiting list",
    ],
)  # fmt: skip
def test_it_is_of_another_channel(words: str) -> None:
    assert UnsubscribeGrammar.shipped().is_of_other_channel(plain(words))


@pytest.mark.parametrize(
    "words",
    [
        "Turn off these notifications", "Stop emails and browser notifications", "Afmelden als abonnee",
        "Keine E-Mails mehr", "Ne plus recevoir ces messages", "No recibir más mensajes", "Als u dit niet meer wilt",
    ],
)  # fmt: skip
def test_it_is_of_this_one(words: str) -> None:
    assert not UnsubscribeGrammar.shipped().is_of_other_channel(plain(words))
