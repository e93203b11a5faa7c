"""Phone and register numbers and mail addresses as people write them, and others that are nearly the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from policy.accounts.account import Identity
from policy.imprint.legal_notice import Field, Shown, wants


def shows(text: str, field: Field, country: str = "", **registered: str) -> bool:
    identity = Identity("en", ("X",), country=country, **registered)
    return not Shown(f"Imprint\n{text}\n2026").missing(wants(identity, (field,)))


@pytest.mark.parametrize(
    ("country", "phone", "text"),
    [
        ("NL", "+31 20 123 4567", "020-1234567"),
        ("NL", "020 1234567", "+31 (0)20 - 123 45 67"),
        ("NL", "+31201234567", "T: (020) 123 4567"),
        ("NL", "14 020", "bel 14020"),
        ("DE", "+49 30 5550 1999", "030/55 50 19 99"),
        ("DE", "0241 / 55 01 23", "0049-241-550123"),
        ("FR", "01 23 45 67 89", "+33.1.23.45.67.89"),
        ("FR", "+33 1 23 45 67 89", "Tél : 01.23.45.67.89"),
        ("ES", "953 55 01 23", "(+34) 953550123"),
        ("GB", "+44 113 496 0123", "0113 4960123"),
        ("US", "+1 415 555 0134", "1-415-555-0134"),
        ("US", "(415) 555-0134", "415.555.0134"),
        ("CZ", "+420 212 345 678", "212 345 678"),
        ("CZ", "+420 212 345 678", "+420212345678"),
        ("IT", "+39 06 1234 5678", "06 12345678"),
        ("", "+358 9 123 4567", "09 123 4567"),
        ("NL", "+31 20 123 4567", "KvK 12345678 020 1234567"),
        ("NL", "+31 20 123 4567", "0\n20\n123\n45\n67"),
    ],
)
def test_a_phone_number_is_found_in_any_form(country: str, phone: str, text: str) -> None:
    assert shows(text, Field.PHONE, country, phone=phone)


@pytest.mark.parametrize(
    ("country", "phone", "text"),
    [
        ("NL", "+31 20 123 4567", "+32 20 123 4567"),
        ("NL", "+31 20 123 4567", "0032 (0)20 123 4567"),
        ("NL", "+31 20 123 4567", "+49(0)201234567"),
        ("NL", "+31 20 123 4567", "020-12345678"),
        ("NL", "+31 20 123 4567", "020-1234576"),
        ("ES", "953 55 01 23", "+44 953 550123"),
        ("US", "+1 415 555 0134", "+52 415 555 0134"),
        ("US", "+1 415 555 0134", "415 555 0143"),
    ],
)
def test_another_phone_number_is_not_taken_for_it(country: str, phone: str, text: str) -> None:
    assert not shows(text, Field.PHONE, country, phone=phone)


@pytest.mark.parametrize(
    ("country", "register", "number", "text"),
    [
        ("NL", "KvK", "30124567", "K.v.K. nr.: 30.12.45.67"),
        ("NL", "KvK", "30124567", "KvK 3012\n4567"),
        ("NL", "KvK", "30124567 0001", "KvK 30124567"),
        ("DE", "HRB Aachen", "9876", "Registergericht: AG Aachen, Registernummer: HRB 9876"),
        ("DE", "HRB Charlottenburg", "201234 B", "AG Charlottenburg HRB 201234"),
        ("DE", "HRA Berlin (Charlottenburg)", "55667", "HRA 55667, Amtsgericht Charlottenburg"),
        ("DE", "VR Hamburg", "4711", "Vereinsregister Hamburg, VR-Nr. 4711"),
        ("AT", "FN", "123456a", "FN 123456 a"),
        ("CH", "UID", "CHE-123.000.589", "CHE 123 000 589 MWST"),
        ("FR", "RCS Nantes", "812 300 978", "RCS Nantes B 812300978"),
        ("FR", "RCS Nantes", "812 300 978", "SIRET : 812 300 978 00012"),
        ("FR", "SIRET", "412 341 018 00007", "SIREN 412341018"),
        ("BE", "KBO", "0712.302.078", "BTW BE0712302078"),
        ("BE", "BCE", "BE 0712.302.078", "RPM Liège 0712.302.078"),
        ("ES", "CIF", "B65400509", "NIF: ES-B-65.400.509"),
        ("GB", "Companies House", "03456781", "Company no. 3456781"),
        ("ES", "Registro Mercantil", "Tomo 12, Folio 3, Hoja A-98765", "T. 12, F. 3, H. A98765"),
    ],
)
def test_a_register_number_is_found_in_any_form(country: str, register: str, number: str, text: str) -> None:
    assert shows(text, Field.REGISTER, country, register=register, number=number)


@pytest.mark.parametrize(
    ("country", "register", "number", "text"),
    [
        ("NL", "KvK", "30124567", "KvK 301245678"),
        ("NL", "KvK", "30124567", "KvK 30124576"),
        ("DE", "HRB Aachen", "9876", "HRB 98765 Aachen"),
        ("DE", "HRB Aachen", "9876", "HRA 9876 Aachen"),
        ("DE", "HRB Aachen", "9876", "HRB 9876 Köln"),
        ("FR", "RCS Nantes", "812 300 978", "8123009780001"),
        ("FR", "SIRET", "412 341 018 00007", "412 341 019 00007"),
        ("BE", "KBO", "0712.302.078", "NL0712302078"),
        ("ES", "CIF", "B65400509", "A65400509"),
        ("ES", "Registro Mercantil", "Tomo 12, Folio 3, Hoja A-98765", "T. 12, F. 33, H. A-98765"),
    ],
)
def test_another_register_number_is_not_taken_for_it(country: str, register: str, number: str, text: str) -> None:
    assert not shows(text, Field.REGISTER, country, register=register, number=number)


def test_an_address_is_found_in_pieces_but_no_other() -> None:
    for text in ("Mail: info@shop.example.", "info@\nshop\n.example", "INFO@Shop.Example", "<info@shop.example>"):
        assert shows(text, Field.EMAIL, email="info@shop.example"), text
    for text in ("xinfo@shop.example", "info@shop.example.org", "info@ shop.example", "my.info@shop.example"):
        assert not shows(text, Field.EMAIL, email="info@shop.example"), text


@given(
    st.text("0123456789", min_size=9, max_size=9), st.integers(0, 8), st.sampled_from(["", " ", "-", ".", "\n", " / "])
)
@hypothesis(deadline=None)
def test_one_digit_makes_another_phone_number(digits: str, place: int, sign: str) -> None:
    other = digits[:place] + str((int(digits[place]) + 1) % 10) + digits[place + 1 :]
    assert shows(f"Tel. +31 {sign.join(digits)}.", Field.PHONE, "NL", phone=f"+31 {digits}")
    assert not shows(f"Tel. +31 {sign.join(other)}.", Field.PHONE, "NL", phone=f"+31 {digits}")
