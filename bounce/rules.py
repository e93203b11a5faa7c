"""Load bounce rules from TOML: ordered, validated, each with samples that prove it.

A rule says what a reply looks like (code, enhanced code, text, receiving host, stage) and which category it belongs to.
A category says whose fault it is and what is done about it; a rule may override both.

Invariants: No rule suppresses a recipient for what is not the recipient's fault. No pattern can be slow on any text
(``bounce.pattern``).

Limitations: Rules see one reply; they cannot count or compare replies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from bounce.pattern import Pattern, PatternError
from bounce.reply_index import ReplyRule
from config.toml import DEFAULTS, ConfigError, Mistake, read, read_text
from config.toml_positions import KeyPath
from config.types import EnhancedCode, ReplyCode, Section
from mta.mail.delivery import Action, Fault, Stage
from mta.mail.reply import Reply

SHIPPED = DEFAULTS / "bounces.toml"

_NOT_THEIR_FAULT = 'only the fault of the recipient may suppress; set fault = "recipient" or another action'
_NO_HARD_BOUNCE = "only a fault of the recipient or site can be hard; remove hard, or set another fault"

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]+([-_][a-z0-9]+)*$", max_length=60),
    WithJsonSchema({"type": "string", "format": "rule-name"}),
]
FaultName = Literal["recipient", "sender", "site", "content", "network"]
ActionName = Literal["retry", "fail", "suppress"]
StageName = Literal["resolve", "connect", "tls", "hello", "sender", "recipient", "data", "final_dot"]


class CategoryEntry(Section):
    """One category."""

    meaning: str
    fault: FaultName
    action: ActionName
    hard: bool = False


class RuleEntry(Section):
    """One rule of a file; docs/bounces.md explains the keys."""

    id: Name
    category: Name
    fault: FaultName | None = None
    action: ActionName | None = None
    hard: bool | None = None
    certain: bool = False
    on_4xx: Literal["retry", "fail"] = "retry"
    codes: list[ReplyCode] = Field(default_factory=list)
    enhanced: list[EnhancedCode] = Field(default_factory=list)
    patterns: list[str] = Field(default_factory=list)
    mx: list[str] = Field(default_factory=list)
    stages: list[StageName] = Field(default_factory=list)
    samples: list[str] = Field(default_factory=list)
    reason: str | None = None


class RuleFile(Section):
    """A file of rules."""

    categories: dict[str, CategoryEntry] = Field(default_factory=dict)
    rules: list[RuleEntry] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Category:
    """A category of failures. ``action``: for 5xx replies (a 4xx is retried). ``hard``: a 5xx means that the address or
    its domain does not exist."""

    name: str
    meaning: str
    fault: Fault
    action: Action
    hard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BounceRule(ReplyRule):
    """A compiled rule. ``samples``: replies that must match this rule first."""

    category: str
    fault: Fault
    action: Action
    on_4xx: Action
    reason: str
    hard: bool = False
    certain: bool = False


@dataclass(frozen=True, slots=True)
class RuleBook:
    """All rules in the order in which they are tried, and their categories."""

    rules: tuple[BounceRule, ...]
    categories: Mapping[str, Category]


def load_rules(paths: Iterable[Path] = ()) -> RuleBook:
    """Load the rules of ``paths`` in order, then the shipped ones. Raises ConfigError with every mistake."""
    shipped = _shipped()
    rules, categories, lines = shipped.rules, dict(shipped.categories), list[str]()
    own: tuple[BounceRule, ...] = ()
    for path in paths:
        try:
            book = read_rules(read_text(path), str(path), RuleBook(own + rules, categories))
        except ConfigError as error:
            lines += error.lines
        else:
            own += book.rules
            categories.update(book.categories)
    if lines:
        raise ConfigError(lines)
    return RuleBook(own + rules, categories)


@cache
def _shipped() -> RuleBook:
    return read_rules(read_text(SHIPPED), "config/defaults/bounces.toml", RuleBook((), {}))


def read_rules(text: str, name: str, known: RuleBook) -> RuleBook:
    """Parse the rules in ``text``; they may use the categories of ``known``, but not its ids. Raises ConfigError."""
    file = read(text, name, RuleFile, lambda file: _mistakes(file, known))
    categories = dict(known.categories) | {key: _category(key, entry) for key, entry in file.categories.items()}
    return RuleBook(tuple(_rule(entry, categories[entry.category]) for entry in file.rules), categories)


def _mistakes(file: RuleFile, known: RuleBook) -> Iterator[Mistake]:
    categories = dict(known.categories)
    for key, category in file.categories.items():
        if key in known.categories:
            yield Mistake(("categories", key), "is a category already; give it another name")
        if category.action == "suppress" and category.fault != "recipient":
            yield Mistake(("categories", key, "action"), _NOT_THEIR_FAULT)
        categories[key] = _category(key, category)
    ids = {rule.id for rule in known.rules}
    for n, rule in enumerate(file.rules):
        if rule.id in ids:
            yield Mistake(("rules", n, "id"), f'there is a rule "{rule.id}" already; ids must differ')
        ids.add(rule.id)
        if not rule.codes and not rule.enhanced and not rule.patterns:
            text = "matches every reply; set codes, enhanced or patterns"
            yield Mistake(("rules", n), text, ("codes", "enhanced", "patterns"))
        for place, text in _rule_mistakes(rule, categories):
            yield Mistake(("rules", n, *place), text)


def _rule_mistakes(rule: RuleEntry, categories: Mapping[str, Category]) -> Iterator[tuple[KeyPath, str]]:
    category = categories.get(rule.category)
    if category is None:
        close = get_close_matches(rule.category, categories, 3, 0.5) or sorted(categories)
        yield ("category",), f'there is no category "{rule.category}"; allowed: {", ".join(close)} (or define it)'
    elif _action(rule, category) is Action.SUPPRESS and _fault(rule, category) is not Fault.RECIPIENT:
        yield ("action" if rule.action else "fault" if rule.fault else "category",), _NOT_THEIR_FAULT
    elif _hard(rule, category) and _fault(rule, category) not in (Fault.RECIPIENT, Fault.SITE):
        yield ("hard" if rule.hard else "fault" if rule.fault else "category",), _NO_HARD_BOUNCE
    for n, pattern in enumerate(rule.patterns):
        try:
            parsed(pattern)
        except PatternError as error:
            yield ("patterns", n), f"the pattern of rule {rule.id} {error}"
    if not rule.samples:
        yield ("samples",), "give at least one reply that must match this rule"
    for n, sample in enumerate(rule.samples):
        try:
            Reply.read(sample)
        except ValueError as error:
            yield ("samples", n), str(error)


def _category(name: str, entry: CategoryEntry) -> Category:
    return Category(name, entry.meaning, Fault(entry.fault), Action(entry.action), entry.hard)


def _fault(entry: RuleEntry, category: Category) -> Fault:
    return Fault(entry.fault) if entry.fault else category.fault


def _action(entry: RuleEntry, category: Category) -> Action:
    return Action(entry.action) if entry.action else category.action


def _hard(entry: RuleEntry, category: Category) -> bool:
    return category.hard if entry.hard is None else entry.hard


def _rule(entry: RuleEntry, category: Category) -> BounceRule:
    return BounceRule(
        id=entry.id,
        category=category.name,
        fault=_fault(entry, category),
        action=_action(entry, category),
        on_4xx=Action(entry.on_4xx),
        codes=frozenset(entry.codes),
        enhanced=both_kinds(entry.enhanced),
        patterns=tuple(parsed(pattern) for pattern in entry.patterns),
        mx=tuple(suffix.lower() for suffix in entry.mx),
        stages=frozenset(Stage(stage) for stage in entry.stages),
        samples=tuple(Reply.read(sample) for sample in entry.samples),
        reason=entry.reason or "",
        hard=_hard(entry, category),
        certain=entry.certain,
    )


def both_kinds(enhanced: Iterable[str]) -> frozenset[str]:
    """Return enhanced codes with ``x.7.1`` spelled out as 4.7.1 and 5.7.1."""
    return frozenset(
        spelled.replace("x.", f"{digit}.", 1) if spelled[0] == "x" else spelled
        for spelled in enhanced
        for digit in "45"
    )


@lru_cache(4096)
def parsed(text: str) -> Pattern:
    """Return the compiled pattern. Raises PatternError."""
    return Pattern.parse(text)
