"""Names of companies, whatever way their legal form is written: "B.V.", "BV" and "Besloten Vennootschap", behind the
name or in front of it, in brackets or not.

Invariants: another legal form is another company; so is the name without the form that is registered.
"""

from __future__ import annotations

import re
from functools import lru_cache

from policy.text.text_match import AND, BEGIN, BETWEEN, END, ROOM, Sought, fold, sought, word_patterns

_DOT = r"[\W_]{0,2}"
# Each legal form in its spellings, as patterns for folded text. A blank stands for whatever parts two words.
_SPELLINGS = (
    "b.v.|besloten vennootschap(?: met beperkte aansprakelijkheid)?|bvba",
    "n.v.|naamloze vennootschap",
    "v.o.f.|vennootschap onder firma",
    "c.v.|commanditaire vennootschap",
    "vereniging|ver", "cooperatie|coop", "u.a.",
    "g.gmbh", "g.m.b.h.|gesellschaft mit beschra(?:e)?nkter haftung|mbh",
    "u.g.(?: haftungsbeschra(?:e)?nkt)?|unternehmergesellschaft(?: haftungsbeschra(?:e)?nkt)?",
    "a.g.|aktiengesellschaft", "k.g.|kommanditgesellschaft", "o.h.g.|offene handelsgesellschaft",
    "g.b.r.|gesellschaft burgerlichen rechts", "e.v.|eingetragener verein",
    "e.g.|eingetragene genossenschaft", "e.k.|e.kfm.|e.kfr.|eingetragener kaufmann|eingetragene kauffrau", "s.e.",
    "s.a.r.l.|s.r.l.|societe a responsabilite limitee", "s.a.s.u.", "s.a.s.|societe par actions simplifiee",
    "e.u.r.l.", "s.a.|societe anonyme|sociedad anonima", "s.c.i.", "a.s.b.l.", "v.z.w.",
    "s.l.u.|sociedad limitada unipersonal", "s.l.l.", "s.l.|sociedad(?: de responsabilidad)? limitada",
    "association|asociacion|assoc|asso|asoc", "fondation|fundacion|foundation|fund",
    "ltd|limited", "p.l.c.|public limited company", "inc|incorporated", "l.l.c.|limited liability company",
    "l.l.p.|limited liability partnership", "corp|corporation", "c.i.c.|community interest company",
    "u.c.|unlimited company", "e.a.r.l.", "g.a.e.c.", "s.c.e.a.", "s.n.c.", "s.coop.", "co|company|compagnie|compania",
    "s.p.a.", "pty",
)  # fmt: skip


def _spelled(spellings: str) -> str:
    pattern = spellings.replace(" ", BETWEEN)
    return re.sub(r"(?<=\b\w)\.|(?<=\w)\.(?=[\w|]|\Z)", lambda _: _DOT, pattern)


_FORMS = (*map(_spelled, _SPELLINGS), rf"stichting|st(?={_DOT}\W)")
_FORM = re.compile("|".join((*_FORMS[:-1], "stichting")))
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


def company(name: str) -> tuple[Sought, Sought]:
    """``name`` with its legal form in any spelling, before or behind it: whole, and torn by elements inside words."""
    name = _ARTICLE.sub("", name)
    rest, form = _take_last(name)
    if not form:
        rest, form = _take_first(name)

    def with_form(core: str) -> str:
        if not form:
            return core
        return f"(?:{core}{BETWEEN}{AND}{BETWEEN}(?:{form}){END}|(?:{form}){END}{BETWEEN}{core})"

    whole, torn = word_patterns(rest), word_patterns(rest, torn=True)
    return sought(whole, ROOM * 2, with_form), sought(torn, 0, with_form)


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
