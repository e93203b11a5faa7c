"""Find the installed rules: ours and those of other packages, in the same way.

A rule is a class registered as an entry point of the group ``imprimatur.rules``. It has a ``name`` (the entry point's),
a ``Settings`` section whose every key has a default, and at least one stage: ``on_sender``, ``on_recipient``,
``on_content`` or ``before_delivery``; see ``policy/base.py``.

Invariants: a broken rule of one package does not keep the others from being found; it is a mistake only of the profile
that names it.

Limitations: packages installed while the service runs are found at its next start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from config.types import Section
from policy.base import STAGES, Rule
from policy.rule_context import RuleContext

GROUP = "imprimatur.rules"


class RuleClass(Protocol):
    """What an entry point leads to."""

    name: str
    Settings: type[Section]

    def __call__(self, settings: Any, context: RuleContext, /) -> Rule: ...


@dataclass(frozen=True, slots=True)
class Installed:
    """``classes`` by the name of the rule. ``broken``: rules that were announced and cannot be used, and why."""

    classes: Mapping[str, RuleClass]
    broken: Mapping[str, str]


class NotARule(Exception):
    """An entry point leads to something else; the text says what is wrong with it."""


@lru_cache(1)
def installed() -> Installed:
    """Return all rules of this installation; looked up once."""
    return find(entry_points(group=GROUP))


def find(points: Any) -> Installed:
    """Load the rules that ``points`` (entry points) name."""
    classes: dict[str, RuleClass] = {}
    broken: dict[str, str] = {}
    for point in points:
        try:
            rule = load(point)
        except NotARule as error:
            broken[point.name] = f"{point.value}: {error}"
            continue
        if point.name in classes and classes[point.name] is not rule:
            broken[point.name] = f"two packages bring a rule of this name, {point.value} is one of them; remove one"
        classes[point.name] = rule
    return Installed({name: rule for name, rule in classes.items() if name not in broken}, broken)


def load(point: EntryPoint) -> RuleClass:
    """Load the class behind ``point``. Raises NotARule."""
    try:
        rule = point.load()
    except Exception as error:  # third-party code, run at import
        raise NotARule(f"cannot be loaded: {error.__class__.__name__}: {error}") from error
    if getattr(rule, "name", None) != point.name:
        raise NotARule(f'its attribute "name" must be "{point.name}", as the entry point calls it')
    settings = getattr(rule, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, Section)):
        raise NotARule("it needs a class Settings made from config.types.Section")
    if required := [key for key, field in settings.model_fields.items() if field.is_required()]:
        raise NotARule(f"every key of its Settings needs a default; without one: {', '.join(required)}")
    if not any(callable(getattr(rule, stage, None)) for stage in STAGES):
        raise NotARule(f"it needs a method {', '.join(STAGES[:-1])} or {STAGES[-1]}")
    return rule  # type: ignore[no-any-return]
