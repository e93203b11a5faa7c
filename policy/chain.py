"""Run the rules over a message and keep every finding.

The chain is an ordered tuple of rules. All of them run, even after one has refused: the record should show everything
that is wrong at once, and the order must not decide what is refused. The first refusal is the answer.

It must never know a particular rule, nor do anything a rule did not ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from mta.mail.message import Message
from policy.base import Amend, Facts, Finding, Pass, Policy, Refuse


@dataclass(frozen=True, slots=True)
class Screened:
    """The message as amended, what every rule found, and the first refusal if there was one."""

    message: Message
    findings: tuple[Finding, ...]
    refusal: Refuse | None


def screen(chain: Sequence[Policy], message: Message, facts: Facts, now: datetime) -> Screened:
    """Check ``message`` against each rule in order; amendments are seen by the rules that follow."""
    findings: list[Finding] = []
    refusal: Refuse | None = None
    for policy in chain:
        verdict, evidence = policy.check(message, facts, now)
        match verdict:
            case Pass():
                findings.append(Finding(policy.name, "pass", evidence))
            case Amend(amended, note):
                message = amended
                findings.append(Finding(policy.name, "amend", note))
            case Refuse(reply):
                refusal = refusal or verdict
                findings.append(Finding(policy.name, "refuse", reply.text))
            case _:
                assert_never(verdict)
    return Screened(message, tuple(findings), refusal)
