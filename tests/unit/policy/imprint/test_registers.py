"""Numbers as registers give them out, with a digit wrong, and as people write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.imprint.registers import (
    NumberError,
    check_company_number,
    check_kvk,
    check_registration,
    check_vat,
    shown_in,
)
from policy.text.text_match import Sought, find, fold, number


@pytest.mark.parametrize("number", ["30124567", "3012 4567", "30.12.45.67", "30124567 0001"])
def test_kvk_numbers(number: str) -> None:
    assert check_kvk(number) == "30124567"


@pytest.mark.parametrize("number", ["", "3012456", "301245678", "00000000", "3O124567", "٣٠١٢٤٥٦٧"])
def test_what_is_no_kvk_number(number: str) -> None:
    with pytest.raises(NumberError, match="is no KvK number"):
        check_kvk(number)


@pytest.mark.parametrize(
    ("number", "whole"),
    [
        ("03456789", "03456789"),
        ("3456789", "03456789"),
        ("SC123456", "SC123456"),
        ("sc 12345", "SC012345"),
        ("OC 301234", "OC301234"),
        ("IP12345R", "IP12345R"),
        ("R0000123", "R0000123"),
    ],
)
def test_company_numbers(number: str, whole: str) -> None:
    assert check_company_number(number) == whole


@pytest.mark.parametrize("number", ["", "0", "00000000", "123456789", "SC1234567", "XX123456", "SC", "12345R"])
def test_what_is_no_company_number(number: str) -> None:
    with pytest.raises(NumberError, match="is no company number"):
        check_company_number(number)


@given(st.text(max_size=40))
def test_no_text_breaks_the_checks(text: str) -> None:
    for check in (check_kvk, check_company_number, check_vat, lambda number: check_registration("RCS Paris", number)):
        assert _outcome(check, text).strip()


def _outcome(check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except NumberError as error:
        return str(error)


@pytest.mark.parametrize(
    ("register", "number"),
    [
        ("KvK", "30124567"),
        ("Kamer van Koophandel", "3012.4567"),
        ("Companies House", "SC123456"),
        ("HRB Aachen", "11223"),
        ("Amtsgericht Aachen, HRA", "9876"),
        ("Firmenbuch", "FN 122119m"),
        ("UID", "CHE-100.155.212"),
        ("RCS Bordeaux", "812 345 601"),
        ("KBO", "0403.019.261"),
        ("NIF", "B58378431"),
        ("Registro Mercantil de Madrid", "whatever they write"),
    ],
)
def test_registrations(register: str, number: str) -> None:
    assert check_registration(register, number)


@pytest.mark.parametrize(
    ("register", "number", "fault"),
    [
        ("RCS Bordeaux", "812345602", "has a wrong check digit"),
        ("KBO", "0403019262", "has a wrong check digit"),
        ("UID", "CHE-100.155.213", "has a wrong check digit"),
        ("HRB Nirgendwo", "11223", "is no number of the register Handelsregister"),
        ("Aachen", "HRB", None),
    ],
)
def test_registrations_that_cannot_be_right(register: str, number: str, fault: str | None) -> None:
    if fault is None:  # a name that says nothing about the register is believed
        assert check_registration(register, number) == register
        return
    with pytest.raises(NumberError, match=fault):
        check_registration(register, number)


@pytest.mark.parametrize(
    ("number", "country", "whole"),
    [
        ("NL812345009B01", "", "NL812345009B01"),
        ("8123.45.009.B01", "NL", "NL812345009B01"),
        ("DE 298 765 402", "", "DE298765402"),
        ("FR85 812345601", "", "FR85812345601"),
        ("ESB87654307", "", "ESB87654307"),
        ("GB 234 5678 05", "", "GB234567805"),
        ("CHE-107.787.577 IVA", "CH", "CHE107787577IVA"),
    ],
)
def test_vat_numbers(number: str, country: str, whole: str) -> None:
    assert check_vat(number, country) == whole


@pytest.mark.parametrize("number", ["NL812345008B01", "DE298765403", "FR84812345601", "GB234567806", "US123", "", "NL"])
def test_vat_numbers_that_cannot_be_right(number: str) -> None:
    with pytest.raises(NumberError):
        check_vat(number)


def finds(sought: Sought, text: str) -> bool:
    return find(fold(text), (sought,), 0, len(text)) is not None


def test_a_number_is_found_however_it_is_parted_and_never_inside_another() -> None:
    kvk = number("30124567")
    for text in ("KvK 30124567", "kvk:3012.4567,", "30 12 45 67", "(30124567)", "3012\u20134567", "3012 30124567"):
        assert finds(kvk, text), text
    for text in ("301245678", "130124567", "a30124567", "30124567b", "3012x4567", "30124568", ""):
        assert not finds(kvk, text), text
    vat = number("812345009B01", "(?:nl[ ]?)?")
    for text in ("NL812345009B01", "btw nl 8123.45.009.b.01", "BTW-nr 812345009B01"):
        assert finds(vat, text), text
    assert not finds(vat, "BE812345009B01")
    assert finds(number("03456789"), "company no. 3456789")
    assert finds(number("03456789"), "company no. 03456789")


def test_numbers_of_others_are_found_by_their_label() -> None:
    assert shown_in("KvK-nummer: 30124576, tel. 0252 550123", "KvK") == ("30124576",)
    assert shown_in("Amtsgericht Köln HRB 4711", "HRB Aachen") == ("HRB 4711",)
    assert shown_in("Company No. 3456780", "Companies House") == ("3456780",)
    assert shown_in("nothing", "KvK") == () == shown_in("whatever", "Registro Mercantil")
