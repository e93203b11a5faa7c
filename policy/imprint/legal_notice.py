"""The legal notice: whether a text shows the sender's identity, as registered for the account.

The required content is derived from an ``Identity``, field by field, as patterns of a normal form: names with their
legal form (``policy.imprint.legal_forms``), addresses (``policy.imprint.postal``), grouped numbers, ``+31 (0)20`` and
``020``. Accents, case and signs make no difference.

Invariants: a number never matches inside a longer one; a notice that is nearly right does not pass.

Limitations: a transliteration (``Muenchen``) counts for what is registered with umlauts, not the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, lru_cache
from string import ascii_letters

from policy.accounts.account import Identity
from policy.imprint import postal
from policy.imprint.legal_forms import company
from policy.imprint.registers import (
    NumberError,
    Register,
    check_registration,
    check_vat,
    compact,
    court_of,
    register_of,
)
from policy.text.text_match import GAP, NEAR, Sought, find, fold, number, words

_CALLING = {
    "AT": "43", "AU": "61", "BE": "32", "BG": "359", "CA": "1", "CH": "41", "CY": "357", "CZ": "420", "DE": "49",
    "DK": "45", "EE": "372", "ES": "34", "FI": "358", "FR": "33", "GB": "44", "GR": "30", "HR": "385", "HU": "36",
    "IE": "353", "IS": "354", "IT": "39", "LI": "423", "LT": "370", "LU": "352", "LV": "371", "MC": "377", "MT": "356",
    "NL": "31", "NO": "47", "NZ": "64", "PL": "48", "PT": "351", "RO": "40", "SE": "46", "SI": "386", "SK": "421",
    "US": "1",
}  # fmt: skip
# The calling codes of one and two digits; all others have three (ITU-T E.164, list of assigned country codes).
_SHORT_CODE = re.compile(r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]")
_COURT_NUMBER = re.compile(r"\b(?:HR[AB]|GnR|PR|VR|GsR)(?![^\W\d_])", re.IGNORECASE)
LAST = 4000  # characters at the end of a text where a notice is looked for first
_SIGN = "[ \t\n().·/-]{0,3}"


class Field(Enum):
    """What a notice may have to show."""

    NAME = "name"
    ADDRESS = "address"
    PHONE = "phone"
    EMAIL = "email"
    REGISTER = "register"
    VAT = "vat"
    REPRESENTATIVE = "representative"
    LOGO = "logo"


@dataclass(frozen=True, slots=True)
class Want:
    """One field of a notice: ``title`` and ``expected`` as an answer calls it. ``ways``: each is enough, and needs all
    it consists of."""

    field: Field
    title: str
    expected: str
    ways: tuple[tuple[Sought, ...], ...]


class Unregistered(ValueError):
    """A field that the identity lacks, or has wrong; the text says which, and why."""


@lru_cache(4096)
def wants(identity: Identity, fields: tuple[Field, ...]) -> tuple[Want, ...]:
    """What a text must show of ``identity``. Name, address, phone and e-mail must be registered if they are asked for;
    the other fields are passed over if they are not, for not everybody has them. Raises Unregistered."""
    made = (_MAKERS[field](identity) for field in dict.fromkeys(fields) if field is not Field.LOGO)
    return tuple(want for want in made if want is not None)


class Shown:
    """A text that may hold a notice. In most mail it stands at the end: there it is looked for first."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _whole(self) -> str:
        return fold(self._text)

    @cached_property
    def _end(self) -> str:
        """The last lines, with the line end before them, so that nothing is found that begins earlier."""
        start = self._text.find("\n", max(0, len(self._text) - LAST))
        return fold(self._text[start:]) if start > 0 else self._whole

    def missing(self, wanted: Sequence[Want]) -> list[Want]:
        """Those of ``wanted`` that the text does not show."""
        return missing(self._end, wanted) and missing(self._whole, wanted)


