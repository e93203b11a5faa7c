"""Find names, streets and numbers in a text, however they are written there.

A ``Sought`` is built so that a page is searched fast: a pattern is tried only around a literal word,
or, for a number, starts with its first digit and checks the preceding text afterwards.

Invariants: never matches part of a longer word or number.

Limitations: a word hyphenated at the end of a line is not found.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from policy.imprint.registers import compact
from policy.wordlists import shipped

NEAR = 1500  # characters around the name or the street where the rest of a notice is looked for first
KEPT = 16  # characters of a run beyond ASCII whose folding is remembered
BEFORE = 40  # characters before a number that may belong to it
ROOM = 30  # characters that a part of a text may take beside its letters: those between parts, a longer ending
FEW = 8  # places of a name or a street that are looked at for the rest
MOST = 200  # places of one word that are looked at

_WORD = re.compile(r"\d+(?:st|nd|rd|th|e)(?![^\W_])|\d+|[^\W\d_]+|&")
_PLAIN = str.maketrans({
    "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i", "°": "o", "‘": "'", "’": "'", "ʼ": "'", "´": "'",
    **dict.fromkeys("‐‑‒–—―−", "-"), **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),
})  # fmt: skip
GAP = r"[ \t\n./-]{0,3}"
BEGIN, END = r"(?<![^\W_])", r"(?![^\W_])"
BETWEEN = r"[\W_]{0,20}"
AND = r"(?:&|und|and|en|et|y|e|u)?"
_ORDINAL = r"(?:\W?[oa](?![^\W_]))?"  # "sección 8.ª"
_CONJUNCTIONS = frozenset({"und", "and", "et"})  # those that are no initials
_SHORT_CONJUNCTIONS = frozenset({"y", "en", "e"})
_WITHIN = r"[\W_]{0,3}"
_UMLAUT = {"ä": "ae?", "ö": "oe?", "ü": "ue?", "å": "(?:aa?)", "ø": "oe?"}


def _alternatives(lines: Iterable[str], least: int = 1) -> dict[str, str]:
    """Return a pattern of all words that mean the same, for each word of ``least`` letters."""
    found: dict[str, set[str]] = {}
    for line in lines:
        for word in line.split():
            found.setdefault(word, set()).update(line.split())
    return {
        word: f"(?:{'|'.join(map(re.escape, sorted(same, key=len, reverse=True)))})"
        for word, same in found.items()
        if len(word) >= least
    }


_ADDRESSES = shipped("addresses")
_SHORT = _alternatives(line for language in ("en", "fr", "es", "de", "nl") for line in _ADDRESSES[language])
_SHORT["tradingas"] = r"(?:t\W?a|trading as|d\W?b\W?a|doing business as|h\W?o\W?d\W?n|handelend onder de naam)"
_ENDINGS = _alternatives(_ADDRESSES["endings"], 3)
_TRADING_AS = re.compile(
    r"(?<!\w)(?:t/a|trading as|d/?b/?a|doing business as|h\.?o\.?d\.?n\.?|handelend onder de naam)(?!\w)"
)
PARTICLES = frozenset({"de", "del", "la", "las", "los", "el", "du", "des", "le", "les", "d", "l"})
_PARTICLE = rf"(?:(?:{'|'.join(sorted(PARTICLES))})[\W_]{{1,20}}){{0,2}}"


@dataclass(frozen=True, slots=True)
class Sought:
    """A pattern for folded text. It cannot match where ``anchor`` does not stand ("": anywhere), with at most ``lead``
    characters of the match in front of it and ``rest`` behind, and counts only if ``before`` matches the end of what
    precedes it, and ``unless`` does not. ``usual``: how many characters are in front of the anchor in most texts."""

    pattern: re.Pattern[str]
    anchor: str = ""
    lead: int = 0
    rest: int = 0
    usual: int = 0
    before: re.Pattern[str] | None = None
    unless: re.Pattern[str] | None = None


def fold(text: str) -> str:
    """``text`` for comparing: case folded, without accents and invisible characters, signs in their plainest form."""
    return text.lower() if text.isascii() else text.encode("ascii", _FOLDING).decode().lower()


def _fold_run(error: UnicodeError) -> tuple[bytes, int]:
    """Take the place of a run of characters beyond ASCII, which the codec finds faster than a pattern does."""
    assert isinstance(error, UnicodeEncodeError)
    run = error.object[error.start : error.end]
    plain = _known(run) if len(run) <= KEPT else _plain(run)  # the long ones are not seen twice
    return plain.encode("utf-8", "replace"), error.end


_FOLDING = "imprimatur-folding"
codecs.register_error(_FOLDING, _fold_run)


@lru_cache(4096)
def _known(run: str) -> str:
    return _plain(run)


def _plain(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text.casefold().translate(_PLAIN)).translate(_PLAIN)
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def find(text: str, way: Sequence[Sought], start: int, end: int, near: int = NEAR) -> re.Match[str] | None:
    """Where the first piece of ``way`` stands between ``start`` and ``end``, with all other pieces at most ``near``
    characters from it."""
    for first in islice(_places(text, way[0], start, end), FEW):
        close, far = max(0, first.start() - near), min(len(text), first.end() + near)
        if all(next(_places(text, piece, close, far), None) for piece in way[1:]):
            return first
    return None


def _places(text: str, sought: Sought, start: int, end: int) -> Iterator[re.Match[str]]:
    if sought.before is not None or not sought.anchor:
        for place in sought.pattern.finditer(text, start, end):
            if _follows(text, place.start(), sought):
                yield place
        return
    at = text.find(sought.anchor, start, end)
    for _ in range(MOST):
        if at < 0:
            return
        far = min(end, at + len(sought.anchor) + sought.rest + 1)
        found = sought.pattern.match(text, max(start, at - sought.usual), far)
        if not found and sought.lead:
            found = sought.pattern.search(text, max(start, at - sought.lead), far)
        if found:
            yield found
        at = text.find(sought.anchor, at + 1, end)


def _follows(text: str, at: int, sought: Sought) -> bool:
    """Whether what precedes ``at`` is as it should be."""
    first = max(0, at - BEFORE)
    if sought.before is not None and not sought.before.search(text, first, at):
        return False
    return sought.unless is None or not sought.unless.search(text, first, at)


def number(text: str, lead: str = "", behind: str = "", *, apart: str = r"\W|_") -> Sought:
    """A number however its groups are parted, with or without zeros at its beginning, and never inside a longer one.
    ``lead``, ``behind``: patterns for what stands at once before and behind it; before that must come what ``apart``
    matches."""
    letters = fold(compact(text))
    rest = letters.lstrip("0")
    before = rf"(?:\A|{apart}){lead}(?:0{GAP}){{0,{len(letters) - len(rest)}}}\Z"
    return Sought(re.compile(GAP.join(map(re.escape, rest)) + behind + END), before=re.compile(before))


def words(
    text: str, within_numbers: str = "", *, particles: bool = False, shortened: bool = False, anchored: bool = True
) -> Sought:
    """``text`` word by word, whatever stands between them; short words may be dotted (``B.V.``). ``within_numbers``:
    a pattern for what may part digits. The others are as in ``word_patterns``."""
    found = word_patterns(text, within_numbers, particles=particles, shortened=shortened, anchored=anchored)
    return sought(found)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a name: ``pattern`` of all, ``anchor``: a part of them that is always written alike, "" if none;
    ``lead`` and ``rest`` as in ``Sought``."""

    pattern: str
    anchor: str
    lead: int
    rest: int
    usual: int = 0


