"""Classify a receiver's reply: by the first rule that knows its words, else by the grammar of words, else by its code.

Rules are data (``config/defaults/bounces.toml`` and the operator's own). What no rule can change is here: a 4xx is
retried (unless the rule sets ``on_4xx``), a refused connection is retried, words about the sender outweigh those about
a mailbox, and "temporarily" or "or full" take the milder reading.

Invariants: Never fails, whatever the reply contains. Only an answer to RCPT TO, or our own finding about the domain, is
a recipient's fault: the others answer a command that names no recipient, or the message that several may share.

Limitations: A 5xx whose words nobody knows fails the recipient without suppressing the address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

from bounce.grammar import OTHERS_FAULT, flattened, read_full_mailbox, read_words, words_of
from bounce.reply_index import MAX_TEXT, ReplyIndex
from bounce.rules import BounceRule, RuleBook, load_rules
from mta.mail.address import Address
from mta.mail.delivery import Action, Classification, Fault, Stage
from mta.mail.identity import MessageId, format_id
from mta.mail.reply import Reply, ReplyKind

_OUR_OWN = frozenset({Stage.RESOLVE, Stage.TLS, Stage.TLS_POLICY})  # findings, not words of the other side
_OF_THE_MESSAGE = frozenset({Stage.DATA, Stage.FINAL_DOT})
_SAYS_LITTLE = ("policy_refusal", "refused", "deferred")  # the words beside it may name the policy
_CLEARER = (
    ("system_failure", "blocklisted"),
    ("recipient_refuses", "spam_content"),
    ("banned_content", "system_failure"),
)
_OF_WHAT = ("too_large", "system_failure")  # a limit or a disk may be that of a mailbox
_MAY_GIVE_WAY = frozenset({*_SAYS_LITTLE, *_OF_WHAT, *(known for known, _ in _CLEARER), "rate_limited"})
_CLEAR = ("words-unknown", "words-gone", "words-closed", "words-full")
_VAGUE = ("words-unavailable", "words-maybe", "words-unsure", "words-temporarily")
_DOUBTFUL = {"words-closed": ("5.7.",), "words-unavailable": ("5.7.", "5.2.")}  # so for us, or for now
_CODES_OF_SENDER = (".1.7", ".1.8")  # RFC 3463: the address, or the system, of the sender
_UNKNOWN = Classification("unknown", Fault.SITE, Action.RETRY, "no-rule")


def load_classifier(paths: Sequence[Path]) -> Classifier:
    """Return the classifier by the rules of ``paths``, then the shipped ones. Raises ConfigError."""
    return Classifier(load_rules(paths)) if paths else _by_shipped_rules()


@cache
def _by_shipped_rules() -> Classifier:
    """Return one for all forked processes: an index of their own would take 3 MiB of each."""
    return Classifier(load_rules())


class Classifier:
    """Finds the rule for a reply. Built once from a RuleBook; holds no other state."""

    def __init__(self, book: RuleBook) -> None:
        self._rules = book.rules
        self._only_codes = frozenset(rule.id for rule in book.rules if _knows_only_codes(rule))
        shipped = load_rules().rules  # an operator means what they say
        self._phrases = frozenset(rule.id for rule in shipped if not (rule.certain or _knows_only_codes(rule)))
        self._index = ReplyIndex(book.rules)

    def classify(self, reply: Reply, stage: Stage = Stage.RECIPIENT, host: str | None = None) -> Classification:
        """Classify ``reply``. ``host``: the receiver's name, for rules that apply to one provider only."""
        if reply.kind is ReplyKind.POSITIVE:
            return Classification("delivered", Fault.SITE, Action.DELIVERED, "positive-reply")
        first = next(self._matches(reply, stage, host), None)
        found = _UNKNOWN if first is None else self._judged(first, reply, stage)
        nameless = found.category == "policy_refusal" and found.rule != "words-sender" and reply.status[-2:-1] == "."
        if nameless and stage in _OF_THE_MESSAGE:  # refused when it had been read
            found = replace(found, category="spam_content", fault=Fault.CONTENT)
        if found.fault is Fault.RECIPIENT and reply.status.endswith(_CODES_OF_SENDER):
            found = blamed_on_sender(found)
        if found.category == "inactive_mailbox" and found.action is Action.SUPPRESS and reply.status == "5.1.1":
            found = replace(found, hard=True)  # words and code together: closed for good
        return _bounded(found, stage)

    def explain(
        self, reply: Reply, stage: Stage = Stage.RECIPIENT, host: str | None = None
    ) -> tuple[Classification, ...]:
        """Return the result of every matching rule, in order; the first one counts."""
        found, meaning = list(self._matches(reply, stage, host)), self.classify(reply, stage, host)
        return (meaning, *found[meaning.rule == found[0].rule :]) if found else ()

    def _judged(self, first: Classification, reply: Reply, stage: Stage) -> Classification:
        """Return ``first``, or what the words mean where the rule knew only the code, or read too much into them."""
        if stage in _OUR_OWN:
            return first
        by_code = first.rule in self._only_codes or (first.hard and first.fault is Fault.SITE)
        passes = stage.is_connection or reply.kind is not ReplyKind.PERMANENT
        if not by_code and first.fault is not Fault.RECIPIENT and first.category not in _MAY_GIVE_WAY:
            return replace(first, hard=False) if passes else first  # whatever stands beside it
        text = flattened(reply.text[:MAX_TEXT])
        words = read_words(text)
        if words is not None and first.rule in self._phrases and _gives_way(first, words, stage):
            return replace(words, action=first.action, hard=False) if passes else _believed(words, reply)
        if passes:
            known = by_code and first.fault is not Fault.NETWORK and words is not None and words.rule not in _VAGUE
            found = words if known and words else first if by_code else _milder(first, words, text, reply.status)
            return replace(found, action=first.action, hard=False)
        of_what = first.category in _OF_WHAT or (reply.status == "5.2.2" and first.category == "rate_limited")
        if of_what and (full := read_full_mailbox(text, named_first=first.category == "too_large")):
            return full
        if not by_code and (first.fault is not Fault.RECIPIENT or first.certain):
            return first
        return _milder(_by_words(first, words, text, reply) if by_code else first, words, text, reply.status)

    def sample_errors(self) -> list[str]:
        """Return an error for each sample that does not match its own rule first."""
        found = []
        for rule in self._rules:
            stage = min(rule.stages, key=list(Stage).index, default=Stage.RECIPIENT)
            host = f"mx{rule.mx[0]}" if rule.mx else None
            for sample in rule.samples:
                if (fired := self.classify(sample, stage, host).rule) != rule.id:
                    found.append(f"bounce rule {rule.id}: its sample {str(sample)[:80]!r} leads to rule {fired}")
        return found

    def _matches(self, reply: Reply, stage: Stage, host: str | None) -> Iterator[Classification]:
        for rule, matched in self._index.matches(reply, stage, host):
            action = _action(rule, reply, stage)
            hard = rule.hard and reply.kind is ReplyKind.PERMANENT and action is not Action.RETRY
            yield Classification(rule.category, rule.fault, action, rule.id, matched, hard, rule.certain)


