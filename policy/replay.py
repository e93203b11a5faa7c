"""What a changed profile would have decided about a message that was screened before.

Each rule of the new chain keeps the finding it gave then, if it is the same rule with the same settings; whether the
finding counts or is only recorded depends on the new profile. For a new or changed rule the finding comes from
``fresh``,
the message screened again, if its content still exists.

Invariants: nothing is guessed: if a missing finding could change the result, the result is unknown.

Limitations: facts change (a consent, a suppression): the finding of that time counts, not what would be found now. At
RCPT only the first rejection was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from policy.base import Finding
from policy.chain import Failing
from policy.profile import StreamRules


class ReplayVerdict(Enum):
    """What became of a message when it was submitted."""

    ACCEPTED = "accepted"
    HELD = "held"
    REFUSED = "refused"
    PUT_OFF = "put off"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ReplayEnd:
    """``rule``: the one that decided, "" if none did. ``why``: its evidence. ``dropped``: recipients left out."""

    fate: ReplayVerdict
    rule: str = ""
    why: str = ""
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScreenedMessage:
    """A message as it was judged, and what became of it."""

    findings: tuple[Finding, ...]
    recipients: tuple[str, ...]
    fate: ReplayVerdict


def before(judged: ScreenedMessage) -> ReplayEnd:
    """The end that the record tells of."""
    if judged.fate in (ReplayVerdict.REFUSED, ReplayVerdict.PUT_OFF):
        found = next((each for each in judged.findings if each.verdict in ("error", "refuse")), None)
        message_wide = next(
            (each for each in judged.findings if each.verdict == "refuse" and not each.recipient), found
        )
        return _end(judged.fate, message_wide)
    dropped = tuple(sorted({each.recipient for each in judged.findings if each.verdict == "refuse" and each.recipient}))
    held = next((each for each in judged.findings if each.verdict == "hold"), None)
    return ReplayEnd(judged.fate, held.policy if held else "", held.evidence if held else "", dropped)


def after(
    judged: ScreenedMessage, old: StreamRules | None, new: StreamRules | None, fresh: Sequence[Finding] | None
) -> ReplayEnd:
    """The end under ``new``. ``old``: the rules by which it was judged. None: the profile does not allow the stream."""
    if new is None:
        return ReplayEnd(ReplayVerdict.REFUSED, "stream", "the profile does not allow this stream")
    heard, unheard = _words(judged, old, new, fresh)
    if error := next((each for each in heard if each.verdict == "error"), None):
        return _end(ReplayVerdict.PUT_OFF, error)
    if refusal := next((each for each in heard if each.verdict == "refuse" and not each.recipient), None):
        return _end(_kind(judged, refusal), refusal)
    failing: dict[str, Finding] = {}
    for each in heard:
        if each.verdict == "refuse" and each.recipient:
            failing.setdefault(each.recipient, each)
    everybody = set(failing) >= set(judged.recipients)
    if failing and (everybody or new.chain.failing is Failing.REFUSE_ALL):
        first = next(iter(failing.values()))
        return _end(_kind(judged, first), first)
    if unheard:
        names = ", ".join(unheard)
        return ReplayEnd(
            ReplayVerdict.UNKNOWN, unheard[0], f"not asked then, and the content is no longer here: {names}"
        )
    held = next((each for each in heard if each.verdict == "hold"), None)
    fate = ReplayVerdict.HELD if held else ReplayVerdict.ACCEPTED
    return ReplayEnd(fate, held.policy if held else "", held.evidence if held else "", tuple(sorted(failing)))


def _words(
    judged: ScreenedMessage, old: StreamRules | None, new: StreamRules, fresh: Sequence[Finding] | None
) -> tuple[list[Finding], list[str]]:
    """What each rule of the new chain says, with its weight there; and the rules whose word is missing."""
    then, now = _by_rule(judged.findings), _by_rule(fresh or ())
    heard: list[Finding] = []
    unheard: list[str] = []
    for name, settings in new.settings.items():
        same = old is not None and old.settings.get(name) == settings
        if same and name in then:
            words = then[name]
        elif fresh is not None:
            words = now.get(name, [])
        else:
            unheard.append(name)
            continue
        observed, before = name in new.chain.observed, old is not None and name in old.chain.observed
        heard += [weighed for word in words if (weighed := _weigh(word, observed=observed, before=before))]
    return heard, [name for name in unheard if name not in new.chain.observed]


def _by_rule(findings: Sequence[Finding]) -> Mapping[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.policy, []).append(finding)
    return found


def _weigh(word: Finding, *, observed: bool, before: bool) -> Finding | None:
    """The finding as it counts when its rule is enforced, or None when it is only observed. ``before``: the rule was
    observed when it was found; if it was not, it observes this by its own settings."""
    if word.verdict == "error":
        return word
    if observed:
        return None
    if word.verdict != "observe":
        return word
    if not before:
        return None
    kind, _, evidence = word.evidence.removeprefix("would ").partition(": ")
    return Finding(word.policy, kind, evidence, word.recipient)


def _kind(judged: ScreenedMessage, finding: Finding) -> ReplayVerdict:
    """A refusal is recorded without its code: the rules that put off say so."""
    if judged.fate is ReplayVerdict.PUT_OFF and finding in judged.findings:
        return ReplayVerdict.PUT_OFF
    return ReplayVerdict.REFUSED


def _end(fate: ReplayVerdict, finding: Finding | None) -> ReplayEnd:
    return ReplayEnd(fate, finding.policy if finding else "", finding.evidence if finding else "")