def word_patterns(
    text: str,
    within_numbers: str = "",
    *,
    particles: bool = False,
    torn: bool = False,
    shortened: bool = False,
    anchored: bool = True,
) -> Words:
    """Return the words of ``text`` as a pattern. ``particles``: small words such as "de la" may come and go.
    ``torn``: elements may begin and end within words, each of which begins a line of the text. ``shortened``: words may
    be shortened with a dot, all but the longest, or all if they are not ``anchored``: then they are found slowly."""
    plain = _TRADING_AS.sub(
        "tradingas", re.sub(r"(?<=\w)\.(?=[ºª])", "", unicodedata.normalize("NFC", text).casefold())
    )
    found = list(_WORD.finditer(plain))
    if particles:
        found = [part for part in found if part[0] not in PARTICLES] or found
    parts = [part[0] for part in found]
    at, anchor = max(((n, _sure(part)) for n, part in enumerate(parts)), key=lambda one: len(one[1]), default=(0, ""))
    anchored = anchored and len(anchor) >= 4 and not torn
    pattern = ""
    for n, part in enumerate(parts):
        last = n == len(parts) - 1
        if part == "&" or (part in _CONJUNCTIONS and not last) or _joins(parts, n):
            pattern += AND + BETWEEN
            continue
        word = _word(part, within_numbers, torn=torn)
        if shortened and not (anchored and n == at):
            word = _or_short(word, part, dotted=plain[found[n].end() : found[n].end() + 1] == ".")
        pattern += word + ("" if last else BETWEEN)
        pattern += _PARTICLE if particles and not last else ""
    if not anchored:
        return Words(pattern, "", 0, 0)
    usual = len(" ".join(map(fold, parts[:at]))) + (at > 0) + fold(parts[at]).find(anchor)
    return Words(pattern, anchor, _room(parts[: at + 1]), _room(parts[at:]), usual)


