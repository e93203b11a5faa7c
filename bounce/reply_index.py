"""Find the rules that a reply matches, among hundreds, by the few words of it that are rare in rules.

Invariants: A positive reply matches none. A search is bounded, whatever the reply contains.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from bounce.pattern import Pattern
from mta.mail.delivery import Stage
from mta.mail.reply import Reply, ReplyKind

MAX_TEXT = 4096  # characters of a reply that are searched

_WORDS = re.compile(r"[a-z0-9]+")
_GLUED = re.compile(r"[^@]{0,200}@[\w.-]{0,250}?(?:(?=\.{2})\.+|(?![\w.-])[>)\]\"',;:]{0,3}|\Z)")
_INNER_STATUS = re.compile(r"(?:[#(]|^\w{1,20} )([45]\.\d{1,3}\.\d{1,3})(?![\d.])")  # "(#5.1.1)", "cuda_nsu 5.1.1"

_Candidate = tuple[int, int]  # position of a rule, number of one of its patterns


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRule:
    """What a reply looks like. An empty condition is always true. ``samples``: replies that must match."""

    id: str
    codes: frozenset[str] = frozenset()
    enhanced: frozenset[str] = frozenset()
    patterns: tuple[Pattern, ...] = ()
    mx: tuple[str, ...] = ()
    stages: frozenset[Stage] = frozenset()
    samples: tuple[Reply, ...] = ()


Rule = TypeVar("Rule", bound=ReplyRule)


class ReplyIndex(Generic[Rule]):
    """``rules``: in the order in which they are tried; each asks for codes, enhanced codes or patterns."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._by_word: dict[str, list[_Candidate]] = {}
        self._by_code: dict[str, list[_Candidate]] = {}
        samples = (searchable(reply.text) for rule in rules for reply in rule.samples)
        counts = Counter(word for text in samples for word in _WORDS.findall(text))
        for position, rule in enumerate(rules):
            for number, pattern in enumerate(rule.patterns):
                for word in _rarest(pattern, counts):
                    self._by_word.setdefault(word, []).append((position, number))
            for key in () if rule.patterns else rule.enhanced or rule.codes:
                self._by_code.setdefault(key, []).append((position, 0))

    def matches(self, reply: Reply, stage: Stage, host: str | None) -> Iterator[tuple[Rule, str]]:
        """Yield each rule that ``reply`` matches, in order, with the words or the code that did."""
        if reply.kind is ReplyKind.POSITIVE:
            return
        text = searchable(reply.text)
        keys = _keys(reply.code, _status(reply, text))
        candidates = {each for word in _WORDS.findall(text) for each in self._by_word.get(word, ())}
        candidates.update(each for key in keys for each in self._by_code.get(key, ()))
        name, last = host.lower().rstrip(".") if host else "", -1
        for position, number in sorted(candidates):
            rule = self._rules[position]
            if position == last or not _applies(rule, keys, stage, name):
                continue
            matched = rule.patterns[number].search(text) if rule.patterns else max(keys & (rule.enhanced or rule.codes))
            if matched is not None:
                last = position
                yield rule, matched


def searchable(text: str) -> str:
    """Normalise for pattern search: lower case, single spaces, no addresses (``dmarc@`` is not DMARC)."""
    words = text[:MAX_TEXT].lower().split()
    return " ".join([_GLUED.sub("@ ", word).strip() if "@" in word else word for word in words])


def _applies(rule: ReplyRule, keys: frozenset[str], stage: Stage, host: str) -> bool:
    return (
        (not rule.codes or not rule.codes.isdisjoint(keys))
        and (not rule.enhanced or not rule.enhanced.isdisjoint(keys))
        and (not rule.stages or stage in rule.stages)
        and (not rule.mx or host.endswith(rule.mx))
    )


def _status(reply: Reply, text: str) -> str:
    """Return the enhanced code, or one inside the text that agrees with the reply code."""
    if reply.status.endswith(".0.0") and (found := _INNER_STATUS.search(text)) and found[1][0] == str(reply.code)[0]:
        return found[1]
    return reply.status


@lru_cache(4096)
def _keys(code: int, status: str) -> frozenset[str]:
    """Return every notation of the codes in rules: 550, 55x, 5xx, 5.1.1, 5.1.x, 5.x.x."""
    digits, (first, _, rest) = str(code), status.partition(".")
    subject = rest.partition(".")[0]
    return frozenset((digits, f"{digits[:2]}x", f"{digits[:1]}xx", status, f"{first}.{subject}.x", f"{first}.x.x"))


def _rarest(pattern: Pattern, counts: Counter[str]) -> frozenset[str]:
    """Return words of which every match has at least one, chosen to be rare, so that few rules are tried."""

    def rarity(word: str) -> tuple[bool, int, str]:
        return len(word) < 4, counts[word], word

    choices = [frozenset(min(words, key=rarity) for words in stretch) for stretch in pattern.words]
    return min(choices, key=lambda words: (any(len(word) < 4 for word in words), sum(counts[word] for word in words)))
