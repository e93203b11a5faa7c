"""Look-alike letters: scripts mixed in one word, words made of look-alikes only, invisible letters.

After UTS 39: Latin, Greek, Cyrillic and the few other scripts with similar letters are never mixed in one word of a
real
language; Han, kana and Latin are.

Invariants: a word of one script is never called a fake in a text for people (``Москва`` is genuine), only in a domain
that ends in another script.

Limitations: the script of a letter is derived from its Unicode name, as old as Python's tables. Look-alikes within
one script (``rn`` and ``m``, ``l`` and ``I``) are not known.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

ALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "DESERET", "OSAGE"})

# Cyrillic, Armenian and Greek letters that many fonts draw as Latin ones; a label of nothing else looks Latin.
LOOK_LATIN = frozenset("асԁеһіјӏоԛрѕԝхуѵьгпҽղոօսցզονυρκιτωα")

# Where people read these scripts, such a label is a word of theirs.
AT_HOME = frozenset({"am", "bg", "by", "cy", "gr", "kg", "kz", "mk", "mn", "rs", "ru", "su", "tj", "ua", "uz"})

# Marks that turn the direction of text around, and letters without width: none has a use in a sender's name.
UNSEEN = frozenset("\u00ad\u034f\u061c\u180e\u200b\u2060\u2061\u2062\u2063\u2064\ufeff\u202a\u202b\u202c\u202d\u202e"
                   "\u2065\u2066\u2067\u2068\u2069\u206a\u206b\u206c\u206d\u206e\u206f"
                   "\u115f\u1160\u17b4\u17b5\u3164\uffa0")  # fmt: skip

_WORD = re.compile(r"[^\W\d_]+")


@lru_cache(4096)
def script(letter: str) -> str | None:
    """The script of ``letter`` if it is one of those that look alike."""
    found = unicodedata.name(letter, "").partition(" ")[0]
    return found if found in ALIKE else None


def mixed(text: str) -> tuple[str, str] | None:
    """The first word of ``text`` whose letters are of two scripts that look alike: (word, "Cyrillic and Latin")."""
    if text.isascii():
        return None
    for word in _WORD.findall(unicodedata.normalize("NFC", text)):
        scripts = {found for letter in word if (found := script(letter))}
        if len(scripts) > 1:
            return word, " and ".join(sorted(name.title() for name in scripts))
    return None


def unseen(text: str) -> str | None:
    """Return the name of the first invisible character in ``text``."""
    if text.isascii():
        return None
    return next((unicodedata.name(letter, hex(ord(letter))) for letter in text if letter in UNSEEN), None)


def styled(text: str) -> str | None:
    """The first letter of ``text`` that is a mathematician's: bold, script or double-struck by its number, not font."""
    if text.isascii():
        return None
    return next((letter for letter in text if unicodedata.decomposition(letter).startswith("<font>")), None)


@lru_cache(4096)
def fake_label(domain: str) -> tuple[str, str] | None:
    """The first label of ``domain`` (A-labels) that looks like another: (the label in letters, why)."""
    if "xn--" not in domain:
        return None
    labels = [_letters(label) for label in domain.split(".")]
    for label in labels[:-1]:
        if found := mixed(label):
            return label, f"mixes {found[1]}"
        abroad = labels[-1].isascii() and labels[-1] not in AT_HOME
        if abroad and not label.isascii() and set(label) - set("-0123456789") <= LOOK_LATIN:
            return label, "looks Latin and is not"
    return None


def _letters(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode().decode("punycode")
    except ValueError:  # not the name of anything
        return label
