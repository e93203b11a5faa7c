"""What stands in the way of unsubscribing, as a sentence tells it: a grammar of five languages.

An obstacle is something to be done first (log in, answer questions), a price, another way than the link (a letter), a
delay, or that it cannot be done. Whether a sentence means that it is one depends on what else it says: that it is
needed, or that nothing else will do; not, if it is one way of several ("or by letter") or is not asked for ("no login
needed"). The words are data (``config/defaults/unsubscribe_obstacles.toml``). What these do not know is judged by its
likeness to samples (``policy.text.obstacle_likeness``).

Limitations: irony and other languages are not understood. A sentence without small words is taken for one of any
language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache

from config.toml import DEFAULTS, read, read_text
from config.types import Section
from policy.text.obstacle_likeness import FEWEST, ObstacleLikeness, ObstacleSamples
from policy.text.unsubscribe_grammar import any_of

SHIPPED = DEFAULTS / "unsubscribe_obstacles.toml"
SAMPLES = DEFAULTS / "unsubscribe_samples.toml"
ASIDE = 40  # characters of its sentence that are quoted with an obstacle, on each side
REACH = 60  # characters between a thing and the word that demands it
DECIDED = 3  # small words of a language that are enough to tell it from another with one less
AT_ONCE = 2  # days that unsubscribing may take (Gmail and Yahoo, sender guidelines 2024: two days)

_WORD = r"[^\s|?]+"
_NUMBER = re.compile(r"\W{0,4}\d")
_SUM = (
    r"(?:€|£|\$|\b(?:eur|euro|euros|usd|gbp|chf)\b) ?\d"
    r"|\d ?(?:€|£|\$|(?:eur|euro|euros|usd|gbp|chf|pounds|pence|cents?)\b)"
)
_OBSTACLE_IN_URL = re.compile(r"[/?&=_.-](?:log-?in|sign-?in|logon|survey|enquete|umfrage|sondage|encuesta)\b")
_ADDRESS = re.compile(r"\S{1,64}@\S+")
_TURNS = r"[;:](?=\s)|\b(?:maar|aber|but|mais|pero|omdat|weil|denn|want|because|car|parce qu|porque|puisqu)\b"
_REASONS, _CLAUSES = re.compile(_TURNS), re.compile(rf",(?=\s)|{_TURNS}")
_PARTS = re.compile(r"[;:()–]| - ")
_TOKEN = re.compile(r"[^\W\d_]+")


class Nearness(Enum):
    """How a sentence belongs to a link that unsubscribes."""

    OWN = "the link stands in it"
    REST = "it is the rest of the link's sentence, behind the link"
    NEXT = "it is a sentence behind the link, in its paragraph"
    ABOUT = "it speaks of unsubscribing itself"
    NEAR = "it stands behind the link"
    LISTED = "it stands behind the link, as another entry of a list"


LIKE = {  # the likeness at which a sentence tells of an obstacle, and what an unknown word adds to it
    Nearness.OWN: (5.5, 0.0),
    Nearness.REST: (2.5, 0.8),  # little is said there that is harmless, and always the same
    Nearness.NEXT: (3.5, 0.3),
    Nearness.ABOUT: (5.5, 0.0),
    Nearness.NEAR: (6.0, 0.0),
}
AIMED = 6.0  # more likeness of a sentence beside the link that may be about orders or the like
MAY_BE_LIKE = min(least for least, unknown in LIKE.values() if not unknown)


class Bar(Enum):
    """How an obstacle bars the way."""

    FIRST = "something must be done or shown first"
    COST = "it costs something"
    ANOTHER_WAY = "another way than the link"
    IMPOSSIBLE = "it cannot be done"
    DELAY = "it takes too long"
    CONDITION = "it is tied to something"
    ADDRESS = "the link leads to a login or a survey"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """``quoted``: the words that tell of it, with those about them."""

    bar: Bar
    quoted: str


class ObstacleWords(Section):
    """The words of one language."""

    first: list[str]
    paid: list[str]
    means: list[str]
    impossible: list[str]
    props: list[str]
    without: list[str]
    needless: list[str]
    hour: list[str]
    day: list[str]
    week: list[str]
    month: list[str]
    numbers: list[str]
    many: list[str]
    spans: list[str]
    later: list[str]
    demands: list[str]
    alternatives: list[str]
    requests: list[str]
    fallback: list[str]
    optional: list[str]
    aims: list[str]
    numbered: list[str]
    services: list[str]
    usual: list[str]

    @property
    def units(self) -> dict[str, list[str]]:
        """Return the units of time."""
        return {"hours": self.hour, "days": self.day, "weeks": self.week, "months": self.month}


class _Words(Section):
    """``config/defaults/unsubscribe_obstacles.toml``."""

    nl: ObstacleWords
    de: ObstacleWords
    fr: ObstacleWords
    es: ObstacleWords
    en: ObstacleWords


class _Samples(Section):
    """``config/defaults/unsubscribe_samples.toml``."""

    nl: ObstacleSamples
    de: ObstacleSamples
    fr: ObstacleSamples
    es: ObstacleSamples
    en: ObstacleSamples


class ObstacleGrammar:
    """The grammar of all languages, compiled."""

    __slots__ = ("_demands", "_languages", "_props", "_signs")

    def __init__(self, languages: list[ObstacleWords], samples: list[ObstacleSamples]) -> None:
        self._languages = [_Language(*each) for each in zip(languages, samples, strict=True)]
        told = [
            word
            for words in languages
            for kind in (words.first, words.paid, words.means, words.impossible, words.later)
            for word in kind
        ]
        counts = [count for words in languages for count in (*words.numbers, *words.many, "one")]
        units = [unit for words in languages for kind in words.units.values() for unit in kind]
        times = rf"(?:(?<![\d.])\d{{1,3}}|{any_of(dict.fromkeys(counts))})(?: {_WORD})?? {any_of(dict.fromkeys(units))}"
        self._signs = re.compile(f"{any_of(dict.fromkeys(told))}|{times}|{_SUM}")
        self._props = re.compile(any_of(dict.fromkeys(prop for words in languages for prop in words.props)))
        self._demands = re.compile(any_of(dict.fromkeys(demand for words in languages for demand in words.demands)))

    @classmethod
    @cache
    def shipped(cls) -> ObstacleGrammar:
        """With the words that ship with the service. Raises ConfigError."""
        words = read(read_text(SHIPPED), SHIPPED.name, _Words, lambda _: ())
        samples = read(read_text(SAMPLES), SAMPLES.name, _Samples, lambda _: ())
        return cls(
            [getattr(words, language) for language in _Words.model_fields],
            [getattr(samples, language) for language in _Words.model_fields],
        )

    def may_tell(self, text: str) -> bool:
        """Return whether a text can tell of an obstacle; quick, and true too often."""
        return self._has_signs(text) or any(each.may_be_like_one(text) for each in self._spoken(text))

    def _has_signs(self, text: str) -> bool:
        if self._signs.search(text):
            return True
        demands = [found.start() for found in self._demands.finditer(text)]
        if not demands:
            return False
        return any(abs(found.start() - at) < REACH for found in self._props.finditer(text) for at in demands)

    def told(self, sentence: str, nearness: Nearness, patience: int = AT_ONCE) -> Obstacle | None:
        """Return the obstacle that a sentence, made plain, tells of. ``patience``: days it may take."""
        said = _ADDRESS.sub(" ", sentence)
        spoken = self._spoken(said) if self._has_signs(said) else ()
        told = next(filter(None, (each.told(said, nearness, patience) for each in spoken)), None)
        return told or self.likened(sentence, nearness, patience)

    def likened(self, sentence: str, nearness: Nearness, patience: int = AT_ONCE, spoken: str = "") -> Obstacle | None:
        """Return the obstacle that a sentence, made plain, tells of by its likeness to samples; if unknown words count,
        only if it does in each language that it may be of. ``spoken``: more of its language."""
        if nearness not in LIKE or sentence.count(" ") < FEWEST - 1:
            return None
        sentence = _ADDRESS.sub(" ", sentence)
        found = [each.likened(sentence, nearness, patience) for each in self._spoken(f"{spoken} {sentence}")]
        return next(filter(None, found), None) if all(found) or not LIKE[nearness][1] else None

    def _spoken(self, sentence: str) -> list[_Language]:
        """Return the language of a sentence: that of most of its small words; several, if that is undecided."""
        words = set(_TOKEN.findall(sentence))
        counts = [len(words & language.usual) for language in self._languages]
        most = max(counts)
        least = most if most <= 1 or most >= DECIDED else most - 1
        return [language for language, count in zip(self._languages, counts, strict=True) if count >= least]


class _Language:
    """The patterns of one language."""

    __slots__ = (
        "_aims", "_alternatives", "_demands", "_fallback", "_first", "_impossible", "_later", "_likeness",
        "_means", "_needless", "_numbered", "_optional", "_other_way", "_paid", "_props", "_requests", "_services",
        "_takes", "_without", "usual",
    )  # fmt: skip

    def __init__(self, words: ObstacleWords, samples: ObstacleSamples) -> None:
        self.usual = frozenset(words.usual)
        self._likeness = ObstacleLikeness(samples)
        self._first = re.compile(any_of(words.first))
        self._paid = re.compile(f"{any_of(words.paid)}|{_SUM}")
        self._means = re.compile(any_of(words.means))
        self._impossible = re.compile(any_of(words.impossible))
        self._later = re.compile(any_of(words.later))
        self._props = re.compile(any_of(words.props))
        self._needless = re.compile(any_of(words.needless))
        self._without = re.compile(rf"{any_of(words.without)}(?: {_WORD}){{0,3}} \Z")
        self._demands = re.compile(any_of(words.demands))
        self._alternatives = re.compile(any_of(words.alternatives))
        self._other_way = re.compile(rf"{any_of(words.alternatives)}(?: {_WORD}){{0,6}} \Z")
        self._requests = re.compile(any_of(words.requests))
        self._fallback = re.compile(any_of(words.fallback))
        self._optional = re.compile(any_of(words.optional))
        self._aims = re.compile(any_of(words.aims))
        self._numbered = re.compile(any_of(words.numbered))
        self._services = re.compile(any_of(words.services))
        self._takes = _Spans(words)

    def told(self, sentence: str, nearness: Nearness, patience: int) -> Obstacle | None:
        needed = self._demands.search(sentence) is not None
        beside = nearness in (Nearness.NEAR, Nearness.LISTED)
        asked = not beside or self._requests.search(sentence) is not None
        if not asked and (nearness is Nearness.LISTED or not needed):
            return None
        if beside and self._aims.search(sentence):
            return None
        found = self._done_first(sentence, nearness, needed=needed) or self._another_way(sentence, needed=needed)
        if not found and asked:
            found = self._cost(sentence) or self._needed(sentence) or self._refusal(sentence)
            found = found or self._delay(sentence, patience)
        return found

    def may_be_like_one(self, text: str) -> bool:
        """Return whether a text may hold a sentence that is like an obstacle, by words that are known."""
        return self._likeness.most(text) > MAY_BE_LIKE

    def likened(self, sentence: str, nearness: Nearness, patience: int) -> Obstacle | None:
        """Return the sentence, or the part of it, that is like those that tell of an obstacle."""
        least, unknown = LIKE[nearness]
        if not unknown and self._likeness.most(sentence) <= least:
            return None
        if nearness in (Nearness.NEAR, Nearness.NEXT) and self._is_aimed(sentence, nearness):
            least += AIMED
        if self._optional.search(sentence):
            return None
        sentence = ", ".join(
            clause
            for clause in _CLAUSES.split(sentence)
            if not self._needless.search(clause) and not self._takes.all_within(patience, clause)
        )
        if self._likeness.of(sentence, unknown) > least:
            return Obstacle(Bar.CONDITION, sentence.strip()[: 3 * ASIDE])
        if nearness in (Nearness.NEAR, Nearness.NEXT):
            return None
        for part in _PARTS.split(sentence):
            if self._likeness.of(part, unknown) > least:
                return Obstacle(Bar.CONDITION, part.strip()[: 3 * ASIDE])
        return None

    def _is_aimed(self, sentence: str, nearness: Nearness) -> bool:
        """Return whether a sentence may be about orders; right behind a link the number of one is none."""
        if not self._aims.search(sentence):
            return False
        return nearness is not Nearness.NEXT or self._aims.search(self._numbered.sub(" ", sentence)) is not None

    def _done_first(self, sentence: str, nearness: Nearness, *, needed: bool) -> Obstacle | None:
        """Return what must be done first. That there is a login says nothing; that one must log in does."""
        if self._optional.search(sentence) or (
            nearness is Nearness.ABOUT and not needed and self._aims.search(sentence)
        ):
            return None
        for clause in _CLAUSES.split(sentence):
            for found in self._first.finditer(clause):
                if not self._is_void(clause, found) and (
                    needed or not self._other_way.search(clause, 0, found.start())
                ):
                    return _obstacle(Bar.FIRST, found)
        return None

    def _another_way(self, sentence: str, *, needed: bool) -> Obstacle | None:
        """Return the other way than the link; not a telephone number."""
        if not needed and self._alternatives.search(sentence):
            return None
        for clause in _CLAUSES.split(sentence):
            for found in self._means.finditer(clause):
                if not self._is_void(clause, found) and not _NUMBER.match(clause, found.end()):
                    return _obstacle(Bar.ANOTHER_WAY, found)
        return None

    def _needed(self, sentence: str) -> Obstacle | None:
        """Return a thing that one must have or use, told with the demand in one clause: "only for members"."""
        if self._optional.search(sentence) or self._aims.search(sentence):
            return None
        for clause in _REASONS.split(sentence):
            found = self._props.search(clause)
            if found and self._demands.search(clause) and not self._is_void(clause, found):
                return _obstacle(Bar.FIRST, found)
        return None

    def _cost(self, sentence: str) -> Obstacle | None:
        if self._aims.search(sentence):
            return None
        for clause in _CLAUSES.split(sentence):
            for found in self._paid.finditer(clause):
                if not self._is_void(clause, found):
                    return _obstacle(Bar.COST, found)
        return None

    def _is_void(self, clause: str, found: re.Match[str]) -> bool:
        """Return whether what was found is not asked for: "no login", "a login is not needed"."""
        return bool(self._needless.search(clause) or self._without.search(clause, 0, found.start()))

    def _refusal(self, sentence: str) -> Obstacle | None:
        found = self._impossible.search(sentence)
        excused = self._fallback.search(sentence) or self._services.search(sentence)
        return _obstacle(Bar.IMPOSSIBLE, found) if found and not excused else None

    def _delay(self, sentence: str, patience: int) -> Obstacle | None:
        found = self._later.search(sentence)
        if found and self._without.search(sentence, 0, found.start()):
            found = None
        found = found or self._takes.longer_than(patience, sentence)
        return _obstacle(Bar.DELAY, found) if found else None


class _Spans:
    """The times that something takes: "within 30 days"."""

    __slots__ = ("_counted", "_many", "_numbers")

    def __init__(self, words: ObstacleWords) -> None:
        self._numbers = [re.compile(any_of([number])) for number in words.numbers]
        self._many = re.compile(any_of(words.many))
        number = rf"(?:(?<!\d)\d{{1,3}}|{any_of((*words.numbers, *words.many, 'one'))})"
        units = "|".join(f"(?P<{kind}>{any_of(units)})" for kind, units in words.units.items())
        time = (
            rf"(?:[dl]['’])?(?P<number>{number})(?:(?: ?[-–] ?| {_WORD} )(?P<upto>{number}))?(?: {_WORD})?? (?:{units})"
        )
        takes, lasts = any_of(words.spans), any_of(word for word in words.spans if len(word) > 5)
        self._counted = re.compile(
            rf"(?P<takes>{takes}(?: {_WORD}){{0,4}}? )?{time}(?P<lasts>(?: {_WORD}){{0,3}}? {lasts})?"
        )

    def longer_than(self, patience: int, sentence: str) -> re.Match[str] | None:
        """Return the first time of more than so many days."""
        for found in self._counted.finditer(sentence):
            if (found["takes"] or found["lasts"]) and self._days(found) > patience:
                return found
        return None

    def all_within(self, patience: int, clause: str) -> bool:
        """Return whether a clause names times that something takes, none of more than so many days; hours of the clock
        ("between 14 and 16 hours") are none."""
        taken = [
            self._days(found)
            for found in self._counted.finditer(clause)
            if (found["takes"] or found["lasts"]) and not (found["hours"] and found["upto"])
        ]
        return bool(taken) and max(taken) <= patience

    def _days(self, found: re.Match[str]) -> float:
        lengths = {"hours": 1 / 24, "days": 1, "weeks": 7, "months": 30}
        return self._count(found["upto"] or found["number"]) * next(lengths[unit] for unit in lengths if found[unit])

    def _count(self, said: str) -> int:
        if said.isdecimal():
            return int(said)
        if self._many.fullmatch(said):
            return 30
        return next((n for n, each in enumerate(self._numbers, 1) if each.fullmatch(said)), 1)


def obstacle_in_url(url: str) -> Obstacle | None:
    """Return the part of an address that leads to a login or a survey."""
    found = _OBSTACLE_IN_URL.search(url.lower())
    return Obstacle(Bar.ADDRESS, found[0]) if found else None


def _obstacle(bar: Bar, found: re.Match[str]) -> Obstacle:
    """Return what was found with the words about it, whole ones."""
    said, start, end = found.string, found.start(), found.end()
    first, last = start - ASIDE, end + ASIDE
    start = said.find(" ", first, start) + 1 or start if first > 0 else 0
    end = max(end, said.rfind(" ", end, last)) if last < len(said) else len(said)
    return Obstacle(bar, said[start:end].strip(" .,;:|"))
