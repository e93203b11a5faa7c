"""Addresses as people write them, and others that are nearly the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from policy.imprint.postal import NEAR, Street, address, read_street
from policy.text.text_match import find, fold

Address = tuple[str, str, str, str]

CANAL = ("Keizersgracht 123-2", "1015 CJ", "Amsterdam", "NL")
PIETER = ("Burgemeester Sint Pieterplein 4", "9711LM", "Groningen", "NL")
HAGUE = ("Lange Voorhout 8a", "2514 ED", "'s-Gravenhage", "NL")
GHENT = ("Korenmarkt 9 bus 201", "9000", "Gent", "BE")
BRUGES = ("Sint-Pieterskaai 28 bus 0201", "8000", "Brugge", "BE")
MEDELLIN = ("Carrera 43A # 7-50", "050021", "Medellín", "CO")
MELBOURNE = ("Level 3, 12 Queen Street", "3000", "Melbourne", "AU")
ALLEE = ("Schönhauser Allee 36-39", "10435", "Berlin", "DE")
BRUNNEN = ("Brunnenstr. 191", "10119", "Berlin", "DE")
MOZART = ("Mozartplatz 5 / Top 12", "5020", "Salzburg", "AT")
GENEVA = ("Rue du Rhône 65", "1204", "Genève", "CH")
LYON = ("14 ter, avenue du Maréchal-Foch", "69006", "Lyon", "FR")
LILLE = ("Bâtiment C, 3 rue Saint-Étienne", "59000", "Lille", "FR")
MADRID = ("Calle de Alcalá, 45, 3º izq.", "28014", "Madrid", "ES")
VALENCIA = ("Avda. del Puerto nº 250 bajo", "46023", "Valencia", "ES")
LONDON = ("Flat 2, 221B Baker Street", "NW1 6XE", "London", "GB")
OXFORD = ("The Old Bakery, 12 St Giles'", "OX1 3JS", "Oxford", "GB")
DENVER = ("1600 E. Colfax Ave., Suite 210-B", "80218", "Denver", "US")
BOSTON = ("Harbor Tower, 9 Pier Road, 2nd Floor", "02110", "Boston", "US")
BRISTOL = ("Office 5, The Old Fire Station, 84 Silver Street", "BS1 2AG", "Bristol", "GB")
ALBERTA = ("1820 NE Alberta Street, Suite 3", "97211", "Portland, OR", "US")
PORTLAND = ("2100 S.W. 5th Ave, Unit #7", "97201", "Portland", "US")
DUBLIN = ("Unit 2, Greenfield Business Park, Ballymount Rd. Lower", "D12 A1B2", "Dublin 12", "IE")
SEVILLE = ("Polígono Industrial El Pino, nave 7", "41016", "Sevilla", "ES")
CAZORLA = ("Ctra. de Cazorla, km 3,5", "23400", "Úbeda", "ES")
CHOLET = ("Zone artisanale Les Prés, 4 chemin du Moulin", "49300", "Cholet", "FR")
PONTARLIER = ("ZI de la Gare, 3 rue des Forges", "25300", "Pontarlier", "FR")
VEGAS = ("9850 South Maryland Parkway, Suite A5", "89183", "Las Vegas", "US")
AUSTIN = ("P.O. Box 1234", "78701", "Austin", "US")


@pytest.mark.parametrize(
    ("registered", "text"),
    [
        (CANAL, "Keizersgracht 123 - 2, 1015CJ  Amsterdam"),
        (CANAL, "Keizersgracht 123/2 | NL-1015 CJ | AMSTERDAM"),
        (PIETER, "Burg. St. Pieterplein 4\n9711 LM Groningen"),
        (HAGUE, "Lange Voorhout 8 A, 2514 ED Den Haag"),
        (HAGUE, "Lange Voorhout 8a, 2514ED The Hague, The Netherlands"),
        (GHENT, "Korenmarkt 9/201, B-9000 Gent"),
        (GHENT, "Korenmarkt 9 b201\n9000 Ghent"),
        (GHENT, "9 Korenmarkt (bte 201) - BE9000 Gand"),
        (BRUGES, "Sint-Pieterskaai 28 bus 201 (bus 0201), 8000 Brugge"),
        (MEDELLIN, "Cra. 43A # 7 - 50, El Poblado\nMedellín 050021"),
        (MELBOURNE, "L3, 12 Queen St, Melbourne 3000"),
        (ALLEE, "Schoenhauser Allee 36\u201339, D-10435 Berlin"),
        (ALLEE, "Schonhauser Allee 36 / 39\nDE 10435 Berlin"),
        (BRUNNEN, "Brunnenstraße 191, 10119 Berlin"),
        (BRUNNEN, "Brunnen-Straße 191, 10119 Berlin"),
        (MOZART, "Mozartplatz 5/12, A-5020 Salzburg"),
        (MOZART, "Mozartplatz 5, Top 12, 5020 Salzburg"),
        (GENEVA, "65, rue du Rhône, CH-1204 Geneva"),
        (LYON, "14ter av. du Marechal Foch, 69006 LYON CEDEX 06"),
        (LYON, "14 TER AVENUE MARÉCHAL FOCH\nF-69006 LYON"),
        (LILLE, "3, rue St-Etienne - Bât. C - 59000 Lille"),
        (LILLE, "Bâtiment C\n3 rue Saint Étienne\n59000 Lille"),
        (MADRID, "C/ Alcalá 45, 3º izquierda - 28014 Madrid"),
        (MADRID, "c. de Alcala, nº 45 - 3.º izq | 28014 | Madrid"),
        (VALENCIA, "Avenida del Puerto, 250, bajo. 46023 València"),
        (VALENCIA, "Av. Puerto 250 bajo, E-46023 Valencia"),
        (LONDON, "221b Baker St., Flat 2, London NW16XE"),
        (LONDON, "Flat 2\n221B Baker Street\nLondon\nNW1 6XE"),
        (OXFORD, "The Old Bakery, 12 St. Giles, Oxford OX1 3JS"),
        (DENVER, "1600 East Colfax Avenue #210B, Denver, CO 80218"),
        (ALBERTA, "1820 N.E. Alberta St., Ste. 3, Portland, Oregon 97211"),
        (DENVER, "1600 E Colfax Ave, Ste 210-B, Denver CO 80218-1234"),
        (BOSTON, "9 Pier Rd., Harbor Tower, 2nd floor, Boston, MA 02110"),
        (BOSTON, "Floor 2, Harbor Tower, 9 Pier Road\nBoston MA 02110"),
        (BRISTOL, "84 Silver Street (Office 5, Old Fire Station)\nBristol, BS12AG"),
        (PORTLAND, "2100 SW Fifth Avenue #7, Portland OR 97201"),
        (DUBLIN, "Unit 2 Greenfield Business Park\nBallymount Road Lower\nDublin 12\nD12A1B2"),
        (SEVILLE, "Pol. Ind. El Pino - Nave nº 7\nSevilla (41016)"),
        (SEVILLE, "P.I. El Pino, nave 7, 41016 Sevilla"),
        (CAZORLA, "Carretera Cazorla Km. 3,5 - 23400 Úbeda"),
        (CAZORLA, "Crta. de Cazorla, kilómetro 3.5, Úbeda 23400"),
        (CHOLET, "ZA Les Prés, 4 ch. du Moulin, 49300 CHOLET"),
        (CHOLET, "Z.A. Les Prés - 4, chemin du Moulin - 49300 Cholet"),
        (PONTARLIER, "Zone Industrielle de la Gare\n3, rue des Forges\n25300 Pontarlier"),
        (PONTARLIER, "Z.I. de la Gare, 3 rue des Forges, 25300 Pontarlier"),
        (VEGAS, "9850 S Maryland Pkwy, Ste A-5, Las Vegas, NV 89183"),
        (AUSTIN, "PO Box 1234, Austin, TX 78701"),
        (AUSTIN, "Post Office Box 1234\nAustin, Texas 78701"),
    ],
)
def test_an_address_is_found_however_it_is_written(registered: Address, text: str) -> None:
    assert shows(registered, text)


@pytest.mark.parametrize(
    ("registered", "text"),
    [
        (CANAL, "Keizersgracht 123-3, 1015 CJ Amsterdam"),
        (CANAL, "Keizersgracht 124-2, 1015 CJ Amsterdam"),
        (CANAL, "Herengracht 123-2, 1015 CJ Amsterdam"),
        (CANAL, "Keizersgracht 123-2, 1015 CK Amsterdam"),
        (CANAL, "Keizersgracht 123-2, 1015 CJ Amstelveen"),
        (HAGUE, "Lange Voorhout 8b, 2514 ED Den Haag"),
        (HAGUE, "Lange Voorhout 8, 2514 ED Den Haag"),
        (GHENT, "Korenmarkt 9 bus 202, 9000 Gent"),
        (BRUGES, "Sint-Pieterskaai 28 bus 21, 8000 Brugge"),
        (MEDELLIN, "Cra. 43A # 7 - 60, El Poblado\nMedellín 050021"),
        (MELBOURNE, "L4, 12 Queen St, Melbourne 3000"),
        (ALLEE, "Schönhauser Allee 36-38, 10435 Berlin"),
        (BRUNNEN, "Brunnenweg 191, 10119 Berlin"),
        (BRUNNEN, "Brunnenstr. 1191, 10119 Berlin"),
        (BRUNNEN, "Brunnenstr. 191, 101190 Berlin"),
        (MOZART, "Mozartplatz 5 / Top 13, 5020 Salzburg"),
        (LYON, "14 bis, avenue du Maréchal-Foch, 69006 Lyon"),
        (LYON, "14, avenue du Maréchal-Foch, 69006 Lyon"),
        (LYON, "14 ter, rue du Maréchal-Foch, 69006 Lyon"),
        (MADRID, "C/ Alcalá 54, 3º izq., 28014 Madrid"),
        (MADRID, "C/ Alcalá 45, 4º izq., 28014 Madrid"),
        (LONDON, "Flat 3, 221B Baker Street, London NW1 6XE"),
        (LONDON, "Flat 2, 221C Baker Street, London NW1 6XE"),
        (DENVER, "1600 W. Colfax Ave., Suite 210-B, Denver, CO 80218"),
        (DENVER, "1600 E. Colfax Ave., Suite 210-C, Denver, CO 80218"),
        (BOSTON, "9 Pier Road, Harbor Tower, 3rd Floor, Boston MA 02110"),
        (BOSTON, "9 Pier Road, Harbor Tower, 2 offices, Boston MA 02110"),
        (ALBERTA, "1820 NE Alberta Street, Suite 3, Portland, Maine 97211"),
        (PORTLAND, "2100 NW 5th Ave, Unit 7, Portland, OR 97201"),
        (PORTLAND, "2100 SW 6th Ave, Unit 7, Portland, OR 97201"),
        (DUBLIN, "Unit 4, Greenfield Business Park, Ballymount Road Lower, Dublin 12, D12 A1B2"),
        (SEVILLE, "Polígono Industrial El Pino, nave 9, 41016 Sevilla"),
        (CAZORLA, "Carretera de Cazorla, km 35, 23400 Úbeda"),
        (CAZORLA, "Carretera de Cazorla, km 3, 23400 Úbeda"),
        (CHOLET, "ZI Les Prés, 4 chemin du Moulin, 49300 Cholet"),
        (PONTARLIER, "Zone artisanale de la Gare, 3 rue des Forges, 25300 Pontarlier"),
        (VEGAS, "9850 South Maryland Parkway, Suite B5, Las Vegas, NV 89183"),
        (AUSTIN, "PO Box 1243, Austin, TX 78701"),
    ],
)
def test_another_address_is_not_taken_for_it(registered: Address, text: str) -> None:
    assert not shows(registered, text)


@pytest.mark.parametrize(
    ("registered", "text"),
    [
        (
            ("Burgemeester van Tuyllstraat 14 A", "3453 AB", "De Meern", "NL"),
            "Burg. v. Tuyllstraat 14a, 3453AB De Meern",
        ),
        (
            ("2e Jan van der Heijdenstraat 44-III", "1074 XR", "Amsterdam", "NL"),
            "Tweede Jan v.d. Heijdenstraat 44 III, 1074 XR Amsterdam",
        ),
        (("Karl-Liebknecht-Straße 12", "04107", "Leipzig", "DE"), "Karl Liebknecht Str. 12, D-04107 Leipzig"),
        (("Dr.-Külz-Ring 10", "01067", "Dresden", "DE"), "Dr. Külz-Ring 10, 01067 Dresden"),
        (("Mariahilfer Straße 45/2/12", "1060", "Wien", "AT"), "Mariahilferstr. 45, Stiege 2, Top 12, 1060 Wien"),
        (("14, avenue du Maréchal Foch", "69006", "Lyon", "FR"), "14 av. Mal Foch – 69006 LYON"),
        (
            ("ZI des Paluds, 120 avenue du Garlaban", "13400", "Aubagne", "FR"),
            "120, av. du Garlaban – Z.I. des Paluds – 13400 Aubagne",
        ),
        (
            ("27 boulevard Saint-Germain, 2e étage", "75005", "Paris", "FR"),
            "27, bd Saint-Germain (2ème étage), 75005 Paris",
        ),
        (("Chaussée de Wavre 88 boîte 2", "1050", "Ixelles", "BE"), "Chée de Wavre 88/2, 1050 Bruxelles (Ixelles)"),
        (("Calle de Alcalá, 96, 3.º izquierda", "28009", "Madrid", "ES"), "C/ Alcalá 96, 3º izda. 28009 Madrid"),
        (
            ("Polígono Industrial Malpica, calle E, nave 14", "50016", "Zaragoza", "ES"),
            "Pol. Ind. Malpica, C/ E, nave 14, 50016 Zaragoza",
        ),
        (("Gran Vía 45, 6.ª planta", "28013", "Madrid", "ES"), "Gran Vía, 45 - planta 6 - 28013 Madrid"),
        (("Flat 2, 18 St John's Road", "SW11 1PN", "London", "GB"), "18 Saint Johns Rd (Flat 2), London SW11 1PN"),
        (
            ("1200 Northwest Lovejoy Street, Suite 300", "97209", "Portland, OR", "US"),
            "1200 NW Lovejoy St., Ste. 300, Portland, Oregon 97209",
        ),
        (
            ("55 East 10th Street, Floor 5", "10003", "New York, NY", "US"),
            "55 E. 10th St, 5th Floor, New York, NY 10003-1234",
        ),
    ],
)
def test_addresses_as_people_type_them(registered: Address, text: str) -> None:
    assert shows(registered, text)


def test_the_pieces_stand_in_one_place() -> None:
    street, rest = "Brunnenstr. 191", "10119 Berlin"
    assert not shows(BRUNNEN, f"{street}{' . ' * NEAR}{rest}")
    assert shows(BRUNNEN, f"Unser Laden: {street}!{' . ' * NEAR}{street}, {rest}")


@pytest.mark.parametrize(
    ("street", "country", "expected"),
    [
        ("12 rue du 8 Mai 1945", "FR", Street("rue du 8 mai 1945", "12")),
        ("Straße des 17. Juni 135", "DE", Street("strasse des 17. juni", "135")),
        ("Calle Mayor, 3, 2º B", "ES", Street("calle mayor", "3", ("2º b",))),
        ("Unit 4, 27 Mill Lane", "GB", Street("mill lane", "27", ("4",))),
        ("Block 3, Unit 12B, Old Mill", "GB", Street("old mill", "", ("3", "12b"))),
        ("Raadhuisplein", "NL", Street("raadhuisplein")),
        ("Plaza Mayor s/n", "ES", Street("plaza mayor", "s/n")),
    ],
)
def test_a_street_is_taken_apart(street: str, country: str, expected: Street) -> None:
    assert read_street(street, country) == expected


@given(st.integers(1, 999), st.integers(1, 999), st.sampled_from(["", "a", " bis", "-3"]), st.booleans())
@hypothesis(deadline=None)
def test_no_other_house_number_passes(right: int, shown: int, suffix: str, first: bool) -> None:
    registered = (f"Parklaan {right}{suffix}", "3011 AA", "Rotterdam", "NL")
    text = f"{shown}{suffix} Parklaan" if first else f"Parklaan {shown}{suffix}"
    assert shows(registered, f"{text}, 3011 AA Rotterdam") == (right == shown)


@given(st.text(max_size=40), st.text(max_size=12), st.text(max_size=20), st.sampled_from(["", "NL", "FR", "ES", "US"]))
@hypothesis(deadline=None)
def test_no_address_breaks_it(street: str, postcode: str, city: str, country: str) -> None:
    folded = fold(f"{street}, {postcode} {city}")
    for way in address(street, postcode, city, country):
        found = find(folded, way, 0, len(folded))
        assert found is None or 0 <= found.start() <= found.end() <= len(folded)


def shows(registered: Address, text: str) -> bool:
    folded = fold(f"Firma X\n{text}\n")
    return any(find(folded, way, 0, len(folded), NEAR) for way in address(*registered))
