"""Links that end another subscription than that to mail."""

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
