"""Whom a failure suppresses: nobody for an answer that was not about them alone.

A rule says that a reply suppresses (``Action.SUPPRESS``), looking at the words. Whether the words can be held against
one recipient depends on the others: one answer to the final dot for three recipients names none of them.

It must never turn a failure into a suppression; it only spares.

*Limits.* One clear answer is enough; softer ones (a mailbox that has been full for months) are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mta.mail.delivery import Action, Failed, Outcome, Stage


def spare_shared(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """``outcomes`` of one attempt, in which nobody is suppressed for an answer that several recipients share."""
    outcomes = tuple(outcomes)
    if sum(outcome.result.stage is Stage.FINAL_DOT for outcome in outcomes) < 2:
        return outcomes
    return tuple(_spared(outcome) if isinstance(outcome, Failed) else outcome for outcome in outcomes)


def _spared(failed: Failed) -> Failed:
    meaning = failed.classification
    if failed.result.stage is not Stage.FINAL_DOT or meaning.action is not Action.SUPPRESS:
        return failed
    return replace(failed, classification=replace(meaning, action=Action.FAIL))
