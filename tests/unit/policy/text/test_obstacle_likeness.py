"""Likeness of sentences to samples of obstacles."""

from __future__ import annotations

import pytest

from policy.text.obstacle_grammar import LIKE, Bar, Nearness, ObstacleGrammar
from policy.text.obstacle_likeness import ObstacleLikeness, ObstacleSamples
from policy.text.unsubscribe_grammar import plain

LIKENESS = ObstacleLikeness(
    ObstacleSamples(
        negations=["no"],
        barred=["bring your passport to the desk", "bring a stamped form", "send the form to the desk"],
        free=["click here and it is done", "no form is needed", "no desk to visit", "it is done at once"],
    )
)


def likened(sentence: str, nearness: Nearness, spoken: str = "") -> bool:
    found = ObstacleGrammar.shipped().likened(plain(sentence), nearness, spoken=spoken)
    assert found is None or found.bar is Bar.CONDITION
    return found is not None


def test_words_weigh_by_the_samples_that_have_them() -> None:
    assert LIKENESS.of("bring the form") > 2
    assert LIKENESS.of("it is done here") < -2
    assert LIKENESS.of("purple elephants sing") == 0


def test_a_word_behind_a_negation_is_another() -> None:
    assert LIKENESS.of("no form is needed") < 0 < LIKENESS.of("the form is needed here")


def test_an_unknown_word_counts_where_it_is_told_to() -> None:
    assert LIKENESS.of("purple elephants sing", 0.5) == 1.5
    assert LIKENESS.of("purple elephants", 0.5) == 0, "too few words to tell anything"


def test_words_in_a_row_have_at_least_the_likeness_of_their_sentence() -> None:
    for sentence in ("bring the form", "click here and it is done", "bring a form and click here"):
        assert LIKENESS.most(sentence) >= LIKENESS.of(sentence)
        assert LIKENESS.most(f"it is done here {sentence} it is done here") >= LIKENESS.of(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "Send the signed slip to the treasurer", "You have to return all borrowed umbrellas to our branch first",
        "Schicken Sie den unterschriebenen Zettel an die Kassenwartin", "Bring eerst uw geleende boeken terug",
        "Nous vous libérons dès que les livres prêtés sont rendus", "Le soltamos en cuanto devuelva los libros",
    ],
)  # fmt: skip
def test_obstacles_in_other_words_are_known_behind_the_link(sentence: str) -> None:
    assert likened(sentence, Nearness.REST)


@pytest.mark.parametrize(
    "sentence",
    [
        "and we take you off at once", "it takes one click and costs nothing", "wir nehmen Sie sofort heraus",
        "en u hoort niets meer van ons", "et nous vous retirons de la liste", "y le quitamos de la lista",
        "Mit sportlichen Grüßen, der Vorstand", "Mit musikalischem Gruß, die Kapelle", "Fair winds from the crew",
        "Water is still high on the Taylor", "Good hunting, your guides on the Madison", "Dank van het koor",
        "De kersen zijn vroeg dit jaar", "Les cerises sont en avance cette année", "Con un saludo musical, el director",
    ],
)  # fmt: skip
@pytest.mark.parametrize("nearness", LIKE)
def test_what_honest_senders_say_there_is_none(sentence: str, nearness: Nearness) -> None:
    assert not likened(sentence, nearness)


def test_names_and_subjects_are_unknown_words_that_tell_nothing_of_unsubscribing() -> None:
    sentence = "Enough of heirloom tomatoes, dahlias and rhubarb? Unsubscribe from the Larkspur Gazette"
    assert not likened(sentence, Nearness.ABOUT)
    assert not likened("Larkspur Nurseries grow heirloom dahlias at Netherby", Nearness.NEAR)


def test_an_entry_of_a_list_is_not_compared() -> None:
    assert not likened("Send the signed slip to the secretary", Nearness.LISTED)


def test_a_time_that_may_be_taken_tells_nothing() -> None:
    grammar = ObstacleGrammar.shipped()
    assert grammar.likened("but only after seven days have gone by", Nearness.REST, patience=2)
    assert not likened("and we take you off within two days", Nearness.REST)


@pytest.mark.parametrize(
    "sentence",
    [
        "Een goed gevuld glas en tot ziens, familie Terpstra", "Tot dinsdag bij de kar", "Tot zaterdag bij de kraam",
        "Rechnungen und Sicherheitshinweise kommen nach wie vor", "Ihr Platz im Chor bleibt Ihnen sicher",
        "Les courriers officiels de l'école arrivent toujours par le portail des parents",
        "Votre voix compte, au conseil aussi", "Bienvenidos a la primera clase del año",
        "Su garantía sigue vigente, claro", "Official school letters still reach you through the parent portal",
        "Invoices and safety alerts keep coming", "Expect queues on the A7 on market day",
    ],
)  # fmt: skip
def test_what_goes_on_and_what_is_new_bars_nothing(sentence: str) -> None:
    assert not likened(sentence, Nearness.NEXT)


@pytest.mark.parametrize(
    "sentence",
    [
        "Stap even de zaak in en laat het Joke weten, zij gumt u uit", "Der Pfandbon gilt als Nachweis",
        "Le livreur reprendra votre billet à sa prochaine tournée",
        "This goes through your child's teacher", "Only once the lease is up",
    ],
)  # fmt: skip
def test_ways_that_go_through_others_are_known_behind_the_link(sentence: str) -> None:
    assert likened(sentence, Nearness.NEXT)


@pytest.mark.parametrize(
    ("sentence", "spoken"),
    [
        ("Have your order number ready", "you can unsubscribe here from our list"),
        ("Houd uw bestelnummer gereed", "u kunt zich hier van de lijst afmelden"),
        ("Halten Sie Ihre Bestellnummer bereit", "hier können Sie sich von der Liste abmelden"),
        ("Ayez votre numéro de commande sous les yeux", "vous pouvez vous désabonner de la liste ici"),
        ("Tenga listo su número de pedido", "puede darse de baja de la lista aquí"),
    ],
)
def test_the_number_of_an_order_that_must_be_at_hand_bars_the_way(sentence: str, spoken: str) -> None:
    assert likened(sentence, Nearness.NEXT, spoken)


def test_a_number_that_is_asked_for_when_one_calls_about_a_delivery_bars_nothing() -> None:
    assert not likened("Have your order number ready when you call about a delivery", Nearness.NEXT)
