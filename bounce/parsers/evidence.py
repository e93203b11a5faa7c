"""Weigh what shows that a mail system wrote a mail, and is not quoted, forwarded or discussed in it.

People quote bounces, lists pass them on, programs answer them. So several independent facts are counted, each with a
weight (``config/defaults/bounce-evidence.toml``), and the mail is a report if their sum reaches the bar.

Limitations: All of this can be forged; that the mail came to a return path that we sealed is checked elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from bounce.grammar import failure_in, flattened, read_words
from bounce.languages import phrases
from bounce.parsers.free_text import LABELLED, FreeTextBounce
from bounce.parsers.mime import Mail, decode_words
from bounce.parsers.replies import quotes_reply
from config.toml import DEFAULTS, read, read_text
from config.types import Section

SHIPPED = DEFAULTS / "bounce-evidence.toml"

MAX_WORDS = 4000  # characters that are searched for words of failure
DSN_TYPES = ("message/delivery-status", "message/global-delivery-status")

_REPLY = re.compile(r"(?:re|aw|antw|sv|vs|r|odp|res|rif)\s{0,3}(?:\[\d+\])?\s{0,3}:", re.IGNORECASE)
_FORWARD = re.compile(r"(?:fwd?|wg|tr|rv|doorst|i|enc|pd|vl)\s{0,3}:", re.IGNORECASE)
_POSTMASTER = re.compile(r"(?:^|[<\s])postmaster@")
_ENVELOPE = re.compile(r"(?m)^[\s>]{0,20}(mail from|rcpt to)\s?:[^@\n]{0,80}@")


Role = Literal["daemon", "postmaster", "gateway", "product"]


class EvidenceFile(Section):
    """The facts, the bar, and what the facts are read from. ``authors``: patterns of an author's local part or name, by
    role; ``product``: of a name only. ``fields``: names of header fields."""

    bar: int
    weights: dict[str, int]
    authors: dict[Role, list[str]]
    fields: dict[Literal["lists", "answers"], list[str]]


@dataclass(frozen=True, slots=True)
class Authorship:
    """The facts that hold of a mail, with their weights. ``role``: daemon, postmaster, gateway or nobody."""

    role: str
    facts: tuple[tuple[str, int], ...]
    bar: int

    @property
    def score(self) -> int:
        return sum(weight for _, weight in self.facts)

    @property
    def is_report(self) -> bool:
        """Whether a mail system wrote the mail."""
        if self.score < self.bar or self.role == "daemon":
            return self.score >= self.bar
        # What also administrators and shops write needs more than an address and a subject.
        quoted = self.has("returned_message", "report_type", "smtp_reply", "labels")
        if self.role == "nobody" or self.has("list_headers"):  # a whole bounce may be pasted below a subject of one
            return quoted and self.has("null_return_path", "report_type")
        return quoted or (self.role == "postmaster" and self.has("bounce_subject", "our_return_path"))

    @property
    def is_of_people(self) -> bool:
        """Whether a person or a list wrote the mail, answers or forwards it."""
        return self.role == "nobody" or self.has("list_headers", "answer", "reply_subject", "forward_subject")

    @property
    def is_mail_system(self) -> bool:
        """Whether the author is a mail system or its administrators."""
        return self.role in ("daemon", "postmaster")

    def has(self, *names: str) -> bool:
        """Return whether one of the facts called ``names`` holds."""
        return any(name in names for name, _ in self.facts)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The facts as words, and their sum."""
        return (*(f"{name} {weight:+}" for name, weight in self.facts), f"sum {self.score}, bar {self.bar}")


def evidence_of(mail: Mail, text: FreeTextBounce, *, at_our_path: bool = False) -> Authorship:
    """Return what shows, and what denies, that a mail system wrote ``mail``."""
    role = role_of(mail)
    file = _shipped()
    facts = tuple((name, file.weights[name]) for name in (role, *_facts(mail, text, role, at_our_path)))
    return Authorship(role, facts, file.bar)


