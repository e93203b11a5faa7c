"""Find names, streets and numbers in a text, however they are written there.

A ``Sought`` is built so that a page is searched fast: a pattern is tried only around a literal word,
or, for a number, starts with its first digit and checks the preceding text afterwards.

Invariants: never matches part of a longer word or number.

Limitations: a word hyphenated at the end of a line is not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policy.imprint.registers import compact

NEAR = 1500  # characters around the name or the street where the rest of a notice is looked for first
BEFORE = 40  # characters before a number that may belong to it
ROOM = 30  # characters that a part of a text may take beside its letters: those between parts, a longer ending
MOST = 200  # places of one word that are looked at

_WORD = re.compile(r"\d+|[^\W\d_]+|&")
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_GAP = r"[ \t\u00a0\u2009\u202f./\u2010-\u2015-]{0,3}"
BEGIN, END = r"(?<![^\W_])", r"(?![^\W_])"
_BETWEEN = r"[\W_]{0,20}"
_WITHIN = r"[\W_]{0,3}"
_AND = r"(?:&|und|and|en|et|y|e)?"
_ENDINGS = {  # of words in streets, and their short forms; casefolded
    "strasse": "str(?:asse)?", "straat": "str(?:aat)?", "street": "st(?:r|reet)?", "road": "r(?:oa)?d",
    "avenue": "ave?(?:nue)?", "avenida": "av(?:d?a|enida)?", "boulevard": "b(?:oulevar|lv)?d", "calle": "c(?:alle)?",
    "platz": "pl(?:atz)?", "plein": "pl(?:ein)?", "square": "sq(?:uare)?", "lane": "l(?:ane|n)", "drive": "dr(?:ive)?",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sought:
    """A pattern for folded text. It cannot match where ``anchor`` does not stand ("": anywhere), with at most ``lead``
    characters of the match in front of it and ``rest`` behind, and counts only if ``before`` matches the end of what
    precedes it."""

    pattern: re.Pattern[str]
    anchor: str = ""
    lead: int = 0
    rest: int = 0
    before: re.Pattern[str] | None = None


def fold(text: str) -> str:
    """``text`` for comparing: composed (NFC), case folded, without invisible characters."""
    if text.isascii():
        return text.lower()
    if any(chr(unseen) in text for unseen in _UNSEEN):
        text = text.translate(_UNSEEN)
    return unicodedata.normalize("NFC", text).casefold()


def find(text: str, way: Sequence[Sought], start: int, end: int) -> re.Match[str] | None:
    """Where the first piece of ``way`` stands between ``start`` and ``end``, if all pieces do; the others are looked
    for around it first."""
    first = _place(text, way[0], start, end)
    if first is None:
        return None
    near, far = max(start, first.start() - NEAR), min(end, first.end() + NEAR)
    for sought in way[1:]:
        if not _place(text, sought, near, far) and not _place(text, sought, start, end):
            return None
    return first


def _place(text: str, sought: Sought, start: int, end: int) -> re.Match[str] | None:
    if sought.before is not None:
        for place in sought.pattern.finditer(text, start, end):
            at = place.start()
            if sought.before.search(text, max(0, at - BEFORE), at):
                return place
        return None
    if not sought.anchor:
        return sought.pattern.search(text, start, end)
    at = text.find(sought.anchor, start, end)
    for _ in range(MOST):
        if at < 0:
            return None
        far = at + len(sought.anchor) + sought.rest + 1
        if sought.lead == 0:
            found = sought.pattern.match(text, at, far)
        else:
            found = sought.pattern.search(text, max(0, at - sought.lead), far)
        if found:
            return found
        at = text.find(sought.anchor, at + 1, end)
    return None


def number(text: str, lead: str = "", *, apart: str = r"\W|_") -> Sought:
    """A number however its groups are parted, with or without zeros at its beginning, and never inside a longer one.
    ``lead``: a pattern for what may stand at once before it; before that must come what ``apart`` matches."""
    letters = compact(text).casefold()
    rest = letters.lstrip("0")
    before = rf"(?:\A|{apart}){lead}(?:0{_GAP}){{0,{len(letters) - len(rest)}}}\Z"
    return Sought(re.compile(_GAP.join(map(re.escape, rest)) + END), before=re.compile(before))


def words(text: str, within_numbers: str = "") -> Sought:
    """``text`` word by word, whatever stands between them; short words may be dotted (``B.V.``). ``within_numbers``:
    a pattern for what may part digits."""
    parts = _WORD.findall(fold(text))
    pattern = ""
    for number, part in enumerate(parts):
        if part == "&":
            pattern += _AND + _BETWEEN
            continue
        ending = next((ending for ending in _ENDINGS if part.endswith(ending)), "")
        if ending:
            found = re.escape(part.removesuffix(ending)) + _ENDINGS[ending]
        elif len(part) <= 4 and part.isalpha():
            found = _WITHIN.join(map(re.escape, part))
        else:
            found = within_numbers.join(part) if part.isdecimal() else re.escape(part)
        pattern += found + (_BETWEEN if number < len(parts) - 1 else "")
    compiled = re.compile(f"{BEGIN}{pattern}{END}")
    sure = [part for part in parts if len(part) > 4 and part.isalpha() and not part.endswith(tuple(_ENDINGS))]
    if not sure:
        return Sought(compiled)
    anchor = max(sure, key=len)
    at = parts.index(anchor)
    return Sought(compiled, anchor, lead=_room(parts[:at]), rest=_room(parts[at + 1 :]))


def _room(parts: Sequence[str]) -> int:
    """At least as many characters as these parts of a text, and what stands between them, can take."""
    return sum(ROOM + 4 * len(part) for part in parts)  # each letter of a short word may be followed by three signs


def phrases(names: Iterable[str]) -> re.Pattern[str]:
    """Finds any of ``names`` in text that is bare (``policy.wordlists.bare``)."""
    found = sorted({r"[\W_]{0,3}".join(map(re.escape, name.split())) for name in names}, key=len, reverse=True)
    return re.compile(f"{BEGIN}(?:{'|'.join(found)}){END}")


def together(parts: Iterable[str]) -> str:
    """ "a, b and c"."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
