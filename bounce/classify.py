"""Classify a receiver's reply by the first matching rule.

Rules are data (``config/defaults/bounces.toml`` and the operator's own). What no rule can change is here: a 4xx is
retried (unless the rule sets ``on_4xx``), a refused connection is retried, and a reply suppresses a recipient only if
it answers RCPT TO or the final dot.

Invariants: Never fails, whatever the reply contains.

Limitations: A 5xx that matches no rule fails the recipient without suppressing the address, so an invalid address at a
receiver with an unknown wording is mailed again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from bounce.pattern import Pattern
from bounce.rules import BounceRule, RuleBook
from mta.mail.delivery import Action, Classification, Fault, Stage
from mta.mail.reply import Reply, ReplyKind

Candidate = tuple[int, int]  # position of a rule, number of one of its patterns

MAX_TEXT = 4096  # characters of a reply that are searched

_WORDS = re.compile(r"[a-z0-9]+")
_INNER_STATUS = re.compile(r"[#(]([45]\.\d{1,3}\.\d{1,3})(?![\d.])")  # "(#5.1.1)", as qmail and IronPort write it
_NAMES_RECIPIENT = frozenset({Stage.RECIPIENT, Stage.FINAL_DOT})
_POSITIVE = Classification("delivered", Fault.SITE, Action.DELIVERED, "positive-reply")
_UNKNOWN = Classification("unknown", Fault.SITE, Action.RETRY, "no-rule")


class Classifier:
    """Finds the rule for a reply. Built once from a RuleBook; holds no other state."""

    def __init__(self, book: RuleBook) -> None:
        self._rules = book.rules
        self._by_word: dict[str, list[Candidate]] = {}
        self._by_code: dict[str, list[Candidate]] = {}
        counts = Counter(word for rule in book.rules for reply in rule.samples for word in _words(_plain(reply.text)))
        for position, rule in enumerate(book.rules):
            for number, pattern in enumerate(rule.patterns):
                for word in _rarest(pattern, counts):
                    self._by_word.setdefault(word, []).append((position, number))
            for key in () if rule.patterns else rule.enhanced or rule.codes:
                self._by_code.setdefault(key, []).append((position, 0))

    def classify(self, reply: Reply, stage: Stage = Stage.RECIPIENT, host: str | None = None) -> Classification:
        """Classify ``reply``. ``host``: the receiver's name, for rules that apply to one provider only."""
        return next(self._matches(reply, stage, host), _POSITIVE if reply.kind is ReplyKind.POSITIVE else _UNKNOWN)

    def explain(
        self, reply: Reply, stage: Stage = Stage.RECIPIENT, host: str | None = None
    ) -> tuple[Classification, ...]:
        """Return the result of every matching rule, in order; the first one counts."""
        return tuple(self._matches(reply, stage, host))

    def sample_errors(self) -> list[str]:
        """Return an error for each sample that does not match its own rule first."""
        found = []
        for rule in self._rules:
            stage = min(rule.stages, key=list(Stage).index, default=Stage.RECIPIENT)
            host = f"mx{rule.mx[0]}" if rule.mx else None
            for sample in rule.samples:
                fired = self.classify(sample, stage, host).rule
                if fired != rule.id:
                    found.append(f"bounce rule {rule.id}: its sample {str(sample)[:80]!r} leads to rule {fired}")
        return found

    def _matches(self, reply: Reply, stage: Stage, host: str | None) -> Iterator[Classification]:
        if reply.kind is ReplyKind.POSITIVE:
            return
        text = _plain(reply.text)
        keys = _keys(reply.code, _status(reply, text))
        candidates: set[Candidate] = set()
        for word in _words(text):
            if word in self._by_word:
                candidates.update(self._by_word[word])
        for key in keys:
            if key in self._by_code:
                candidates.update(self._by_code[key])
        name, last = host.lower().rstrip(".") if host else "", -1
        for position, number in sorted(candidates):
            rule = self._rules[position]
            if position == last or not _applies(rule, keys, stage, name):
                continue
            matched = rule.patterns[number].search(text) if rule.patterns else max(keys & (rule.enhanced or rule.codes))
            if matched is not None:
                last = position
                yield _meaning(rule, reply, stage, matched)


def _applies(rule: BounceRule, keys: frozenset[str], stage: Stage, host: str) -> bool:
    return (
        (not rule.codes or not rule.codes.isdisjoint(keys))
        and (not rule.enhanced or not rule.enhanced.isdisjoint(keys))
        and (not rule.stages or stage in rule.stages)
        and (not rule.mx or host.endswith(rule.mx))
    )


def _meaning(rule: BounceRule, reply: Reply, stage: Stage, matched: str) -> Classification:
    action = _action(rule, reply, stage)
    hard = rule.hard and reply.kind is ReplyKind.PERMANENT and action is not Action.RETRY
    return Classification(rule.category, rule.fault, action, rule.id, matched, hard, rule.certain)


def _action(rule: BounceRule, reply: Reply, stage: Stage) -> Action:
    if reply.kind is not ReplyKind.PERMANENT:
        return rule.on_4xx
    if stage.is_connection and stage is not Stage.RESOLVE:
        return Action.RETRY  # another host, or the same one later, may accept
    if rule.action is Action.SUPPRESS and stage not in _NAMES_RECIPIENT:
        return Action.FAIL
    return rule.action


def _plain(text: str) -> str:
    """Normalise for pattern search: lower case, single spaces, no addresses (``dmarc@`` is not DMARC)."""
    words = text[:MAX_TEXT].lower().split()
    return " ".join(["@" if "@" in word else word for word in words])


def _words(text: str) -> list[str]:
    return _WORDS.findall(text)


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
