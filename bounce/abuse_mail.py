"""Parse mail to the abuse mailbox: a complaint, an opt-out request or a reply about a case, and the mailing it is
about.

The best evidence is the message itself, attached or pasted with its header; then one of our ids or links anywhere in
the text. Quoted text is searched for ids only. The phrases of five languages are in
``config/defaults/abuse_mail.toml``.

Invariants: Never raises. Quoted text is never taken for the author's own. Ids and tokens are candidates only: the
caller looks them up or verifies them with the installation's keys.

Limitations: Irony, and other languages, are not understood: such mail is ``OTHER``, for people to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from enum import Enum

from bounce.parsers.mime import Fields, Mail, decode_words, parse_mail, read_fields, split_header
from config.toml import DEFAULTS, read, read_text
from config.types import Section
from mta.mail.identity import parse_id

WORDS = DEFAULTS / "abuse_mail.toml"
SUMMARY = 300  # characters
MAX_CANDIDATES = 20  # ids or tokens
MAX_TEXT = 50_000  # characters
EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)  # no mailing is older

_ID = re.compile(r"(?<![0-9A-Za-z])[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}(?![0-9A-Za-z])")
_TOKEN = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{60,1000}(?![A-Za-z0-9_-])")
_CASE = re.compile(r"\[C-(\d{1,15})(?: \+\d{1,6})?\]")
_OUR_FIELDS = ("x-mailing-id", "feedback-id", "cfbl-feedback-id", "list-unsubscribe", "list-id")
_PASTED = re.compile(r"(?mi)^[> \t]{0,10}(?:X-Mailing-ID|Feedback-ID|CFBL-Feedback-ID|List-Unsubscribe)[ \t]?:(.*)$")
_WHOLE = ("message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers")


class AbuseMailKind(Enum):
    """The kind of a mail to the abuse mailbox."""

    COMPLAINT = "complaint"
    OPT_OUT = "opt_out"  # asks for no more mail
    CASE_REPLY = "case_reply"  # has a case number in its subject
    OTHER = "other"


class AbuseWords(Section):
    """The phrases of one language."""

    spam: list[str]
    stop: list[str]
    id: list[str]
    wrote: list[str]


class AbuseLanguages(Section):
    """``config/defaults/abuse_mail.toml``."""

    nl: AbuseWords
    de: AbuseWords
    fr: AbuseWords
    es: AbuseWords
    en: AbuseWords


@dataclass(frozen=True, slots=True)
class AbuseMail:
    """``mailings``: candidates for mailing ids, the most likely first; ``tokens``: candidates for our tokens. ``case``:
    the number in the subject. ``sender``: the From address; ``recipient``: of the attached message. ``language``: in
    which phrases were found, None if none were. ``attached``: a message is attached."""

    kind: AbuseMailKind
    mailings: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    case: int | None = None
    sender: str | None = None
    recipient: str | None = None
    language: str | None = None
    subject: str = ""
    summary: str = ""
    attached: bool = False


class AbuseMailReader:
    """Parses mail to the abuse mailbox. Built once: loads the phrases. Raises ConfigError."""

    def __init__(self) -> None:
        shipped = read(read_text(WORDS), WORDS.name, AbuseLanguages, lambda _: ())
        words: Mapping[str, AbuseWords] = {name: getattr(shipped, name) for name in AbuseLanguages.model_fields}
        self._spam = {language: _any_of(each.spam) for language, each in words.items()}
        self._stop = {language: _any_of(each.stop) for language, each in words.items()}
        wrote = "|".join({re.escape(word) for each in words.values() for word in each.wrote})
        self._quoted = re.compile(rf"(?mi)^(?:>|.{{0,200}}(?:{wrote})|-{{5,}}).*$")
        before = "|".join({re.escape(word) for each in words.values() for word in each.id})
        self._labelled_id = re.compile(rf"(?i)(?:{before})[ \t]*[:#=]?[ \t]*([0-9a-z]{{26}})(?![0-9a-z])")

    def read(self, content: bytes, now: datetime) -> AbuseMail:
        """Parse ``content``, a whole mail."""
        mail = parse_mail(content)
        text = _text(mail)[:MAX_TEXT]
        enclosed = _enclosed(mail)
        subject = decode_words(mail.fields.get("subject") or "")
        own = self._own_text(text)
        case = _CASE.search(subject)
        language, kind = self._understand(f"{subject}\n{own}")
        if kind is AbuseMailKind.OTHER and enclosed is not None:
            kind = AbuseMailKind.COMPLAINT  # our own message sent back, in whatever language
        if case and kind is not AbuseMailKind.OPT_OUT:
            kind = AbuseMailKind.CASE_REPLY
        fields = list(_our_fields(enclosed)) + [match[1] for match in _PASTED.finditer(text)]
        labelled = [match[1] for match in self._labelled_id.finditer(text)]
        return AbuseMail(
            kind=kind,
            mailings=_few(each for line in [*fields, *labelled, subject, text] for each in ids_in(line, now)),
            tokens=_few(match[0] for line in [*fields, subject, text] for match in _TOKEN.finditer(line)),
            case=int(case[1]) if case else None,
            sender=_address(mail.fields.get("from")),
            recipient=_recipient(enclosed),
            language=language,
            subject=" ".join(subject.split())[:SUMMARY],
            summary=" ".join((own.strip() or subject).split())[:SUMMARY],
            attached=enclosed is not None,
        )

    def _own_text(self, text: str) -> str:
        """Return the text without quotations."""
        first = self._quoted.search(text)
        if first is None:
            return text
        if first[0].startswith(">"):
            return "\n".join(line for line in text.split("\n") if not line.startswith(">"))
        return text[: first.start()]

    def _understand(self, text: str) -> tuple[str | None, AbuseMailKind]:
        """Return the language with the most phrases in ``text``, and its kind. A complaint outweighs an opt-out."""
        lowered = " ".join(text.lower().split())
        most, best, kind = 0, None, AbuseMailKind.OTHER
        for language, pattern in self._spam.items():
            spam, stop = set(pattern.findall(lowered)), set(self._stop[language].findall(lowered))
            if len(spam) + len(stop) > most:
                most, best, kind = (
                    len(spam) + len(stop),
                    language,
                    AbuseMailKind.COMPLAINT if spam else AbuseMailKind.OPT_OUT,
                )
        return best, kind


def _any_of(words: list[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(word) for word in words)})")


def ids_in(text: str, now: datetime) -> Iterator[str]:
    """Yield candidates for mailing ids: time-ordered ids that are neither too old nor in the future."""
    latest = now + timedelta(days=2)
    for match in _ID.finditer(text):
        try:
            made = parse_id(match[0])
        except ValueError:
            continue
        if made.version == 7 and EARLIEST.timestamp() * 1000 < made.int >> 80 < latest.timestamp() * 1000:
            yield match[0].lower()


def _text(mail: Mail) -> str:
    """Return the plain text, or the text of the HTML if there is none."""
    plain = "\n".join(
        part.text for part in mail.parts if part.type == "text/plain" and not _is_message(part.type, part.fields)
    )
    return plain if plain.strip() else "\n".join(part.text for part in mail.parts if part.type == "text/html")


def _enclosed(mail: Mail) -> Fields | None:
    """Return the header of the attached message, or None."""
    for part in mail.parts:
        if _is_message(part.type, part.fields):
            return read_fields(split_header(part.content.replace(b"\r\n", b"\n").lstrip(b"\n"))[0])
    return None


def _is_message(kind: str, fields: Fields) -> bool:
    disposition = f"{fields.get('content-disposition') or ''} {fields.get('content-type') or ''}".lower()
    return kind in _WHOLE or ".eml" in disposition


def _our_fields(enclosed: Fields | None) -> Iterator[str]:
    if enclosed is not None:
        for name in _OUR_FIELDS:
            yield from enclosed.each(name)


def _recipient(enclosed: Fields | None) -> str | None:
    """Return the recipient of the attached message, from the field closest to the mailbox first."""
    if enclosed is None:
        return None
    values = (enclosed.get(name) for name in ("delivered-to", "x-original-to", "x-envelope-to", "to"))
    return next((address for value in values if (address := _address(value))), None)


def _address(value: str | None) -> str | None:
    found = parseaddr(value or "")[1]
    return found if "@" in found and len(found) <= 320 else None


def _few(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found))[:MAX_CANDIDATES]