def role_of(mail: Mail) -> str:
    """Return who wrote ``mail`` by its From field: daemon, postmaster, gateway or nobody."""
    sender = decode_words(mail.fields.get("from") or "").lower()
    name, angle, address = sender.rpartition("<")
    if not angle:
        address, _, name = sender.partition("(")
    address = address.strip("<> \t")
    local = (address.rpartition("@")[0] or address).strip('" ')
    if mail.fields.has("x-failed-recipients") or _author("daemon").match(local) or (angle and not address):
        return "daemon"
    if _author("postmaster").match(local) or _author("postmaster").match(name.strip("\"' (")) or not sender:
        return "postmaster"
    program = "@" not in address or _author("gateway").search(local) or _author("product").search(name)
    return "gateway" if program else "nobody"


def has_bounce_subject(mail: Mail) -> bool:
    """Return whether the subject is about undelivered mail. Never sufficient by itself."""
    return phrases("subject").search(_subject(mail)) is not None


def is_marked_auto_reply(mail: Mail) -> bool:
    """Return whether it is marked as an automatic reply (RFC 3834 5 and older fields). Exim marks its bounces too."""
    submitted = (mail.fields.get("auto-submitted") or "").lower()
    precedence = (mail.fields.get("precedence") or "").lower()
    generated = (mail.fields.get("x-autogenerated") or "").lower()
    return (
        submitted.startswith("auto-replied")
        or precedence in ("auto_reply", "auto-reply", "autoreply")
        or generated.startswith("reply")
        or any(mail.fields.has(name) for name in _shipped().fields["answers"])
    )


def has_null_sender(mail: Mail) -> bool:
    """Return whether the Return-Path field has the null sender."""
    path = next((value for name, value in mail.fields.all if name == "return-path"), None)
    return path is not None and path.strip().lower() in ("<>", "", "<mailer-daemon>", "mailer-daemon")


def is_forwarded(mail: Mail) -> bool:
    return _FORWARD.match(_subject(mail)) is not None


def _facts(mail: Mail, text: FreeTextBounce, role: str, at_our_path: bool) -> Iterator[str]:
    subject = _subject(mail)
    if at_our_path and role in ("daemon", "postmaster"):
        yield "our_return_path"
    if phrases("digest", r"\b{}").search(subject):
        yield "digest_subject"
    proofs = list(_proofs(mail, text))
    yield from proofs
    if has_bounce_subject(mail):
        yield "bounce_subject"
    own = text.lower[:MAX_WORDS]
    failed = bool(failure_in(own) or read_words(flattened(own)))
    replied = quotes_reply("\n".join(text.lines))
    if failed:
        yield "failure_words"
    if replied:
        yield "smtp_reply"
    if not (failed or replied) and phrases("success", r"\b{}").search(own):
        yield "success_words"
    system = role in ("daemon", "postmaster") and bool(proofs)
    if not system and any(mail.fields.has(name) for name in _shipped().fields["lists"]):
        yield "list_headers"
    if role == "nobody" and (mail.fields.has("in-reply-to") or mail.fields.has("references")):
        yield "answer"
    returned = role == "gateway" and "returned_message" in proofs
    if not (system or returned) and _REPLY.match(subject):
        yield "reply_subject"
    if _FORWARD.match(subject):
        yield "forward_subject"
    if not system and is_marked_auto_reply(mail):
        yield "auto_reply"
    if _POSTMASTER.search((mail.fields.get("to") or "").lower()):
        yield "to_postmaster"


def _proofs(mail: Mail, text: FreeTextBounce) -> Iterator[str]:
    """Yield the facts of the mail's form, which are seldom in what a person or a list writes."""
    if has_null_sender(mail):
        yield "null_return_path"
    if mail.report_type == "delivery-status" or mail.first(*DSN_TYPES):
        yield "report_type"
    if text.original.fields.all:
        yield "returned_message"
    own = text.lower[:MAX_WORDS]
    if len(set(_ENVELOPE.findall(own))) == 2:
        yield "envelope"
    if phrases("recipient", LABELLED + "[^@\\n]{0,70}@").search(own) and phrases("reason", LABELLED).search(own):
        yield "labels"


def _subject(mail: Mail) -> str:
    return decode_words(mail.fields.get("subject") or "").lower().strip()


@cache
def _author(role: Role) -> re.Pattern[str]:
    return re.compile("|".join(_shipped().authors[role]))


@cache
def _shipped() -> EvidenceFile:
    return read(read_text(SHIPPED), "config/defaults/bounce-evidence.toml", EvidenceFile, lambda _: ())
