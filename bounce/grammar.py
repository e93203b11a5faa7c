"""Read a refusal that no rule knows by its phrase, as a person would: whose mailbox, what is said of it, whose fault.

The words of each language are data (``config/defaults/bounce-words.toml``). An object (user, mailbox, address) near a
state (unknown, closed) is the recipient's, a domain near "unknown" is its domain's; words about the sender, the
content, a rate or a route are believed before it, and of several states of a mailbox the mildest: "unknown or full" is
full, "temporarily closed" is not closed, and what "may" be so is no finding.

Invariants: Linear in the length of the text: at each word only the phrases that begin with its letter are tried.

Limitations: No negation: "your mailbox is not full" is a full one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

from bounce.languages import Kind, every, phrases
from mta.mail.delivery import Action, Classification, Fault

NEAR = 60  # characters between an object and its state
DENIED = 30  # characters between "not" and what is denied
BEFORE = 8  # characters between the sender and an object of theirs

_WORD = re.compile(r"(?<![^\W_])[^\W_]|@|[\u3040-\u9fff\uac00-\ud7af]")  # no spaces in Chinese
# A phrase ends where a word does; in Chinese, Japanese and Korean anywhere. A pattern has it once, and a small range:
# ``re`` looks at every character of a range to compile it.
_END = r"(?:(?!\w)|(?<=\W)|(?<![\u0000-\u303f]))"
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z][a-z]{2})")  # in words like "DisabledUser"
_IP = re.compile(r"\[?(?<![\w.])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{1,4}:[0-9a-f:]{4,40})(?![\w])\]?")
_ADDRESS = re.compile(
    r"(?:(postmaster|abuse|hostmaster|mailer-daemon)(?=@)"  # a site asks whether the sender's domain has them
    r"|(?:[^\s<>()\[\],;:\"'@.]|\.(?!\.)){1,64})"
    r"@[a-z0-9_\u0080-\uffff-]{1,63}(?:\.[a-z0-9_\u0080-\uffff-]{1,63}){0,10}"
)
_HOST = re.compile(r"(?<![\w.@-])(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,8}(?![\w@-]|\.\w)")  # "mailbox.org" is no mailbox
_LOCAL = re.compile(r"<[a-z0-9][a-z0-9.+=-]{0,63}>")  # "<ann> is disabled"
_ADVICE = re.compile(r"\b[Ii]f (?:you|this|it|that)\b(?! (?:is|do|are) not)[^.;!]{0,200}|https?://[^\s<>()\"']{1,400}")
_NARROWER = {  # what of the sender, or of the message, is refused
    "sender": re.compile(
        r"(?P<bad_host_name>dns\b|lookup|reverse|ptr\b|helo|ehlo)|(?P<spf_failure>spf\b)|(?P<dkim_failure>dkim|arc\b)"
        r"|(?P<dmarc_policy>dmarc)|(?P<tls_required>tls\b|crypt|kryp|cipher)|(?P<auth_failure>authenticat)"
        r"|(?P<bad_reputation>reputation|score|spammer|abus|many)"
        r"|(?P<rate_limited>l[ií]mit|лимит|quota|cuota|cota|kontingent|allowance)"
        r"|(?P<bad_sender>sender(?!.s? (?:host|ip))|mail ?from|return|revers|bounce|repl|envelope|for (?:send|out)"
        r"|(?:unknown|exist|invalid|verified|registered)\b|from(?: field|:| address| header))"
    ),
    "content": re.compile(
        r"(?P<banned_content>attach|virus|malware|phish|infected|link|url|file|password)"
        r"|(?P<bad_message>header|mime|format|structure|field|rfc|malformed|comply|character|invalid|missing|empty|blank|stray|bare)"
    ),
}
_BLOCKED = re.compile(r"\blist|(?:black|sperr)list|blo(?:ck|que|kk|cc)|\bbann?ed|gesperrt|zwarte lijst")

# In this order: what stands first is believed first.
_OTHERS: dict[Kind, tuple[str, Fault]] = {
    "loop": ("message_loop", Fault.SITE),
    "sender": ("policy_refusal", Fault.SENDER),
    "relay": ("relaying_denied", Fault.SITE),
    "size": ("too_large", Fault.CONTENT),
    "content": ("spam_content", Fault.CONTENT),
    "full": ("mailbox_full", Fault.RECIPIENT),
    "rate": ("rate_limited", Fault.SENDER),
    "network": ("connection_failure", Fault.NETWORK),
    "site": ("system_failure", Fault.SITE),
}
OTHERS_FAULT = frozenset(tag for tag, (_, fault) in _OTHERS.items() if fault is not Fault.RECIPIENT)
_OBJECTS: tuple[Kind, ...] = ("originator", "ip", "domain", "object")
_STATES: tuple[Kind, ...] = (
    *("temporarily", "maybe", "gone", "unknown", "closed", "unavailable", "refuses", *_OBJECTS),
    *("existence_first", "existence", "negation"),
)
_ALL: tuple[Kind, ...] = (*_OTHERS, "no_mail", "policy", *_STATES)
# RFC 5321 4.2.3 words any refusal of a recipient as "mailbox unavailable", so clearer words come first.
_ABOUT_MAILBOX: tuple[tuple[Kind, str, bool], ...] = (
    ("gone", "bad_mailbox", True),  # of a person: it needs no object
    ("unknown", "bad_mailbox", True),
    ("closed", "inactive_mailbox", False),
    ("unavailable", "bad_mailbox", True),  # also said of a mailbox that refuses us: not suppressed at once
)
_DENYING: tuple[Kind, ...] = ("negation", "existence", "existence_first")
_DENIALS = frozenset({("negation", "existence"), ("negation", "existence_first"), ("existence_first", "negation")})


class Word(NamedTuple):
    """A phrase that was found: what it says and where it stands."""

    tag: str
    text: str
    start: int
    end: int


@lru_cache(256)  # the recipients of a report share their reason, but for the address
def words_of(text: str) -> tuple[Word, ...]:
    """Return the phrases of the grammar in ``text`` (as ``flattened`` returns it), in order."""
    return tuple(_denied(_found(_tables(*_ALL), text), text))


def _denied(found: Iterator[Word], text: str) -> Iterator[Word]:
    """Yield ``found`` with "not ... exist", or "exists ... not" in German and Dutch, as one word that says unknown."""
    last: Word | None = None
    for word in found:
        if last is not None and (last.tag, word.tag) in _DENIALS and _is_near(text[last.end : word.start]):
            yield Word("unknown", f"{last.text} ... {word.text}", last.start, word.end)
            last = None
        elif word.tag in _DENYING:
            last = word
        else:
            yield word


def _is_near(between: str) -> bool:
    """Return whether what is denied stands ``between`` so few characters, and in the same sentence."""
    return len(between) <= DENIED and ". " not in between


def failure_in(text: str) -> str | None:
    """Return the first words in ``text`` (lower case) that report a failure."""
    return next((word.text for word in _found(_tables("failure"), text)), None)


def delay_in(text: str) -> str | None:
    """Return the first words in ``text`` (lower case, single spaces) that say that delivery is still tried."""
    found = phrases("delay").search(text)
    return found[0] if found else None


def flattened(text: str) -> str:
    """Return ``text`` in lower case on one line, with ``@`` for each address and ``ip-address`` for each IP address."""
    flat = _HUMP.sub(" ", _HOST.sub("x.y", _ADVICE.sub(" ", text))).lower().replace("_", " ")
    flat = _ADDRESS.sub(r"\1@ ", flat) if "@" in flat else flat
    flat = _LOCAL.sub("@ ", flat) if "<" in flat else flat
    return _IP.sub("ip-address", " ".join(flat.split()))


def read_words(text: str) -> Classification | None:
    """Return what a permanent refusal means by its words, or None if they are not known."""
    found = words_of(text)
    tags = {word.tag: word.text for word in reversed(found)}
    for tag, (category, fault) in _OTHERS.items():
        if tag in tags:
            narrower, of = _narrower(tag, tags[tag], text), _pair(found, tag) if tag == "full" else None
            if of and of[0].tag in ("originator", "ip"):  # "the quota of the sender is exceeded"
                return _meaning("rate_limited", "sender", tags[tag], Fault.SENDER)
            vague = (tag == "sender" and not narrower) or (tag == "full" and not of)
            if not vague or not tags.keys() & ({"rate", "content"} if tag == "sender" else {"rate"}):
                return _meaning(narrower or category, tag, tags[tag], fault)
    if "no_mail" in tags:
        return _meaning("bad_domain", "domain", tags["no_mail"], hard=True)
    for state, category, hard in _ABOUT_MAILBOX:
        if pair := _pair(found, state):
            return _of_state(state, category, hard, text, found, *pair)
    if "refuses" in tags:
        return _meaning("recipient_refuses", "refuses", tags["refuses"])
    if "policy" in tags:  # of whom it does not say
        return _meaning("policy_refusal", "policy", tags["policy"], Fault.SENDER)
    alone = [*tags] == ["unknown"] and len(text) <= len(tags["unknown"]) + 3 * BEFORE  # of whom but the recipient?
    return _meaning("bad_mailbox", "unknown", text, hard=True) if alone else None


def _narrower(tag: str, said: str, text: str) -> str | None:
    """Return what ``said`` names of a sender or a message, or None."""
    if tag == "sender" and _BLOCKED.search(text):
        return "blocklisted"
    found = tag in _NARROWER and _NARROWER[tag].search(said)
    return found.lastgroup if found else None


def read_full_mailbox(text: str, *, named_first: bool) -> Classification | None:
    """Return that the mailbox is full, if ``text`` names it, or its user, beside (or before) these words."""
    pair = _pair(words_of(text), "full")
    if pair is None or "object" not in (pair[0].tag, pair[1 - named_first].tag) or "@" in (pair[0].text, pair[1].text):
        return None
    return _meaning("mailbox_full", "full", text[pair[0].start : pair[1].end])


def _of_state(
    state: str, category: str, hard: bool, text: str, found: tuple[Word, ...], first: Word, last: Word
) -> Classification:
    """Return what the state means: of whom it is said, and whether it may pass or is certain at all."""
    matched, of = text[first.start : last.end], {first.tag, last.tag}
    sender = (word for word in found if word.tag == "originator" and first.start - BEFORE <= word.end <= last.end)
    if of & {"ip", "originator"} or any(sender):  # "sender address unknown", "domain of the sender ..."
        return _meaning("policy_refusal", "sender", matched, Fault.SENDER)
    if any(word.tag == "temporarily" for word in found):
        return _meaning("inactive_mailbox", "temporarily", matched)
    if any(word.tag == "maybe" and first.start - word.end <= NEAR >= word.start - last.end for word in found):
        return _meaning(category, "maybe", matched)
    originators = [one for one in found if one.tag == "originator"]
    clauses = (text[last.end : one.start] for one in originators)  # of one before it: always
    if any(not re.search(r"[,;!?]|\.(?!\w)", clause) for clause in clauses):
        return _meaning(category, "unsure", matched)  # "unknown user in the forwarded sender"
    if "domain" in of:
        return _meaning("bad_domain", "domain", matched, hard=True)
    sure = state != "unavailable" and not (state == "closed" and any(word.tag == "policy" for word in found))
    return _meaning(category, state, matched, hard=hard, suppress=sure)


def _meaning(
    category: str, kind: str, said: str, fault: Fault = Fault.RECIPIENT, *, hard: bool = False, suppress: bool = False
) -> Classification:
    action = Action.SUPPRESS if suppress else Action.FAIL
    return Classification(category, fault, action, f"words-{kind}", said, hard)


def _pair(found: tuple[Word, ...], state: str) -> tuple[Word, Word] | None:
    """Return the closest pair of a state and an object, or None if none are near each other."""
    if state == "gone":
        beside = [(one, word) for one, word in pairwise((*found[:1], *found)) if word.tag == state]
        return next(((one if one.tag in _OBJECTS else word, word) for one, word in beside), None)
    named = [word for word in found if word.tag in (*_OBJECTS, state)]
    if state == "unavailable":  # of a mailbox, not of the service that is asked for an address
        named = [word for word in named if word.text != "@"]
    gaps = [
        (last.start - one.end, one, last) for one, last in pairwise(named) if (one.tag == state) != (last.tag == state)
    ]
    near = [(gap + BEFORE * (one.tag == state and gap > 1), one, last) for gap, one, last in gaps if gap <= NEAR]
    closest = min(near, key=lambda each: each[0], default=None)  # what is "not known in this domain" stands before
    return closest and closest[1:]


@cache
def _tables(*kinds: Kind) -> dict[str, re.Pattern[str]]:
    return _by_letter({kind: every(kind) for kind in kinds})


def _by_letter(words: Mapping[Kind, list[str]]) -> dict[str, re.Pattern[str]]:
    """Return, for each first letter, the pattern of the phrases that may begin with it; ``""`` for other letters."""
    spelled = [(tag, each) for tag in words for phrase in words[tag] for each in _spelled(phrase)]
    first = [each[0] if each[0].isalnum() or each == "@" else "" for _, each in spelled]
    patterns = {}
    for letter in {*first, ""}:
        fits: dict[str, list[str]] = {}
        for (tag, each), begins in zip(spelled, first, strict=True):
            if begins in (letter, ""):
                fits.setdefault(tag, []).append(each)
        groups = "|".join(f"(?P<{tag}>{'|'.join(ways)})" for tag, ways in fits.items())
        patterns[letter] = re.compile(f"(?:{groups or '(?!)'}){_END}")
    return patterns


def _spelled(phrase: str) -> Iterator[str]:
    """Yield ``(?:a|b)c`` as ``ac`` and ``bc``: phrases of which the first letter is known."""
    if not phrase.startswith("(?:"):
        yield phrase
        return
    choices, end = [3], 3
    depth = 1
    while depth:
        letter = phrase[end]
        depth += (letter == "(") - (letter == ")")
        if letter == "|" and depth == 1:
            choices.append(end + 1)
        end += 1 + (letter == "\\")
    rest = phrase[end:].removeprefix("?")
    for start, after in pairwise([*choices, end]):
        yield from _spelled(phrase[start : after - 1] + rest)
    if rest != phrase[end:]:
        yield from _spelled(rest)


def _found(tables: Mapping[str, re.Pattern[str]], text: str) -> Iterator[Word]:
    end, others = 0, tables[""]
    for first in _WORD.finditer(text):
        at = first.start()
        if at < end:
            continue
        match = tables.get(text[at], others).match(text, at)
        if match is not None:
            end = match.end()
            yield Word(match.lastgroup or "", match[0], at, end)
