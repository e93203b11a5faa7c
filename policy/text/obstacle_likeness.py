"""How like a sentence is to sentences that tell of an obstacle, for those in words that no list has.

Naive Bayes: each word, and each pair of words, weighs as much as it is more frequent in samples that bar the way than
in those that do not. A word behind a negation is another word. A word that no sample has weighs nothing, so names and
the subject of a newsletter do not matter, unless it stands where only harmless words are expected. The samples are data
(``config/defaults/unsubscribe_samples.toml``).

Limitations: the order of words matters only in pairs; a sentence in words of which no sample has any tells nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import repeat
from math import log

from config.types import Section

STEM = 6  # letters of a word that count
NEGATED = 3  # words behind a negation that it may be about
FEWEST = 3  # words that tell anything
UNSEEN = 1.0  # how often more than it does a word is taken to stand in the samples of each kind

_TOKEN = re.compile(r"[^\W\d_]+|(?<!\d)\d{1,2}(?!\d)")  # a longer number is none that is counted


class ObstacleSamples(Section):
    """Sentences of one language, made plain: those that tell of an obstacle (``barred``), and those that do not.
    ``negations``: words that turn those behind them."""

    negations: list[str]
    barred: list[str]
    free: list[str]


class ObstacleLikeness:
    """The samples of one language, weighed."""

    __slots__ = ("_negations", "_weights")

    def __init__(self, samples: ObstacleSamples) -> None:
        self._negations = frozenset(samples.negations)
        barred, free = (Counter(sign for each in said for sign in set(self._signs(each)))
                        for said in (samples.barred, samples.free))  # fmt: skip
        unseen = UNSEEN / (len(samples.barred) + len(samples.free))

        @cache  # most of the thousands of signs stand in one or two samples, and share their weight
        def weight(barred: int, free: int) -> float:
            return log(barred / len(samples.barred) + unseen) - log(free / len(samples.free) + unseen)

        self._weights = {sign: weight(barred[sign], free[sign]) for sign in barred | free}

    def of(self, sentence: str, unknown: float = 0.0) -> float:
        """Return how much more like the barred samples a sentence, made plain, is than like the free ones. ``unknown``:
        what a word weighs that no sample has."""
        if len(_TOKEN.findall(sentence)) < FEWEST:
            return 0.0
        weights = self._weights
        return sum(weights.get(sign, 0.0 if " " in sign else unknown) for sign in set(self._signs(sentence)))

    def most(self, text: str) -> float:
        """Return the likeness of the words in a row of ``text`` that have the most, to tell whether its sentences are
        worth a closer look. That of a sentence can be more: there each sign counts once, and none of its neighbours."""
        most = now = 0.0
        for weight in map(self._weights.get, self._signs(text), repeat(0.0)):
            now += weight
            if now < 0:
                now = 0.0
            elif now > most:
                most = now
        return most

    def _signs(self, text: str) -> list[str]:
        """Return each word, and each with the one before it."""
        signs: list[str] = []
        before, negated = "", 0
        for word in _TOKEN.findall(text):
            stem = "0" if word.isdecimal() else word[:STEM]
            signs.append(f"!{stem}" if negated else stem)
            if before:
                signs.append(f"{before} {stem}")
            negated = NEGATED if word in self._negations else max(0, negated - 1)
            before = stem
        return signs
