"""The automation rules: which of them a reply fits, and which actions they begin.

A rule without ``count`` and ``share`` fires at its first reply. The others count replies in a window, over all workers
and machines: ``count_keys`` says what is counted, ``is_reached`` whether it is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bounce.pattern import PatternError
from bounce.reply_index import ReplyIndex, ReplyRule
from bounce.rules import both_kinds, parsed
from config.schema import AutomationRule
from config.toml_positions import KeyPath
from mta.mail.delivery import Stage
from mta.mail.reply import Reply
from mta.mail.shaping_action import ActionScope, Effect, NewAction, Place, WindowCount


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that a reply fits, and the scope of what it does."""

    rule: AutomationRule
    scope: ActionScope


class Automation:
    """``rules``: valid ones, in order."""

    def __init__(self, rules: Iterable[AutomationRule]) -> None:
        self._rules = {rule.name: rule for rule in rules if rule.enabled}
        self._index = ReplyIndex([reply_rule(rule) for rule in self._rules.values() if _has_words(rule)])
        self._by_category: dict[str, list[AutomationRule]] = {}
        for rule in self._rules.values():
            for category in rule.categories:
                self._by_category.setdefault(category, []).append(rule)
        self._shares = [rule for rule in self._rules.values() if rule.share is not None]

    @property
    def rules(self) -> Mapping[str, AutomationRule]:
        """The rules that are enabled, by name."""
        return self._rules

    def matches(self, reply: Reply, stage: Stage, category: str, place: Place) -> Sequence[Match]:
        """Return the rules that a reply about mail at ``place`` fits, in their order."""
        named = {found.id for found, _ in self._index.matches(reply, stage, None)}
        by_category = self._by_category.get(category, ())
        fitting = [self._rules[name] for name in named] + [rule for rule in by_category if not _has_words(rule)]
        if not fitting:
            return ()
        order = {name: n for n, name in enumerate(self._rules)}
        return [
            Match(rule, scope)
            for rule in sorted(fitting, key=lambda rule: order[rule.name])
            if (not rule.categories or category in rule.categories) and _is_at(rule, place)
            and (scope := ActionScope.of(place, rule.scope)) is not None
        ]  # fmt: skip

    def measured(self, place: Place) -> Iterator[Match]:
        """Yield the rules that every reply about mail at ``place`` counts for: those about a share."""
        for rule in self._shares:
            if _is_at(rule, place) and (scope := ActionScope.of(place, rule.scope)) is not None:
                yield Match(rule, scope)


def is_immediate(rule: AutomationRule) -> bool:
    """Return whether one reply is enough."""
    return rule.count is None and rule.share is None


def is_reached(rule: AutomationRule, counted: WindowCount) -> bool:
    """Return whether what was counted within the window is enough."""
    if rule.count is not None and counted.matched >= rule.count:
        return True
    if rule.share is None or counted.replies < rule.volume:
        return False
    return counted.matched >= rule.share * counted.replies


def actions_of(rule: AutomationRule, scope: ActionScope, sample: str) -> Iterator[NewAction]:
    """Yield what a rule that has fired begins."""
    for each in dict.fromkeys(rule.effects):
        effect = Effect(each)
        limits = effect is Effect.LIMIT
        yield NewAction(
            name=rule.name,
            scope=scope,
            effect=effect,
            reason=rule.reason,
            author=f"rule {rule.name}",
            seconds=rule.duration,
            rule=rule.name,
            sample=sample,
            connections=rule.connections if limits else None,
            message_rates=tuple(rule.message_rates) if limits else (),
            pool=rule.pool if effect is Effect.POOL else None,
        )


def faults(rules: Sequence[AutomationRule], categories: Iterable[str]) -> Iterator[tuple[int, KeyPath, str]]:
    """Yield what is wrong with patterns, samples and categories: the number of the rule, the key and the text."""
    known = set(categories)
    for n, rule in enumerate(rules):
        for m, category in enumerate(rule.categories):
            if category not in known:
                yield n, ("categories", m), f'there is no category "{category}"; see docs/bounces.md'
        wrong = list(_word_faults(rule))
        yield from ((n, key, text) for key, text in wrong)
        if wrong or not _has_words(rule):
            continue
        index = ReplyIndex([reply_rule(rule)])
        stage = min(reply_rule(rule).stages, key=list(Stage).index, default=Stage.RECIPIENT)
        for m, sample in enumerate(rule.samples):
            if not list(index.matches(Reply.read(sample), stage, None)):
                yield n, ("samples", m), f"rule {rule.name} does not fit this sample: {sample[:80]!r}"


def _word_faults(rule: AutomationRule) -> Iterator[tuple[KeyPath, str]]:
    for m, pattern in enumerate(rule.patterns):
        try:
            parsed(pattern)
        except PatternError as error:
            yield ("patterns", m), f"the pattern of rule {rule.name} {error}"
    for m, sample in enumerate(rule.samples):
        try:
            Reply.read(sample)
        except ValueError as error:
            yield ("samples", m), str(error)


def reply_rule(rule: AutomationRule) -> ReplyRule:
    """Return what the replies of a valid rule look like."""
    return ReplyRule(
        id=rule.name,
        codes=frozenset(rule.codes),
        enhanced=both_kinds(rule.enhanced),
        patterns=tuple(map(parsed, rule.patterns)),
        samples=tuple(map(Reply.read, rule.samples)),
    )


def _has_words(rule: AutomationRule) -> bool:
    return bool(rule.codes or rule.enhanced or rule.patterns)


def _is_at(rule: AutomationRule, place: Place) -> bool:
    return not rule.providers or place.site in rule.providers
