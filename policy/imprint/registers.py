"""Company register and VAT numbers: how they are written, whether they can be valid, and where a text shows them.

Checksums come from python-stdnum. The Dutch Chamber of Commerce (KvK) and Companies House are missing there and
implemented here.

Invariants: a number that its register could not have issued is never accepted, nor is part of a longer number.

Limitations: KvK, British company and German HRB numbers have no check digit: only their form is checked (and the
court).
Whether the company exists is not checked. Other registers are compared by digits alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from stdnum.at import businessid as at_businessid
from stdnum.be import vat as be_vat
from stdnum.ch import uid as ch_uid
from stdnum.ch import vat as ch_vat
from stdnum.de import handelsregisternummer
from stdnum.es import nif as es_nif
from stdnum.eu import vat as eu_vat
from stdnum.exceptions import InvalidChecksum, ValidationError
from stdnum.fr import siren as fr_siren
from stdnum.fr import siret as fr_siret
from stdnum.gb import vat as gb_vat

# Prefixes of Companies House: where and what is registered (its "uniform resource identifiers customer guide").
UK_PREFIXES = frozenset({
    "AC", "CE", "CN", "CS", "ES", "FC", "FE", "GE", "GN", "GS", "IC", "IP", "LP", "NA", "NC", "NF", "NI", "NL",
    "NO", "NP", "NR", "NV", "NZ", "OC", "OE", "PC", "RC", "RS", "SA", "SC", "SE", "SF", "SG", "SI", "SL", "SO",
    "SP", "SR", "SZ", "ZC",
})  # fmt: skip
EU = frozenset({
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "EL", "ES", "FI", "FR", "HR", "HU", "IE", "IT", "LT", "LU",
    "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK", "XI",
})  # fmt: skip

_SEPARATORS = re.compile(r"[\s./\u00a0\u2009\u202f\u2010-\u2015-]+")
_COURT_NUMBER = re.compile(r"\b(HR[AB]|GnR|PR|VR|GsR)(?![^\W\d_])", re.IGNORECASE)
_NO_COURT = re.compile(
    r"\b(?:amtsgerichts?|registergericht|ag|[a-z]*register|registers|des|beim|HR[AB]|GnR|PR|VR|GsR|nr\.?)(?!\w)|[,:]",
    re.IGNORECASE,
)


class NumberError(ValueError):
    """Why a number cannot be right; the text goes after the number: "... has a wrong check digit"."""


@dataclass(frozen=True, slots=True)
class Register:
    """A company register. ``named``: how people call it; ``check`` raises NumberError or ValidationError.
    ``sample``: a shape to find such a number by, whoever's it is: label first, number in the first group."""

    title: str
    country: str
    named: re.Pattern[str]
    check: Callable[[str], object]
    sample: re.Pattern[str]


def check_kvk(number: str) -> str:
    """A number of the Dutch trade register: eight digits (Handelsregisterbesluit 2008); a branch has four more.
    Returns the eight. Raises NumberError."""
    digits = compact(number)
    if not digits.isdecimal() or not digits.isascii() or len(digits) not in (8, 12):
        raise NumberError("is no KvK number: that has 8 digits")
    if not digits[:8].strip("0"):
        raise NumberError("is no KvK number: it is all zeros")
    return digits[:8]


def check_company_number(number: str) -> str:
    """A number of Companies House: eight digits, or two letters for place and kind and six digits; leading zeros may be
    missing, industrial societies end in R. Returns it with eight characters. Raises NumberError."""
    compacted = compact(number)
    letters = compacted[:2] if compacted[:2].isalpha() else compacted[:1] if compacted[:1] == "R" else ""
    digits = compacted[len(letters) :]
    if letters == "IP":
        digits = digits.removesuffix("R")
    if not digits.isdecimal() or not digits.isascii() or len(letters) + len(digits) > 8 or not digits.strip("0"):
        raise NumberError("is no company number: that has 8 digits, or two letters and 6 digits")
    if letters not in ("", "R") and letters not in UK_PREFIXES:
        raise NumberError(f"is no company number: Companies House does not use the prefix {letters}")
    return compacted if compacted.endswith("R") and letters else letters + digits.zfill(8 - len(letters))


def check_luxembourg(number: str) -> str:
    """A number of the register of Luxembourg: a letter for the kind and up to six digits. Raises NumberError."""
    compacted = compact(number)
    if not re.fullmatch(r"[A-Z][1-9][0-9]{0,5}", compacted):
        raise NumberError("is no number of the RCS of Luxembourg: that has a letter and up to 6 digits")
    return compacted


def _check_court_number(number: str) -> str:
    if "GsR" in number or "GSR" in number:  # since 2024, and not known to the library
        return number
    found: str = handelsregisternummer.validate(number)
    return found


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


_TO = r"[\s.:()#-]*(?:n(?:ummer|umber|umero|uméro|r|o|º|°)?)?[\s.:()#-]{0,6}"

