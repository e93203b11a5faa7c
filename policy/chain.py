"""Run the rules over a message and keep every finding.

The chain is an ordered tuple of rules. All of them run, even after one has refused: the record should show everything
that is wrong at once, and the order must not decide what is refused. The answer names the first refusal of the whole
message (one for good before one for now) or, if only recipients are refused, each of them.

A rule that raises is a fault of ours: the message is put off (451), whatever the other rules say, and others are not
affected. A rule that only observes is written down and changes nothing.

What rules write into the message is written at once when all have run, each field in place of all of its name, a later
rule's in place of an earlier one's.

It must never know a particular rule, nor do anything a rule did not ask for.

*Limits.* No rule sees what another of the same run writes; the personal ones see what the shared ones wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import assert_never

from mta.mail.address import Address
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import (
    Amend,
    Facts,
    Finding,
    Hold,
    Pass,
    Policy,
    RecipientFacts,
    RecipientPolicy,
    Refuse,
    Rule,
    Verdict,
)
from policy.header_fields import name_of, stamp

NAMED = 20  # failing recipients that a reply names; the record has them all


class Failing(Enum):
    """What becomes of a message some of whose recipients are refused."""

    REFUSE_ALL = "refuse_all"
    DROP = "drop"  # the others get it; each one dropped is an event


@dataclass(frozen=True, slots=True)
class _Step:
    """One rule, asked once what it can judge: asking a protocol each time would be slow."""

    rule: Rule
    check: Callable[[Message, Facts, datetime], tuple[Verdict, str]] | None
    check_recipient: Callable[[RecipientFacts, Facts, datetime], tuple[Verdict, str]] | None
    observed: bool
    personal: bool  # makes the message one recipient's own: each gets a copy


def _step(rule: Rule, observed: frozenset[str]) -> _Step:
    return _Step(
        rule,
        rule.check if isinstance(rule, Policy) else None,
        rule.check_recipient if isinstance(rule, RecipientPolicy) else None,
        rule.name in observed,
        bool(getattr(rule, "personal", False)),
    )


class Chain:
    """The rules of one profile for one stream, in order. ``observed``: names of those that only note.

    A rule with a true attribute ``personal`` writes what only one recipient may see (his unsubscribe link): these run
    last, on a copy for each recipient.
    """

    __slots__ = ("failing", "observed", "personal", "rules", "shared")

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        observed: frozenset[str] = frozenset(),
        failing: Failing = Failing.REFUSE_ALL,
    ) -> None:
        self.rules = tuple(rules)
        self.observed = observed
        self.failing = failing
        steps = [_step(rule, observed) for rule in self.rules]
        self.shared = tuple(step for step in steps if not step.personal)
        self.personal = tuple(step for step in steps if step.personal)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(rule.name for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Screened:
    """The message as amended, what every rule found, and what is to be done.

    ``refusal``: the answer if the message is refused as a whole. ``dropped``: recipients that it is not sent to, and
    why; the message no longer has them. ``hold``: why it must wait, a line for each reason. ``errors``: rules that
    raised.
    """

    message: Message
    findings: tuple[Finding, ...]
    refusal: Reply | None = None
    hold: str | None = None
    dropped: tuple[tuple[Address, Reply], ...] = ()
    errors: tuple[tuple[str, Exception], ...] = ()


@dataclass(slots=True)
class _Run:
    """What has come together while the rules ran."""

    message: Message
    findings: list[Finding] = field(default_factory=list)
    fields: list[bytes] = field(default_factory=list)
    refusal: Reply | None = None
    holds: list[str] = field(default_factory=list)
    failing: dict[Address, Reply] = field(default_factory=dict)
    errors: list[tuple[str, Exception]] = field(default_factory=list)

    def take(self, rule: Rule, verdict: Verdict, evidence: str, recipient: Address | None, *, observed: bool) -> None:
        """Note one verdict, and heed it unless it is only observed."""
        named = None if recipient is None else str(recipient)
        if isinstance(verdict, Pass):
            self.findings.append(Finding(rule.name, "pass", evidence, named))
            return
        note, kind = _note(verdict, evidence), verdict.__class__.__name__.lower()
        if observed:
            self.findings.append(Finding(rule.name, "observe", f"would {kind}: {note}", named))
            return
        self.findings.append(Finding(rule.name, kind, note, named))
        match verdict:
            case Amend(fields):
                names = set(map(name_of, fields))
                self.fields = [*fields, *(raw for raw in self.fields if name_of(raw) not in names)]
            case Hold(reason):
                self.holds.append(reason)
            case Refuse(reply) if recipient is None:
                self.refusal = _graver(self.refusal, reply)
            case Refuse(reply):
                assert recipient is not None
                self.failing[recipient] = _graver(self.failing.get(recipient), reply)
            case _:
                assert_never(verdict)

    def broke(self, rule: Rule, error: Exception) -> None:
        self.errors.append((rule.name, error))
        self.findings.append(Finding(rule.name, "error", error.__class__.__name__))


def screen(chain: Chain, message: Message, facts: Facts, now: datetime) -> Screened:
    """Check ``message``, and each of its recipients in ``facts``, against each shared rule in order, and write into it
    what they amend."""
    return _conclude(chain, _run(chain.shared, message, facts, now))


def personalise(chain: Chain, message: Message, facts: Facts, now: datetime) -> Screened:
    """The same with the personal rules, for a message that has one recipient."""
    return _conclude(chain, _run(chain.personal, message, facts, now))


def _run(steps: Sequence[_Step], message: Message, facts: Facts, now: datetime) -> _Run:
    run = _Run(message)
    for step in steps:
        rule, observed = step.rule, step.observed
        try:
            if step.check is not None:
                verdict, evidence = step.check(message, facts, now)
                run.take(rule, verdict, evidence, None, observed=observed)
            if step.check_recipient is not None:
                for recipient in facts.recipients:
                    verdict, evidence = step.check_recipient(recipient, facts, now)
                    run.take(rule, verdict, evidence, recipient.address, observed=observed)
        except Exception as error:
            run.broke(rule, error)
    if run.fields:
        run.message = stamp(message, *run.fields)
    return run


def screen_recipient(
    chain: Chain, recipient: RecipientFacts, facts: Facts, now: datetime
) -> tuple[Finding, Reply] | None:
    """The first refusal when a recipient is named, with its finding; None to go on. A rule that raises is left for
    the whole message to show, and so is what is only observed."""
    for step in chain.shared:
        if step.check_recipient is None or step.observed:
            continue
        try:
            verdict, evidence = step.check_recipient(recipient, facts, now)
        except Exception:  # noqa: S112 - it will raise again where it is counted
            continue
        if isinstance(verdict, Refuse):
            note = _note(verdict, evidence)
            return Finding(step.rule.name, "refuse", note, str(recipient.address)), verdict.reply
    return None


def _conclude(chain: Chain, run: _Run) -> Screened:
    findings, errors = tuple(run.findings), tuple(run.errors)
    if errors:
        names = ", ".join(sorted({name for name, _ in errors}))
        reply = Reply(451, "4.3.0", f"internal error in the rule {names}; it has been logged, try again later")
        return Screened(run.message, findings, reply, errors=errors)
    if run.refusal:
        return Screened(run.message, findings, run.refusal)
    hold = "\n".join(run.holds) or None
    if not run.failing:
        return Screened(run.message, findings, hold=hold)
    envelope = run.message.envelope
    kept = tuple(recipient for recipient in envelope.recipients if recipient.address not in run.failing)
    if not kept or chain.failing is Failing.REFUSE_ALL:
        return Screened(run.message, findings, _together(list(run.failing.values())))
    message = replace(run.message, envelope=replace(envelope, recipients=kept))
    return Screened(message, findings, hold=hold, dropped=tuple(run.failing.items()))


def _graver(first: Reply | None, second: Reply) -> Reply:
    """Of two refusals the one for good, so that nobody tries again in vain; else the first."""
    if first is None or (first.code < 500 <= second.code):
        return second
    return first


def _together(replies: Sequence[Reply]) -> Reply:
    """One answer that names each failing recipient; temporary only if no recipient is refused for good."""
    permanent = [reply for reply in replies if reply.code >= 500]
    first = (permanent or replies)[0]
    lines = [reply.text for reply in replies[:NAMED]]
    if len(replies) > NAMED:
        lines.append(f"and {len(replies) - NAMED} more recipients")
    return Reply(first.code, first.status, "\n".join(lines))


def _note(verdict: Verdict, evidence: str) -> str:
    match verdict:
        case Pass():
            return evidence
        case Amend(_, note):
            return note
        case Hold(reason):
            return reason
        case Refuse(reply):
            return reply.text
        case _:
            assert_never(verdict)
