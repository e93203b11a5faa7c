"""Run the rules over a message, stage by stage, and keep every finding.

The chain is an ordered tuple of rules. When a message is complete all of them run, even after one has refused: the
record should show everything that is wrong at once, and the order must not decide what is refused. The answer names the
first refusal of the whole message (a permanent one before a temporary one) or, if only recipients are refused, each of
them. At MAIL, at RCPT and before delivery the first refusal is the answer.

A rule that raises is an internal error: the message is answered 451, whatever the other rules say, and others are not
affected. A rule that is only observed is recorded and changes nothing; so is what a rule itself only observes.

What rules write into the message is written when all have run, each field in place of all of its name, a later rule's
in place of an earlier one's. Notices are written into the texts all at once.

A message that is the same as one that was confirmed (``policy.mailing.reference``) is not read again by the rules that
judge the content alone: what they found in the confirmed one counts. Neither is one whose body came before
(``policy.text.known_texts``) and passed.

Invariants: the chain knows no particular rule, and does nothing that no rule asked for.

Limitations: no rule sees what another of the same run writes; the personal ones see what the shared ones wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from copy import copy
from dataclasses import field
from datetime import datetime
from enum import Enum
from typing import Any, assert_never, cast

from mta.mail.address import Address
from mta.mail.message import Message
from mta.mail.reply import Reply
from mta.mail.values import dataclass, replace
from policy.base import (
    Amend,
    Facts,
    Finding,
    Hold,
    Observe,
    PageRule,
    Pass,
    RecipientFacts,
    Refuse,
    Rule,
    Verdict,
)
from policy.footer.notice import Notice
from policy.header_fields import named, stamp
from policy.mailing.reference import Matched, Reference
from policy.text.message_text import MessageText

NAMED = 20  # failing recipients that a reply names; the record has them all


SenderStage = Callable[[Address | None, Facts, datetime], tuple[Verdict, str]]
RecipientStage = Callable[[RecipientFacts, Facts, datetime], tuple[Verdict, str]]
ContentStage = Callable[[Message, Facts, datetime], tuple[Verdict, str]]


class Failing(Enum):
    """What becomes of a message some of whose recipients are refused."""

    REFUSE_ALL = "refuse_all"
    DROP = "drop"  # the others get it; each one dropped is an event


@dataclass(frozen=True, slots=True)
class _Step:
    """What one rule is asked when the message is complete; looked up once, because asking each time would be slow."""

    name: str
    rule: Rule
    on_content: ContentStage | None
    on_recipient: RecipientStage | None
    observed: bool
    content_only: bool
    beside: Callable[[Message, MessageText], Hashable] | None


class Chain:
    """The rules of one profile for one stream, in order.

    ``observed``: names of those that are only recorded. ``mandatory``: rules that are asked at MAIL and before delivery
    although they are not among ``rules``, or only observed.
    """

    __slots__ = ("at_delivery", "at_recipient", "at_sender", "counts_texts", "failing", "needs_links", "needs_scans",
                 "observed", "page_rules", "personal", "rules", "shared")  # fmt: skip

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        observed: frozenset[str] = frozenset(),
        failing: Failing = Failing.REFUSE_ALL,
        mandatory: Sequence[Rule] = (),
    ) -> None:
        self.rules = tuple(rules)
        self.observed = observed
        self.failing = failing
        self.counts_texts = any(_has(rule, "counts_texts") for rule in self.rules)
        self.needs_links = any(_has(rule, "needs_links") for rule in self.rules)
        self.page_rules: tuple[PageRule, ...] = tuple(
            cast(PageRule, rule) for rule in self.rules if hasattr(rule, "on_page")
        )
        self.needs_scans = any(_has(rule, "needs_scans") for rule in self.rules)
        self.shared = tuple(_step(rule, observed) for rule in self.rules if not _has(rule, "personal"))
        self.personal = tuple(_step(rule, observed) for rule in self.rules if _has(rule, "personal"))
        enforced = [rule for rule in self.rules if rule.name not in observed]
        self.at_recipient: tuple[tuple[str, RecipientStage], ...] = _stage(
            [rule for rule in enforced if not _has(rule, "personal")], "on_recipient"
        )
        required = {rule.name: rule for rule in mandatory}
        required |= {rule.name: rule for rule in self.rules if rule.name in required}  # with the profile's settings
        once_more = [*required.values(), *(rule for rule in enforced if rule.name not in required)]
        self.at_sender: tuple[tuple[str, SenderStage], ...] = _stage(once_more, "on_sender")
        self.at_delivery: tuple[tuple[str, RecipientStage], ...] = _stage(once_more, "before_delivery")

    def of_content(self) -> Chain:
        """Return the same chain without what its rules say of recipients."""
        chain = copy(self)
        chain.shared = tuple(replace(step, on_recipient=None) for step in self.shared)
        chain.personal = tuple(replace(step, on_recipient=None) for step in self.personal)
        return chain


def _has(rule: Rule, attribute: str) -> bool:
    return bool(getattr(rule, attribute, False))


def _step(rule: Rule, observed: frozenset[str]) -> _Step:
    on_content = getattr(rule, "on_content", None)
    if on_content is None and (on_sender := getattr(rule, "on_sender", None)):
        on_content = _ask_again(on_sender)
    on_recipient = getattr(rule, "on_recipient", None)
    content_only, beside = _has(rule, "content_only"), getattr(rule, "beside", None)
    return _Step(rule.name, rule, on_content, on_recipient, rule.name in observed, content_only, beside)


def _ask_again(on_sender: SenderStage) -> ContentStage:
    return lambda message, facts, now: on_sender(message.envelope.sender, facts, now)


def _stage(rules: Sequence[Rule], stage: str) -> tuple[tuple[str, Any], ...]:
    """Return name and method of each rule that has ``stage``."""
    return tuple((rule.name, method) for rule in rules if (method := getattr(rule, stage, None)))


@dataclass(frozen=True, slots=True)
class Screened:
    """The message as amended, what every rule found, and what is to be done.

    ``refusal``: the answer if the message is refused as a whole. ``dropped``: recipients that it is not sent to, and
    why; the message no longer has them. ``holds``: why it must wait. ``signers``: domains that must sign it beside the
    author's. ``errors``: rules that raised.
    """

    message: Message
    findings: tuple[Finding, ...]
    refusal: Reply | None = None
    holds: tuple[Hold, ...] = ()
    dropped: tuple[tuple[Address, Reply], ...] = ()
    signers: tuple[str, ...] = ()
    errors: tuple[tuple[str, Exception], ...] = ()


@dataclass(slots=True)
class _Run:
    """What has come together while the rules ran."""

    message: Message
    findings: list[Finding] = field(default_factory=list)
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    signers: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    refusal: Reply | None = None
    holds: list[Hold] = field(default_factory=list)
    failing: dict[Address, Reply] = field(default_factory=dict)
    errors: list[tuple[str, Exception]] = field(default_factory=list)

    def take(self, name: str, verdict: Verdict, evidence: str, recipient: Address | None, *, observed: bool) -> None:
        """Record one verdict, and act on it unless it is only observed."""
        whose = None if recipient is None else str(recipient)
        if isinstance(verdict, Pass):
            self.findings.append(Finding(name, "pass", evidence, whose))
            return
        if isinstance(verdict, Observe):
            verdict, observed = verdict.instead, True
        note, kind = _note(verdict, evidence), verdict.__class__.__name__.lower()
        if observed:
            self.findings.append(Finding(name, "observe", f"would {kind}: {note}", whose))
            return
        self.findings.append(Finding(name, kind, note, whose))
        match verdict:
            case Amend(fields, _, signers, notices):
                added = named(fields)
                names = {name for name, _ in added}
                self.fields = [*added, *(each for each in self.fields if each[0] not in names)]
                self.signers += signers
                self.notices += notices
            case Hold():
                self.holds.append(verdict)
            case Refuse(reply) if recipient is None:
                self.refusal = _graver(self.refusal, reply)
            case Refuse(reply):
                assert recipient is not None
                self.failing[recipient] = _graver(self.failing.get(recipient), reply)
            case _:
                assert_never(verdict)

    def broke(self, name: str, error: Exception) -> None:
        self.errors.append((name, error))
        self.findings.append(Finding(name, "error", error.__class__.__name__))


def screen_sender(chain: Chain, sender: Address | None, facts: Facts, now: datetime) -> Reply | None:
    """Return the first refusal at MAIL, None to go on. A rule that raises will raise again with the message."""
    for _, on_sender in chain.at_sender:
        try:
            verdict, _ = on_sender(sender, facts, now)
        except Exception:  # noqa: S112 - it will raise again where it is counted
            continue
        if isinstance(verdict, Refuse):
            return verdict.reply
    return None


def screen_recipient(
    chain: Chain, recipient: RecipientFacts, facts: Facts, now: datetime
) -> tuple[Finding, Reply] | None:
    """Return the first refusal at RCPT with its finding, None to go on. A rule that raises will raise again with the
    message."""
    for name, on_recipient in chain.at_recipient:
        try:
            verdict, _ = on_recipient(recipient, facts, now)
        except Exception:  # noqa: S112 - it will raise again where it is counted
            continue
        if isinstance(verdict, Refuse):
            return Finding(name, "refuse", verdict.reply.text, str(recipient.address)), verdict.reply
    return None


def screen_delivery(chain: Chain, recipient: RecipientFacts, facts: Facts, now: datetime) -> Reply | None:
    """Return why ``recipient`` may not be mailed any more, None if it may. Raises what a rule raises: then no attempt
    may be made."""
    for _, before_delivery in chain.at_delivery:
        verdict, _ = before_delivery(recipient, facts, now)
        if isinstance(verdict, Refuse):
            return verdict.reply
    return None


def screen(chain: Chain, message: Message, facts: Facts, now: datetime) -> Screened:
    """Judge ``message``, and each of its recipients in ``facts``, by each shared rule in order, and write into it what
    they amend."""
    return _conclude(chain, _run(chain.shared, message, facts, now))


def personalise(chain: Chain, message: Message, facts: Facts, now: datetime) -> Screened:
    """Do the same with the personal rules, for a message that has one recipient."""
    return _conclude(chain, _run(chain.personal, message, facts, now))


def _run(steps: Sequence[_Step], message: Message, facts: Facts, now: datetime) -> _Run:
    run = _Run(message)
    for step in steps:
        name, observed = step.name, step.observed
        try:
            if step.on_content is not None:
                known = _known(step, message, facts, now) if step.content_only else None
                verdict, evidence = known or step.on_content(message, facts, now)
                run.take(name, verdict, evidence, None, observed=observed)
            if step.on_recipient is not None:
                for recipient in facts.recipients:
                    verdict, evidence = step.on_recipient(recipient, facts, now)
                    run.take(name, verdict, evidence, recipient.address, observed=observed)
        except Exception as error:
            run.broke(name, error)
    if run.fields:
        run.message = stamp(message, run.fields)
    if run.notices and run.refusal is None and not run.errors:
        run.message = facts.reading.writer.write(run.message, run.notices)
    return run


def _known(step: _Step, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str] | None:
    """Return what a rule about the content alone says of the reference that the message matches, if it passes whatever
    the values of the variables are, or of the same body, which may have come before; None: it is asked itself."""
    if isinstance(facts.reference, Matched):
        return _of_reference(step, facts.reference.reference, message, facts, now)
    beside = _beside(step, message, facts, facts.reading)
    known, evidence = facts.reading.passes.get(step.rule, (None, ""))
    if known == beside:
        return Pass(), evidence
    assert step.on_content is not None
    said = step.on_content(message, facts, now)
    if isinstance(said[0], Pass):
        facts.reading.passes[step.rule] = beside, said[1]
    return said


def _beside(step: _Step, message: Message, facts: Facts, *readings: MessageText) -> Hashable:
    """Return what its verdict on these texts depends on beside them."""
    pages = facts.mailing.pages if facts.mailing else None
    if step.beside is None:
        return facts.account, pages
    return facts.account, pages, *[step.beside(message, reading) for reading in readings]


def _of_reference(
    step: _Step, reference: Reference, message: Message, facts: Facts, now: datetime
) -> tuple[Verdict, str] | None:
    """Return that a rule passes the reference, and passes it with other values for its variables too; or None."""
    assert step.on_content is not None
    source, probe = reference.source.reading, reference.probe
    beside = _beside(step, message, facts, source, probe)
    known, evidence = reference.passes.get(step.rule, (None, None))
    if known != beside:
        said = step.on_content(message, replace(facts, reading=source), now)
        varied = step.on_content(message, replace(facts, reading=probe), now)
        passes = isinstance(said[0], Pass) and isinstance(varied[0], Pass)
        evidence = f"{said[1]} (as reference {reference.number})" if passes else None
        reference.passes[step.rule] = beside, evidence
    return None if evidence is None else (Pass(), evidence)


def _conclude(chain: Chain, run: _Run) -> Screened:
    findings, errors = tuple(run.findings), tuple(run.errors)
    if errors:
        names = ", ".join(sorted({name for name, _ in errors}))
        reply = Reply(451, "4.3.0", f"internal error in the rule {names}; it has been logged, try again later")
        return Screened(run.message, findings, reply, errors=errors)
    if run.refusal:
        return Screened(run.message, findings, run.refusal)
    holds, signers = tuple(run.holds), tuple(run.signers)
    if not run.failing:
        return Screened(run.message, findings, holds=holds, signers=signers)
    envelope = run.message.envelope
    kept = tuple(recipient for recipient in envelope.recipients if recipient.address not in run.failing)
    if not kept or chain.failing is Failing.REFUSE_ALL:
        return Screened(run.message, findings, _together(list(run.failing.values())))
    message = replace(run.message, envelope=replace(envelope, recipients=kept))
    return Screened(message, findings, holds=holds, dropped=tuple(run.failing.items()), signers=signers)


def _graver(first: Reply | None, second: Reply) -> Reply:
    """Return the permanent one of two refusals, so that no client tries again in vain; else the first."""
    if first is None or (first.code < 500 <= second.code):
        return second
    return first


def _together(replies: Sequence[Reply]) -> Reply:
    """Return one reply that names each failing recipient, temporary only if no recipient is refused for good."""
    permanent = [reply for reply in replies if reply.code >= 500]
    first = (permanent or replies)[0]
    lines = [reply.text for reply in replies[:NAMED]]
    if len(replies) > NAMED:
        lines.append(f"and {len(replies) - NAMED} more recipients")
    return Reply(first.code, first.status, "\n".join(lines))


def _note(verdict: Pass | Amend | Hold | Refuse, evidence: str) -> str:
    match verdict:
        case Pass():
            return evidence
        case Amend(_, note):
            return note
        case Hold(_, _, text):
            return text
        case Refuse(reply):
            return reply.text
        case _:
            assert_never(verdict)
