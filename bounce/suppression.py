"""Whom a failure suppresses, at once or with others: nobody for an answer that was not about them alone.

A rule says that a reply suppresses (``Action.SUPPRESS``), looking at the words. Whether the words can be held against
one recipient depends on the others: one answer to the final dot for three recipients names none of them. Softer
answers (a mailbox that is full) are counted, by the thresholds in the settings.

It must never turn a single failure into a suppression, nor count what is not the recipient's fault.

*Limits.* Only messages that failed in the end count; one that got through after a day of refusals does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from bounce.rules import RuleBook
from config.schema import SuppressionSettings
from config.toml import ConfigError
from mta.mail.delivery import Action, Classification, Failed, Fault, Outcome, Stage


@dataclass(frozen=True, slots=True)
class Threshold:
    """So many refusals within ``within``, of at least ``mailings`` mailings, suppress an address."""

    count: int
    within: timedelta
    mailings: int


@dataclass(frozen=True, slots=True)
class SoftBounceThresholds:
    """How many refusals an address is forgiven, by category, and for how long a suppression for bounces holds (None:
    for good). A category that is not named is forgiven for ever."""

    soft: Mapping[str, Threshold] = field(default_factory=dict)
    soft_lasts: timedelta | None = None
    hard_lasts: timedelta | None = None


def spare_shared(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """``outcomes`` of one attempt, in which nobody is suppressed for an answer that several recipients share."""
    outcomes = tuple(outcomes)
    if not _share_an_answer(outcomes):
        return outcomes
    return tuple(_spared(outcome) if isinstance(outcome, Failed) else outcome for outcome in outcomes)


def _share_an_answer(outcomes: Iterable[Outcome]) -> bool:
    return sum(outcome.result.stage is Stage.FINAL_DOT for outcome in outcomes) > 1


def _spared(failed: Failed) -> Failed:
    meaning = failed.classification
    if failed.result.stage is not Stage.FINAL_DOT or meaning.action is not Action.SUPPRESS:
        return failed
    return replace(failed, classification=replace(meaning, action=Action.FAIL))


def is_soft(meaning: Classification) -> bool:
    """Whether a failure may be held against the recipient, but not alone."""
    return meaning.fault is Fault.RECIPIENT and meaning.action is not Action.SUPPRESS


def held_softly(outcomes: Iterable[Outcome], patience: SoftBounceThresholds) -> Iterator[Failed]:
    """Those of one attempt's outcomes that count towards a suppression."""
    outcomes = tuple(outcomes)
    shared = _share_an_answer(outcomes)
    for outcome in outcomes:
        if (
            isinstance(outcome, Failed)
            and is_soft(outcome.classification)
            and outcome.classification.category in patience.soft
            and not (shared and outcome.result.stage is Stage.FINAL_DOT)
        ):
            yield outcome


def load_soft_bounce_thresholds(settings: SuppressionSettings, book: RuleBook) -> SoftBounceThresholds:
    """The thresholds, checked against the categories. Raises ConfigError."""
    named = [each.category for each in settings.soft_bounces]
    guilty = sorted(name for name, category in book.categories.items() if category.fault is Fault.RECIPIENT)
    faults = [f"category {name!r} has two thresholds; leave one" for name, n in Counter(named).items() if n > 1]
    for name in named:
        if name not in book.categories:
            faults.append(f"there is no category {name!r}; `mta classify --categories` lists them")
        elif name not in guilty:
            at_fault = book.categories[name].fault.value
            faults.append(
                f"category {name!r} is the fault of the {at_fault}, and suppresses nobody; allowed: {', '.join(guilty)}"
            )
    if faults:
        raise ConfigError([f"suppression.soft_bounces: {fault}" for fault in faults])
    return soft_bounce_thresholds(settings)


def soft_bounce_thresholds(settings: SuppressionSettings) -> SoftBounceThresholds:
    """The thresholds as they are written."""
    hard_lasts = settings.hard_bounces_expire
    return SoftBounceThresholds(
        {
            each.category: Threshold(each.count, timedelta(seconds=each.within), each.mailings)
            for each in settings.soft_bounces
        },
        timedelta(seconds=settings.soft_bounces_expire),
        None if hard_lasts is None else timedelta(seconds=hard_lasts),
    )
