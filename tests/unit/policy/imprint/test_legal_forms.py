"""Names of companies in the spellings of their legal form, and those of other companies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from policy.imprint.legal_forms import company
from policy.text.text_match import find, fold


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Zonnepaneel Direct B.V.", "Zonnepaneel Direct BV"),
        ("Zonnepaneel Direct BV", "© ZONNEPANEEL DIRECT B. V. 2026"),
        ("Besloten Vennootschap Zonnepaneel Direct", "Zonnepaneel Direct b.v."),
        ("Zonnepaneel Direct B.V.", "zonnepaneel-direct besloten vennootschap met beperkte aansprakelijkheid"),
        ("Stichting De Ark", "St. De Ark"),
        ("Buchhandlung Vogt e.K.", "Vogt Buchhandlung e. K."),
        ("Donauladen Handelsgesellschaft m.b.H.", "Donauladen Handelsges.m.b.H."),
        ("De Ark Stichting", "Stichting De Ark"),
        ("Vereniging Eigen Tuin", "Ver. Eigen Tuin"),
        ("Bäckerei Krüger GmbH", "Baeckerei Krueger G.m.b.H."),
        ("Bäckerei Krüger GmbH", "Backerei Kruger Gesellschaft mit beschränkter Haftung"),
        ("Krüger & Söhne GmbH & Co. KG", "Krüger und Söhne GmbH u. Co. KG"),
        ("Krüger & Söhne GmbH & Co. KG", "Krüger & Söhne GmbH & Co KG"),
        ("Blitz UG (haftungsbeschränkt)", "Blitz UG haftungsbeschränkt"),
        ("Blitz UG (haftungsbeschränkt)", "Blitz Unternehmergesellschaft (haftungsbeschränkt)"),
        ("Turnverein Nord e.V.", "Turnverein Nord e. V."),
        ("Blumen Otto e.K.", "Blumen Otto e. Kfm."),
        ("SARL Le Fournil", "Le Fournil S.A.R.L."),
        ("Le Fournil SARL", "Société à responsabilité limitée Le Fournil"),
        ("L'Atelier du Bois SAS", "L\u2019atelier du bois (SAS)"),
        ("Groupe Horizon S.A.", "GROUPE HORIZON, société anonyme"),
        ("Œuvres & Co SAS", "Oeuvres et Co SAS"),
        ("Frutas del Sur S.L.", "Frutas del Sur, Sociedad Limitada"),
        ("Frutas del Sur, S.L.U.", "FRUTAS DEL SUR SLU"),
        ("Frutas del Sur S. A.", "Frutas del Sur, Sociedad Anónima"),
        ("Asociación Amigos del Cine", "Asoc. Amigos del Cine"),
        ("Smith & Daughters Ltd", "Smith and Daughters Limited"),
        ("Smith & Daughters Limited", "SMITH & DAUGHTERS LTD."),
        ("Acme Widgets, Inc.", "Acme Widgets Incorporated"),
        ("Acme Widgets L.L.C.", "Acme Widgets LLC"),
        ("Marks & Co", "Marks & Company"),
        ("O'Neill Books PLC", "O\u2019Neill Books Public Limited Company"),
        ("The Bristol Bee Company Community Interest Company", "Bristol Bee Company C.I.C."),
        ("Kelly's Garden Centre Unlimited Company", "Kellys Garden Centre UC"),
        ("Les Vergers d'Élise EARL", "E.A.R.L. Les Vergers d'Elise"),
        ("Velowerk", "Willkommen bei Velowerk!"),
        ("Krüger & Söhne GmbH", "K\nrüger\n&\nSöh\nne\nGmbH"),
    ],
)
def test_a_company_is_found_by_its_form_in_any_spelling(name: str, text: str) -> None:
    assert shows(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Zonnepaneel Direct B.V.", "Zonnepaneel Direct"),
        ("Zonnepaneel Direct B.V.", "Zonnepaneel Direct N.V."),
        ("Zonnepaneel Direct B.V.", "Zonnepaneel Direct Nederland B.V."),
        ("Zonnepaneel Direct B.V.", "Zonnepanelen Direct B.V."),
        ("Zonnepaneel Direct B.V.", "Zonnepaneel Direct BVX"),
        ("Stichting De Ark", "De Ark B.V."),
        ("Buchhandlung Vogt e.K.", "Vogt Buchhandlung GmbH"),
        ("Buchhandlung Vogt e.K.", "Vogt Papier, Buchhandlung e. K."),
        ("Krüger GmbH & Co. KG", "Krüger GmbH"),
        ("Krüger GmbH", "Krügel GmbH"),
        ("Le Fournil SARL", "Le Fournil SAS"),
        ("Frutas del Sur S.L.", "Frutas del Sur S.A."),
        ("Smith & Daughters Ltd", "Smith & Daughters LLP"),
        ("Smith & Daughters Ltd", "Blacksmith & Daughters Ltd"),
    ],
)
def test_another_company_is_not_taken_for_it(name: str, text: str) -> None:
    assert not shows(name, text)


@given(st.text(max_size=30), st.text(max_size=60))
@hypothesis(deadline=None)
def test_no_name_breaks_it(name: str, text: str) -> None:
    shows(name, text)


@given(st.text("abcäöüéñß", min_size=3, max_size=12), st.sampled_from(["GmbH", "B.V.", "SARL", "S.L.", "Ltd", "e.V."]))
@hypothesis(deadline=None)
def test_a_name_is_found_as_it_is_registered(word: str, form: str) -> None:
    for name in (f"{word} {form}", f"Haus {word} & {word}, {form}"):
        assert shows(name, name)
        assert not shows(name, name.replace(word, f"{word}x"))


def shows(name: str, text: str) -> bool:
    folded = fold(f"Info\n{text}\n2026")
    return any(find(folded, way, 0, len(folded)) for way in company(name))