def _knows_only_codes(rule: BounceRule) -> bool:
    """Return whether ``rule`` asks for codes that everybody uses, so that the words beside them may say more."""
    return not rule.patterns and not rule.mx and all(len(code.rpartition(".")[2]) < 3 for code in rule.enhanced)


def _action(rule: BounceRule, reply: Reply, stage: Stage) -> Action:
    if reply.kind is not ReplyKind.PERMANENT:
        return rule.on_4xx
    if stage.is_connection and stage is not Stage.RESOLVE:
        return Action.RETRY  # another host, or the same one later, may accept
    return rule.action


def _by_words(first: Classification, words: Classification | None, text: str, reply: Reply) -> Classification:
    """Return the reading of the words where only a code was known. A code about the address (x.1.z) is believed unless
    they are milder; x.7.z makes it doubtful that a mailbox is closed: it may be so for us."""
    address = first.hard and first.fault is Fault.RECIPIENT and reply.status[2:3] == "1"
    if words is None or (address and (words.hard or words.action is Action.SUPPRESS or words.rule == "words-maybe")):
        return first
    full = first.category == "mailbox_full" and any(word.tag == "full" for word in words_of(text))
    narrower = first.fault is Fault.SENDER and words.fault is Fault.SENDER and first.category != "policy_refusal"
    return first if full or narrower else _believed(words, reply)


