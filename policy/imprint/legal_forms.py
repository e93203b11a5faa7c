"""Names of companies, whatever way their legal form is written: "B.V.", "BV" and "Besloten Vennootschap", behind the
name or in front of it, in brackets or not. Short names may have their words in another order.

Invariants: another legal form is another company; so is the name without the form that is registered.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice, permutations

from policy.text.text_match import AND, BEGIN, BETWEEN, END, ROOM, Sought, fold, sought, word_patterns
from policy.wordlists import shipped

REORDERED = 3  # words of a name that may come in any order

_DOT = r"[\W_]{0,2}"


def _spelled(spellings: str) -> str:
    """Return a pattern for folded text of a form as the list writes it."""
    pattern = re.sub(r"\(([^)]*)\)", r"(?:\1)?", spellings).replace(" ", BETWEEN)
    return re.sub(r"(?<=\b\w)\.|(?<=\w)\.(?=[\w|]|\Z)", lambda _: _DOT, pattern)


_FORMS = (
    *(_spelled(spellings) for country in shipped("legal_forms").values() for spellings in country),
    rf"stichting|stg|st(?={_DOT}\W)",
)
_FORM = re.compile("|".join((*_FORMS[:-1], "stichting")))
_ENDS = r"(?=\s*(?:[\n,;|•·]|\s-\s|\Z))"  # no word follows that could belong to the name
_LAST = (
    *((re.compile(rf"{BEGIN}(?:{form})[\W_]*\Z"), form) for form in _FORMS[:-1]),
    (re.compile(rf"{BEGIN}stichting[\W_]*\Z"), _FORMS[-1]),
)
_FIRST = (
    *((re.compile(rf"\A[\W_]*(?:{form}){END}"), form) for form in _FORMS[:-1]),
    (re.compile(rf"\A[\W_]*stichting{END}"), _FORMS[-1]),
)
_ARTICLE = re.compile(r"\Athe\s+(?=\w)", re.IGNORECASE)
_STRAY = re.compile(r"[\W_]+\Z")


def company(name: str) -> tuple[tuple[Sought, ...], ...]:
    """``name`` with its legal form in any spelling, before or behind it: whole, torn by elements inside words, or with
    the form elsewhere in the notice ("SARL au capital de 8000 euros")."""
    name = _ARTICLE.sub("", name)
    rest, form = _take_last(name)
    if not form:
        rest, form = _take_first(name)

    def with_form(core: str) -> str:
        if not form:
            return core
        return f"(?:{core}{BETWEEN}{AND}{BETWEEN}(?:{form}){END}|(?:{form}){END}{BETWEEN}{core})"

    def without_form(core: str) -> str:
        return f"{core}{END}{_ENDS}"

    whole, torn = word_patterns(rest, shortened=True), word_patterns(rest, torn=True, shortened=True)
    ways: list[tuple[Sought, ...]] = [(sought(whole, ROOM * 2, with_form),), (sought(torn, 0, with_form),)]
    ways += [(sought(word_patterns(other), ROOM * 2, with_form),) for other in _reordered(rest)]
    if form:
        alone = Sought(re.compile(f"{BEGIN}(?:{form}){END}"))
        ways.append((sought(whole, ROOM * 2, without_form), alone))
    return tuple(ways)


def _reordered(name: str) -> list[str]:
    """``name`` with its two or three words in any other order: "Buchhandlung Vogt", "Vogt Buchhandlung"."""
    parts = name.split()
    if not 2 <= len(parts) <= REORDERED or not all(map(str.isalpha, parts)):
        return []
    return [" ".join(order) for order in islice(permutations(parts), 1, None)]


@lru_cache(4096)
def is_legal_form(word: str) -> bool:
    """Return whether ``word`` is a legal form: "Ltd", "B.V.", "gmbh"."""
    return _FORM.fullmatch(fold(word)) is not None


def _take_last(name: str) -> tuple[str, str]:
    """``name`` without the legal forms at its end ("GmbH & Co. KG" is three), and the pattern of these."""
    forms: list[str] = []
    while name:
        fitting = [(found, form) for pattern, form in _LAST if (found := pattern.search(fold(name)))]
        if not fitting:
            break
        found, form = min(fitting, key=lambda one: one[0].start())
        kept = _cut(name, found.start())
        if not any(map(str.isalnum, kept)):
            break
        name = kept
        forms.insert(0, f"(?:{form})")
    return name, f"{BETWEEN}{AND}{BETWEEN}".join(forms)


def _take_first(name: str) -> tuple[str, str]:
    fitting = [(found, form) for pattern, form in _FIRST if (found := pattern.search(fold(name)))]
    if not fitting:
        return name, ""
    found, form = max(fitting, key=lambda one: one[0].end())
    rest = _cut_front(name, found.end())
    return (rest, form) if any(map(str.isalnum, rest)) else (name, "")


def _cut(name: str, at: int) -> str:
    """The beginning of ``name`` that folds to its first ``at`` characters."""
    kept = next((n for n in range(len(name), -1, -1) if len(fold(name[:n])) <= at), 0)
    return _STRAY.sub("", name[:kept].rstrip(" &+"))


def _cut_front(name: str, at: int) -> str:
    return name[next((n for n in range(len(name) + 1) if len(fold(name[:n])) >= at), len(name)) :]
