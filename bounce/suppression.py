"""Decide which failures suppress a recipient, at once (hard bounce) or by number (soft bounces).

A rule says that a reply suppresses (``Action.SUPPRESS``). Soft bounces (mailbox full) are counted against the
thresholds in the settings.

Invariants: A single soft bounce never suppresses, and only the recipient's fault counts.

Limitations: Only messages that finally failed count; one that got through after a day of deferrals does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from bounce.rules import RuleBook
from config.schema import SuppressionSettings
from mta.mail.address import Address
from mta.mail.delivery import Action, Classification, Failed, Fault, Outcome
from mta.mail.identity import MessageId


@dataclass(frozen=True, slots=True)
class Threshold:
    """``count`` soft bounces within ``within``, from at least ``mailings`` mailings, suppress an address."""

    count: int
    within: timedelta
    mailings: int


@dataclass(frozen=True, slots=True)
class SoftBounceThresholds:
    """Thresholds by category, and how long suppressions for bounces last (None: forever). A category without a
    threshold never suppresses."""

    soft: Mapping[str, Threshold] = field(default_factory=dict)
    soft_lasts: timedelta | None = None
    hard_lasts: timedelta | None = None


@dataclass(frozen=True, slots=True)
class SoftBounce:
    """A message that failed for a reason of the recipient that may pass. ``mailing``: empty if it belongs to none."""

    address_key: bytes
    account_id: int
    category: str
    mailing: str
    rule: str
    evidence: str
    address: Address | None = None
    message_id: MessageId | None = None


def is_soft(found: Classification) -> bool:
    """Return whether a failure is the recipient's fault, but does not suppress by itself."""
    return found.fault is Fault.RECIPIENT and found.action is not Action.SUPPRESS


def soft_failures(outcomes: Iterable[Outcome], thresholds: SoftBounceThresholds) -> Iterator[Failed]:
    """Yield the outcomes that count as soft bounces."""
    failed = (each for each in outcomes if isinstance(each, Failed) and is_soft(each.classification))
    yield from (each for each in failed if each.classification.category in thresholds.soft)


def threshold_faults(settings: SuppressionSettings, book: RuleBook) -> Iterator[tuple[int, str]]:
    """Yield which of the thresholds are wrong, by number, and why."""
    names = [each.category for each in settings.soft_bounces]
    allowed = sorted(name for name, category in book.categories.items() if category.fault is Fault.RECIPIENT)
    for n, name in enumerate(names):
        if names.index(name) < n:
            yield n, f"category {name!r} has two thresholds; leave one"
        elif name not in book.categories:
            yield n, f"there is no category {name!r}; `mta classify --categories` lists them"
        elif name not in allowed:
            at_fault, others = book.categories[name].fault.value, ", ".join(allowed)
            yield n, f"category {name!r} is the fault of the {at_fault}, and cannot suppress; allowed: {others}"


def soft_bounce_thresholds(settings: SuppressionSettings) -> SoftBounceThresholds:
    """Return the thresholds of the settings, which ``threshold_faults`` has checked."""
    hard_lasts = settings.hard_bounces_expire
    return SoftBounceThresholds(
        {
            each.category: Threshold(each.count, timedelta(seconds=each.within), each.mailings)
            for each in settings.soft_bounces
        },
        timedelta(seconds=settings.soft_bounces_expire),
        None if hard_lasts is None else timedelta(seconds=hard_lasts),
    )