REGISTERS = (
    Register("KvK", "NL", _pattern(r"kvk|k\.v\.k|koophandel|handelsregister nl"), check_kvk,
             _pattern(rf"(?:kvk|k\.v\.k\.|koophandel){_TO}(\d[\d .]{{6,12}}\d)(?!\d)")),
    Register("Companies House", "GB", _pattern(r"compan(?:y|ies)"), check_company_number,
             _pattern(rf"(?:compan(?:y|ies)(?: house)?|registered)(?: reg\w*)?{_TO}((?:[A-Z]{{2}})?\d{{6,8}})(?!\d)")),
    Register("Handelsregister", "DE", _pattern(r"hr[ab]\b|amtsgericht|handelsregister|gnr\b|[a-z]+register\b"),
             _check_court_number, _pattern(rf"(HR[AB]{_TO}\d{{1,6}}(?: ?[A-Z]{{1,2}}\b)?)")),
    Register("Firmenbuch", "AT", _pattern(r"firmenbuch|\bfn\b"), at_businessid.validate,
             _pattern(rf"FN{_TO}(\d{{4,6}} ?[a-z])\b")),
    Register("UID", "CH", _pattern(r"\buid\b|\bide\b|zefix|handelsregister|registre du commerce"), ch_uid.validate,
             _pattern(r"(CHE[- ]?\d{3}[. ]?\d{3}[. ]?\d{3})")),
    Register("SIRET", "FR", _pattern(r"siret"), fr_siret.validate, _pattern(rf"siret{_TO}(\d[\d ]{{12,17}})(?!\d)")),
    Register("RCS", "FR", _pattern(r"rcs|r\.c\.s|siren"), fr_siren.validate,
             _pattern(rf"(?:rcs(?: [a-zà-ÿ-]+)?|siren){_TO}(?:[AB] ?)?(\d{{3}} ?\d{{3}} ?\d{{3}})(?!\d)")),
    Register("RCS Luxembourg", "LU", _pattern(r"rcs|r\.c\.s|registre de commerce"), check_luxembourg,
             _pattern(rf"rcs ?l?(?: luxembourg)?{_TO}([A-Z] ?\d{{1,6}})(?!\d)")),
    Register("KBO/BCE", "BE", _pattern(r"kbo|bce|ondernemingsnummer|num[eé]ro d.entreprise|rpr|rpm"), be_vat.validate,
             _pattern(rf"(?:kbo|bce|ondernemingsnummer|entreprise){_TO}(?:BE ?)?"
                      r"([01]?\d{3}[. ]?\d{3}[. ]?\d{3})")),
    Register("NIF/CIF", "ES", _pattern(r"\bcif\b|\bnif\b|c\.i\.f|n\.i\.f"), es_nif.validate,
             _pattern(rf"(?:cif|nif|c\.i\.f\.?|n\.i\.f\.?){_TO}([A-Z0-9][ -]?\d{{7}}[ -]?[A-Z0-9])\b")),
)  # fmt: skip


def register_of(name: str, country: str = "") -> Register | None:
    """The register that is called ``name`` ("KvK", "HRB Aachen", "Companies House"); None if it is not known here."""
    fitting = [register for register in REGISTERS if register.named.search(name)]
    return next((register for register in fitting if register.country == country), fitting[0] if fitting else None)


def compact(number: str) -> str:
    """A number without the signs that only part it, in capitals."""
    return _SEPARATORS.sub("", number).upper()


@lru_cache(1024)
def check_registration(register: str, number: str, country: str = "") -> str:
    """The register's title. Raises NumberError if it could not have given out ``number``; a register that is not known
    here is believed."""
    known = register_of(register, country)
    if known is None:
        return register
    whole = number
    if known.country == "DE":
        bare = _COURT_NUMBER.sub("", number)
        kind = _kind_of(number) or _kind_of(register)
        whole = f"{court_of(register, number)} {kind} {bare}"
    try:
        known.check(" ".join(whole.split()))
    except NumberError:
        raise
    except InvalidChecksum:
        raise NumberError("has a wrong check digit") from None
    except ValidationError:
        raise NumberError(f"is no number of the register {known.title}") from None
    return known.title


def court_of(register: str, number: str = "") -> str:
    """The place of a German register: "Aachen" of "HRB Aachen", "Amtsgericht Aachen HRB" or "Amtsgericht Aachen, HRB 1"
    for the ``number`` 1."""
    bare = register.replace(number, " ") if number else register
    return " ".join(_NO_COURT.sub(" ", bare).split())


def _kind_of(register: str) -> str:
    kind = _COURT_NUMBER.search(register)
    return kind[1].upper() if kind else ""


@lru_cache(1024)
def check_vat(number: str, country: str = "") -> str:
    """A VAT number with its country's letters, compact. ``country`` says whose it is if the letters are missing.
    Raises NumberError."""
    compacted = compact(number)
    letters = "EL" if country == "GR" else country
    if letters and not compacted.startswith(("CHE", letters)) and not compacted[:2].isalpha():
        compacted = letters + compacted
    start = "EL" if compacted.startswith("GR") else compacted[:2]
    try:
        if start == "GB":
            gb_vat.validate(compacted)
        elif compacted.startswith("CHE"):
            ch_vat.validate(compacted)
        elif start in EU:
            eu_vat.validate(compacted)
        else:
            raise NumberError("is no VAT number of a country known here; it begins with the country's two letters")
    except InvalidChecksum:
        raise NumberError("has a wrong check digit") from None
    except ValidationError:
        raise NumberError(f"is no VAT number of {start}") from None
    return compacted


def shown_in(text: str, register: str, country: str = "", most: int = 3) -> tuple[str, ...]:
    """Numbers of that register that ``text`` shows with their label, whosever they are."""
    known = register_of(register, country)
    if known is None:
        return ()
    return tuple(dict.fromkeys(" ".join(found[1].split()) for found in known.sample.finditer(text[-20_000:])))[:most]