def _joins(parts: Sequence[str], n: int) -> bool:
    """Return whether a word that may be an initial stands between two that are none: "Ortega y Asociados"."""
    return parts[n] in _SHORT_CONJUNCTIONS and 0 < n < len(parts) - 1 and len(parts[n - 1]) > 2 < len(parts[n + 1])


def _or_short(pattern: str, part: str, *, dotted: bool) -> str:
    """Return a pattern for a word or what people make of it with a dot: some of its letters in their order, the first
    among them; for a word that has a dot itself (``dotted``), also those that it can stand for."""
    letters = fold(part)
    if not letters.isalpha() or not letters.isascii():
        return pattern
    if dotted and len(letters) > 1:
        longer = letters[0] + "".join(rf"[a-z]{{0,5}}?{letter}" for letter in letters[1:]) + "[a-z]{0,10}"
        return f"(?:{pattern}|{longer})"
    if len(letters) < 5:
        return pattern
    shorter = letters[0] + "".join(f"{letter}?" for letter in letters[1:])
    return rf"(?:{pattern}|(?=[a-z]{{2,6}}\.){shorter}(?=\.))"


def sought(found: Words, more: int = 0, around: Callable[[str], str] = str) -> Sought:
    """A ``Sought`` for words, in the pattern that ``around`` makes of theirs, which takes ``more`` characters."""
    compiled = re.compile(f"{BEGIN}{around(found.pattern)}{END}")
    if not found.anchor:
        return Sought(compiled)
    return Sought(compiled, found.anchor, lead=found.lead + more, rest=found.rest + more, usual=found.usual)


def _word(part: str, within_numbers: str, *, torn: bool) -> str:
    if part.isdecimal():
        return within_numbers.join(part) + (_ORDINAL if within_numbers and len(part) < 3 else "")
    plain = fold(part)
    if plain in _SHORT:
        return spellings(plain)
    ending = next((ending for ending in _ENDINGS if plain.endswith(ending)), "")
    letters = [_UMLAUT.get(letter) or re.escape(fold(letter)) for letter in part]
    if ending:
        stem = len(letters) - (len(ending) if fold(part[-len(ending) :]) == ending else len(ending) - 1)
        return "".join(letters[:stem]) + (r"[ -]?" if stem else "") + _ENDINGS[ending]
    return (_WITHIN if len(part) <= 4 else r"\n?" if torn else "").join(letters)


def spellings(word: str) -> str:
    """A pattern for a folded word and its short or long forms."""
    return _SHORT.get(word) or re.escape(word)


def _sure(part: str) -> str:
    """The longest piece of a word that all spellings have."""
    plain = fold(part)
    if len(part) <= 4 or not part.isalpha() or plain in _SHORT:
        return ""
    ending = next((ending for ending in _ENDINGS if plain.endswith(ending)), "")
    pieces = re.split("|".join(_UMLAUT), part)
    if ending:
        pieces[-1] = fold(pieces[-1]).removesuffix(ending)
    return max(map(fold, pieces), key=len)


def _room(parts: Sequence[str]) -> int:
    """At least as many characters as these parts of a text, and what stands between them, can take."""
    return sum(2 * ROOM + 4 * len(part) for part in parts)  # each letter of a short word may be followed by three signs


def phrases(names: Iterable[str]) -> re.Pattern[str]:
    """Finds any of ``names`` in text that is bare (``policy.wordlists.bare``)."""
    found = sorted({r"[\W_]{0,3}".join(map(re.escape, name.split())) for name in names}, key=len, reverse=True)
    return re.compile(f"{BEGIN}(?:{'|'.join(found)}){END}")


def together(parts: Iterable[str]) -> str:
    """ "a, b and c"."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