def _believed(words: Classification, reply: Reply) -> Classification:
    """Return ``words``, or the milder reading where the code makes them doubtful."""
    doubtful = reply.status.startswith(_DOUBTFUL.get(words.rule, ("-",)))
    return replace(words, action=Action.FAIL, hard=False) if doubtful else words


def _gives_way(first: Classification, words: Classification, stage: Stage) -> bool:
    """Return whether the phrase names no reason, while ``words`` clearly name one."""
    little = first.category in _SAYS_LITTLE or (first.category, words.category) in _CLEARER
    ours = words.rule.endswith(("sender", "policy")) and first.fault is Fault.SENDER and stage not in _OF_THE_MESSAGE
    return little and (words.rule in _CLEAR if words.fault is Fault.RECIPIENT else not ours)


def _milder(first: Classification, words: Classification | None, text: str, status: str) -> Classification:
    """Return ``first``, which blames the recipient, unless the words speak of another's fault or of a passing state."""
    if first.fault is not Fault.RECIPIENT or first.category == "recipient_refuses":
        return first
    found = words_of(text)
    tags = {word.tag: word.text for word in found}
    of_sender = words is not None and words.fault is Fault.SENDER
    if first.category == "mailbox_full" and not of_sender and tags.keys() & OTHERS_FAULT <= {"size", "content"}:
        return first  # too large for what is left of it
    elsewhere = ("bad_mailbox", "bad_domain")  # the recipient's domain does not exist, not the recipient
    if words is not None and (words.fault is not Fault.RECIPIENT or (first.category, words.category) == elsewhere):
        return words
    if first.action is not Action.SUPPRESS and not first.hard:
        return first
    if "full" in tags:
        return Classification("mailbox_full", Fault.RECIPIENT, Action.FAIL, "words-full", tags["full"])
    maybe = any(one.tag == "maybe" and 0 <= word.start - one.end <= 1 for one, word in pairwise(found))
    refused = status in ("5.7.0", "5.7.1") and first.category == "inactive_mailbox"  # to us
    if maybe or refused or "temporarily" in tags or (words is not None and words.rule == "words-unsure"):
        return replace(first, action=Action.FAIL, hard=False)
    return first


def is_about_sender(text: str, sender: Address | None, message_id: MessageId, recipient: Address) -> bool:
    """Return whether a reply to RCPT names an address of ours, or the return path, and the recipient nowhere: many
    receivers look the sender up, and say of that what others say of the recipient."""
    text = text.lower()
    theirs, ours = str(recipient).lower(), str(sender).lower() if sender else format_id(message_id)
    if sender is not None and sender.domain != recipient.domain:
        theirs, ours = theirs.removesuffix(f"@{recipient.domain}"), f"@{sender.domain}"
        text = text.replace(f"{theirs}{ours}", ours)  # their name in our domain is not theirs
    if _stands(theirs, text):
        return False
    return format_id(message_id) in text or _stands(ours, text)


def _stands(address: str, text: str) -> bool:
    """Return whether an address, or a part of one, stands there and is not a part of another."""
    before = "" if address.startswith("@") else r"(?<![\w.+-])"
    return re.search(rf"{before}{re.escape(address)}(?![\w+-]|\.\w)", text) is not None


def blamed_on_sender(found: Classification) -> Classification:
    """Return what a finding about the recipient is if it was the sender's fault: nobody is suppressed for it."""
    action = Action.FAIL if found.action is Action.SUPPRESS else found.action
    return replace(found, category="bad_sender", fault=Fault.SENDER, action=action, hard=False)


def _bounded(found: Classification, stage: Stage) -> Classification:
    """Return ``found`` without blame of a recipient whom the refused command did not name."""
    if stage is Stage.RECIPIENT:
        return found
    if found.fault is not Fault.RECIPIENT:
        return replace(found, hard=found.hard and stage is Stage.RESOLVE)
    if stage is Stage.RESOLVE:  # our own finding about the domain
        return replace(found, action=Action.FAIL) if found.action is Action.SUPPRESS else found
    if stage in _OF_THE_MESSAGE:
        return replace(blamed_on_sender(found), category=found.category, fault=Fault.SITE)
    blamed = blamed_on_sender(found)
    return blamed if stage is Stage.SENDER else replace(blamed, category="policy_refusal")
