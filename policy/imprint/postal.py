"""Postal addresses: a street, a postcode and a city in the ways in which people write the registered ones.

A street is read into its name, house number and unit ("548 Market Street, Suite 300"); each is sought as a normal form,
the number before the name or behind it.

Invariants: another house number, suffix ("12 ter" for "12 bis"), unit, postcode or city is another address; the pieces
stand in one place.

Limitations: streets with two names, one for each language of the town, are two identities.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from policy.text.text_match import (
    BEGIN,
    BETWEEN,
    END,
    ROOM,
    Sought,
    fold,
    number,
    sought,
    spellings,
    word_patterns,
    words,
)
from policy.wordlists import shipped

NEAR = 300  # characters between the street and the rest of the address

_NUMBER_FIRST = frozenset({"FR", "GB", "US", "IE", "CA", "AU", "NZ", "LU", "MC"})
_PARTICLES = frozenset({"ES", "FR", "PT", "IT", "BE", "LU", "MC"})  # where "de la" is left out, or not
_DIRECTIONS = frozenset("nsew")
_SUFFIX = r"(?:bis|ter|quater)\b|[a-z](?![^\W_])"
_KILOMETRE = r"(?:km|kil[oó]metro|p\.?k)\.?\s*\d+(?:\.\d+)?"  # houses on a country road
_COMMA = re.compile(r"(\b(?:km|kil[oó]metro|p\.?k)\.?\s*\d+),(?=\d)")
_LEVELS = r"(?:\s?[-/+]\s?\d+|\s?-\s?(?:i{1,3}|iv)\b)*"  # "12-3", "12-III"
_NUMBER = rf"\d+{_LEVELS}(?:\s?(?:{_SUFFIX}))?(?:\s?/\s?\w+)*|s/n|sin n[uú]mero|{_KILOMETRE}"
_NUMBERED = re.compile(r"\b(?:n\.?\s?[º°o]\.?|nr\.?|n[uú]m(?:ero)?\.?|no\.?)\s*(?=\d)")
_HEAD = re.compile(rf"(?P<number>{_NUMBER})\s+(?P<name>.*[^\W\d_].*)")
_TAIL = re.compile(rf"(?P<name>.*[^\W\d_].*?)[\s.]+(?P<number>{_NUMBER})")
_ROMAN = {"1": "i", "2": "ii", "3": "iii", "4": "iv", "5": "v", "6": "vi"}
_BOX = re.compile(
    r"(?:p\.?\s?o\.?\s?box|post(?:al| office)? box|postbus|postfach|b\.?\s?p\.?|bo[iî]te postale|case postale|"
    r"apartado(?: de correos)?|apdo\.?(?: de correos)?)\s*(?P<number>\d[\d ]*)"
)
_BOXES = (
    r"(?:p\W{0,2}o\W{0,2}box|post(?:al|[\W_]office)?[\W_]box|postbus|postfach|b\W{0,2}p|boite[\W_]postale|"
    r"case[\W_]postale|(?:apartado|apdo)(?:[\W_]{1,3}de[\W_]correos)?)"
)
_BARE = re.compile(_NUMBER)
_LABELS = shipped("addresses")["labels"]
_LABEL = rf"(?:{'|'.join(_LABELS)})"
_RAW_LABEL = _LABEL.replace("boite", "bo[iî]te").replace("tur", "t[uü]r")
_RAW_FLOORS = "|".join(shipped("addresses")["floors"]).replace("etage", "[eé]tage")
_UNIT = re.compile(
    rf"{BEGIN}(?:{_RAW_LABEL}(?:[\s.]+|(?=[\d#]))#?\s?|#\s?)(\d\w*(?:[-/]\w+)*|[a-z]-?\d\w*|[a-z](?![^\W_]))|"
    rf"(\d+)(?:st|nd|rd|th|er|e|[eè](?:me|re)|\.?[ºª°])?\s(?:{_RAW_FLOORS})\b"
)
_ORDINAL = r"(?:st|nd|rd|th|do|ro|er|eme|e|\W?[oa]\b)?"
_ZONE = re.compile(rf"\b(?:{'|'.join(shipped('addresses')['zones'])})(?=\s)")
_DOOR = re.compile(r"\d+[ºª°.]*\s*\w{0,3}")
_FLOOR = f"(?:{'|'.join(shipped('addresses')['floors'])})"
_WITH_STATES = frozenset({"US", "CA", "AU"})
_STATES = tuple(tuple(names.split("|")) for names in shipped("addresses")["states"])
_STATE_NAMES = sorted((name for names in _STATES for name in names), key=len, reverse=True)
_STATE = re.compile(rf"(?P<town>.*?\w)[,\s]+(?P<state>{'|'.join(_STATE_NAMES)})")
_CITIES = tuple(tuple(names.split("|")) for names in shipped("addresses")["cities"])


@dataclass(frozen=True, slots=True)
class Street:
    """A street as registered, taken apart. ``more``: what else it says ("St. Mary's House"). ``box``:
    the number of a post-office box, which has no street."""

    name: str = ""
    number: str = ""
    units: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    box: str = ""


def address(street: str, postcode: str, city: str, country: str) -> tuple[tuple[Sought, ...], ...]:
    """The pieces of an address: the street first, then what must stand near it; and the same with a street that is torn
    by elements inside words, or whose longest word is shortened."""
    parts = read_street(street, country.upper())
    particles = country.upper() in _PARTICLES
    more = (
        words(said.removeprefix("the "), particles=particles, shortened=True, anchored=False) for said in parts.more
    )
    pieces = [*more]
    pieces += (Sought(re.compile(f"{BEGIN}{_unit(unit, labelled=True)}")) for unit in parts.units[1:])
    if postcode:
        short = postcode[:5] if re.fullmatch(r"\d{5}-\d{4}", postcode) else postcode  # ZIP+4: the rest may be missing
        pieces.append(number(short, r"(?:(?:[a-z]{1,2}[\W_]{0,3})?)", apart=r"[^\w]|_"))
    names = _names_of(city, country.upper())
    pieces.append(words(city, shortened=True) if len(names) == 1 else _any_of(names))
    return tuple((_street(parts, particles=particles, torn=torn), *pieces) for torn in (False, True))


def _names_of(city: str, country: str) -> tuple[str, ...]:
    """``city`` in each language of its town, or with its state long and short: "Portland, Oregon", "Portland, OR"."""
    plain = fold(city)
    if country in _WITH_STATES and (found := _STATE.fullmatch(plain)):
        spelled = next(names for names in _STATES if found["state"] in names)
        return tuple(f"{found['town']} {name}" for name in spelled)
    return next((names for names in _CITIES if plain in map(fold, names)), (city,))


def _any_of(names: tuple[str, ...]) -> Sought:
    return Sought(re.compile(f"{BEGIN}(?:{'|'.join(word_patterns(name).pattern for name in names)}){END}"))


def read_street(street: str, country: str) -> Street:
    """Take ``street`` apart."""
    if box := _BOX.fullmatch(street.casefold().strip(" .,")):
        return Street(box=box["number"])
    name = number = ""
    units: list[str] = []
    more: list[str] = []
    for segment in re.split(r"[,;\n|·]| - ", _letters_apart(_whole_numbers(street.casefold()), country)):
        segment = segment.strip(" ./-(")
        if found := _UNIT.search(segment):
            units.append(next(filter(None, found.groups())))
            segment = (segment[: found.start()] + segment[found.end() :]).strip(" ./-(")
        if not segment:
            continue
        if _BARE.fullmatch(segment) and not number:
            number = segment
        elif _DOOR.fullmatch(segment) and number and not units:
            units.append(segment)
        elif not name or (not number and _numbered(segment, country)):
            more += [name] if name else []
            name, found_number = _numbered(segment, country) or (segment, "")
            number = number or found_number
        else:
            more.append(segment)
    return Street(name, number, tuple(units), tuple(more))


def _whole_numbers(street: str) -> str:
    """``street`` without words for "number", and no comma inside one ("km 3,5")."""
    return _COMMA.sub(r"\1.", _NUMBERED.sub("", street))


def _letters_apart(street: str, country: str) -> str:
    """``street`` with a blank between the letters of a zone, each of which may be written as its word."""
    return _ZONE.sub(lambda zone: " ".join(zone[0]), street) if country in _PARTICLES else street


def _numbered(segment: str, country: str) -> tuple[str, str] | None:
    """The name and the house number of a street, whichever comes first."""
    order = (_HEAD, _TAIL) if country in _NUMBER_FIRST else (_TAIL, _HEAD)
    found = next(filter(None, (pattern.fullmatch(segment) for pattern in order)), None)
    if found is None:
        return None
    house, _, direction = found["number"].rpartition(" ")
    if house and direction in _DIRECTIONS and found.start("number") == 0:  # "310 S Main St"
        return f"{direction} {found['name']}", house
    return found["name"], found["number"]


def _street(street: Street, *, particles: bool, torn: bool) -> Sought:
    if street.box:
        digits = "[ .]?".join(street.box.replace(" ", ""))
        return Sought(re.compile(rf"{BEGIN}{_BOXES}[\W_]{{0,5}}(?:n(?:\W?o|r)[\W_]{{0,3}})?{digits}{END}"))
    if not street.name:
        return words(" ".join((street.number, *street.units)))
    name = word_patterns(_without_calle(street.name), particles=particles, torn=torn, shortened=True)

    def around(pattern: str) -> str:
        if street.number:
            house = _house(street.number)
            pattern = f"(?:{house}{BETWEEN}{pattern}|{pattern}{BETWEEN}{house})"
        if street.units:
            apart = bool(street.more or street.units[1:])  # the rest may stand between them
            unit = _unit(street.units[0], labelled=apart)
            between = r"[^|]{0,40}?[\W_]" if apart else BETWEEN
            pattern = f"(?:{pattern}{between}{unit}|{unit}{between}{pattern})"
        return pattern

    return sought(name, ROOM * 2, around)


def _without_calle(name: str) -> str:
    """A Spanish street needs no word for street, nor a French hamlet one for hamlet."""
    return re.sub(r"\A(?:calle\b|c/|c\.|carrer\b|lieu[- ]?dit\b|l\.-?d\.)\s*(?=\w)", "", name)


def _house(given: str) -> str:
    if given.startswith("s"):
        return r"(?:s[\W_]{0,3}n(?:umero)?|sin[\W_]{1,3}num(?:ero)?)"
    parts = re.findall(r"\d+|[^\W\d_]+", fold(given))
    pattern = parts[0] if parts[0].isdecimal() else r"(?:km|kilometro|p\W?k)"
    for before, part in pairwise(parts):
        both = before.isdecimal() and part.isdecimal()
        again = f"(?:{part}|{_ROMAN[part]})" if both and part in _ROMAN else part  # "12-3" is "12-III" in Amsterdam
        pattern += (rf"[\W_]{{1,5}}(?:{_LABEL}[\W_]{{0,3}})?" if both else r"[\W_]{0,2}") + again
    other = "" if len(parts) > 1 else r"(?![\W_]{0,2}(?:bis|ter|quater)(?![^\W_]))"
    return rf"(?:n(?:\W?o|r|um(?:ero)?|ummer)?[\W_]{{0,3}})?{pattern}{END}{other}"


def _unit(given: str, *, labelled: bool) -> str:
    """``labelled``: a bare number is none. A door that says more than a number ("12B") needs no label."""
    parts = re.findall(r"\d+|[^\W\d_]+", re.sub(r"(?<=\d)[ºª°.]+", " ", given.casefold()))
    value = (
        r"\W?[oa]?[\W_]{0,3}".join(re.sub("^0+(?=.)", "0*", spellings(fold(part))) for part in parts)
        + r"(?:st|nd|rd|th|do|ro|er|eme|e|\W?[oa]\b)?"
    )
    before = rf"{BEGIN}(?:(?:{_LABEL}|b|[a-z]{{2,5}}\.)[\W_]{{0,3}}(?:n(?:\W?o|r)?[\W_]{{0,3}})?|[a-z](?=\d))"
    behind = rf"[\W_]{{0,3}}{_FLOOR}"
    if labelled and len(parts) == 1:
        return f"(?:{before}{value}|{value}{behind}){END}"
    return f"(?:{before})?{value}(?:{behind})?{END}"