def missing(text: str, wanted: Sequence[Want]) -> list[Want]:
    """Those of ``wanted`` that the folded ``text`` does not show. A notice is one place: what has been found tells
    where to look first for the rest."""
    lacking, start, end = [], 0, len(text)
    for want in wanted:
        place = _shows(text, want, start, end)
        if place is None and end - start < len(text):
            place = _shows(text, want, 0, len(text))
        if place is None:
            lacking.append(want)
        elif want.field in (Field.NAME, Field.ADDRESS):
            start, end = max(0, place.start() - NEAR), min(len(text), place.end() + NEAR)
    return lacking


def _shows(text: str, want: Want, start: int, end: int) -> re.Match[str] | None:
    near = postal.NEAR if want.field in (Field.ADDRESS, Field.NAME) else NEAR
    return next(filter(None, (find(text, way, start, end, near) for way in want.ways)), None)


def registered(identity: Identity, fields: Sequence[Field]) -> tuple[Want, ...]:
    """The wants for those of ``fields`` that are registered. Raises Unregistered if none is."""
    found: list[Want] = []
    for field in fields:
        try:
            found += wants(identity, (field,))
        except Unregistered:
            continue
    if not found:
        raise Unregistered(f"has no {' and no '.join(field.value for field in fields)}")
    return tuple(found)


def wrong_numbers(identity: Identity) -> list[str]:
    """What is wrong with the register and the VAT number of ``identity``: "has a number that cannot be right: ..."."""
    faults = []
    for make in (_register, _vat):
        try:
            make(identity)
        except Unregistered as fault:
            faults.append(str(fault))
    return faults


def either(wanted: Sequence[Want]) -> Want:
    """One want for several of which one is enough."""
    return Want(
        wanted[0].field,
        " or the ".join(want.title for want in wanted),
        " or ".join(want.expected for want in wanted),
        tuple(way for want in wanted for way in want.ways),
    )


def _name(identity: Identity) -> Want:
    names = tuple(name for name in identity.names if any(map(str.isalnum, name)))
    if not names:
        raise Unregistered("has no name")
    return Want(Field.NAME, "name", " or ".join(names), tuple(way for name in names for way in company(name)))


def _address(identity: Identity) -> Want:
    if not identity.street or not identity.city:
        raise Unregistered("has no postal address (street, postcode, city)")
    place = " ".join(filter(None, (identity.postcode, identity.city)))
    ways = postal.address(identity.street, identity.postcode, identity.city, identity.country)
    return Want(Field.ADDRESS, "postal address", f"{identity.street}, {place}", ways)


def _phone(identity: Identity) -> Want:
    given = identity.phone.strip()
    digits = re.sub(r"\(0\)|\D", "", given)
    if len(digits) < 5:
        raise Unregistered("has no phone number")
    code = _CALLING.get(identity.country.upper(), "")
    if given.startswith("+") or digits.startswith("00"):
        digits = digits.removeprefix("00")
        short = _SHORT_CODE.match(digits)
        code = short[0] if short else digits[:3]
        core = digits[len(code) :]
    else:
        core = digits.removeprefix("0")
    trunk = rf"\(?0?\)?{_SIGN}"
    abroad = rf"(?:\+|00){_SIGN}{code}{_SIGN}{trunk}" if code else r"\+?"
    before = re.compile(rf"(?:(?:\A|\D){abroad}|(?:\A|\D){trunk})\Z")
    other = rf"(?:\+|(?<!\d)00)(?!{code}){_SIGN}[1-9]\d{{0,2}}\W{{0,3}}0?\W{{0,2}}\Z"  # another country's number
    unless = re.compile(other) if code else None
    sought = Sought(re.compile(_SIGN.join(core) + r"(?!\d)"), before=before, unless=unless)
    return Want(Field.PHONE, "phone number", identity.phone, ((sought,),))


def _email(identity: Identity) -> Want:
    if "@" not in identity.email:
        raise Unregistered("has no e-mail address")
    address = fold(identity.email.strip())
    sought = Sought(re.compile(rf"(?<![\w.+-]){re.escape(address)}(?![\w-]|\.\w)"), address, rest=1)
    broken = "\n?".join(map(re.escape, address))  # by elements inside it
    anywhere = Sought(re.compile(rf"(?<![\w.+-]){broken}(?![\w-]|\.\w)"))
    return Want(Field.EMAIL, "e-mail address", identity.email, ((sought,), (anywhere,)))


def _register(identity: Identity) -> Want | None:
    if not identity.number:
        return None
    register, given = identity.register, identity.number
    known = register_of(register, identity.country)
    try:
        check_registration(register, given, identity.country)
    except NumberError as error:
        raise Unregistered(f"has a number that cannot be right: {register} {given} {error}") from None
    title = f"{known.title if known else register or 'register'} number"
    if known is None:
        return Want(Field.REGISTER, title, given, ((words(given, within_numbers="[. \u00a0]?"),),))
    if known.country == "DE":
        kind = _COURT_NUMBER.search(f"{register} {given}")
        lead = rf"{kind[0].casefold()}[\s.:-]{{0,3}}(?:nr|nummer)?[\s.:]{{0,3}}" if kind else ""
        bare = _COURT_NUMBER.sub("", given).strip()
        digits = bare.rstrip(f"{ascii_letters} ")
        letters = bare[len(digits) :].strip()
        shown = number(
            digits or bare, lead, f"(?:{GAP}{letters.casefold()})?"
        )  # the letters of Berlin are often left out
        courts = re.split(r"[(),/]", court_of(register, given))  # "Berlin (Charlottenburg)" goes by either
        ways = tuple((shown, words(court, shortened=True)) for court in courts if court.strip())
        return Want(Field.REGISTER, title, f"{register} {given}", ways or ((shown,),))
    return Want(Field.REGISTER, title, given, _numbers_of(known, given))


def _numbers_of(known: Register, given: str) -> tuple[tuple[Sought, ...], ...]:
    """A number as its register gives it out, and as its country's tax office does."""
    if known.title == "KvK":  # eight digits for the company, four for where it is
        return ((number(compact(given)[:8], behind=rf"(?:{GAP}(?:\d{GAP}){{3}}\d)?"),),)
    if known.title == "SIRET":  # nine digits for the company (SIREN), five for where it is
        alone = rf"(?!{GAP}(?:\d{GAP}){{4}}\d(?!\d))"  # not that of another place
        return (number(given),), (number(compact(given)[:9], behind=alone),)
    if known.title == "RCS":
        return (number(given),), (number(given, behind=rf"{GAP}(?:\d{GAP}){{4}}\d"),)
    if known.title in ("KBO/BCE", "NIF/CIF"):  # the VAT number, but for the letters
        return ((number(compact(given).removeprefix(known.country), rf"(?:{known.country.lower()}[\W_]{{0,3}})?"),),)
    return ((number(given),),)


def _vat(identity: Identity) -> Want | None:
    if not identity.vat:
        return None
    try:
        given = check_vat(identity.vat, identity.country)
    except NumberError as error:
        raise Unregistered(f"has a VAT number that cannot be right: {identity.vat} {error}") from None
    letters, rest = (given[:2], given[2:]) if not given.startswith("CHE") else ("", given[:12])
    sought = number(rest, rf"(?:{letters.casefold()}[\W_]{{0,3}})?")
    return Want(Field.VAT, "VAT number", identity.vat, ((sought,),))


def _representative(identity: Identity) -> Want | None:
    if not identity.representative:
        return None
    people = [words(person) for person in re.split(r"[;,]", identity.representative) if person.strip()]
    return Want(Field.REPRESENTATIVE, "representative", identity.representative, (tuple(people),))


_MAKERS = {
    Field.NAME: _name,
    Field.ADDRESS: _address,
    Field.PHONE: _phone,
    Field.EMAIL: _email,
    Field.REGISTER: _register,
    Field.VAT: _vat,
    Field.REPRESENTATIVE: _representative,
}
