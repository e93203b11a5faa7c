"""What a person writes to the abuse desk: a complaint, a wish for no more mail, or an answer about a case; and about
which of our mailings.

The best witness is the message itself, attached or pasted with its header; then an id or a link of ours anywhere in
the text. In the words of a quotation nobody complains: they are looked at for ids only. The words of five languages
are in ``config/defaults/grievances.toml``.

It must never raise, never take what is quoted for what is said, and never say that an id is ours: whoever asks looks
it up, and reads the tokens with the installation's keys.

*Limits.* Irony, and languages beyond the five, are not understood: such a mail is ``OTHER``, for people to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from enum import Enum

from bounce.parsers.mime import Fields, Mail, decode_words, read_fields, split_header, take_apart
from config.toml import DEFAULTS, read, read_text
from config.types import Section
from mta.mail.identity import parse_id

WORDS = DEFAULTS / "grievances.toml"
SUMMARY = 300  # characters
CANDIDATES = 20  # ids and tokens that are told
LOOKED_AT = 50_000  # characters of text
BEGAN = datetime(2025, 1, 1, tzinfo=UTC)  # no mailing of ours is older

_ID = re.compile(r"(?<![0-9A-Za-z])[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}(?![0-9A-Za-z])")
_TOKEN = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{60,1000}(?![A-Za-z0-9_-])")
_CASE = re.compile(r"\[C-(\d{1,15})(?: \+\d{1,6})?\]")
_OUR_FIELDS = ("x-mailing-id", "feedback-id", "cfbl-feedback-id", "list-unsubscribe", "list-id")
_PASTED = re.compile(r"(?mi)^[> \t]{0,10}(?:X-Mailing-ID|Feedback-ID|CFBL-Feedback-ID|List-Unsubscribe)[ \t]?:(.*)$")
_WHOLE = ("message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers")


class AbuseMailKind(Enum):
    """What the mail is about."""

    COMPLAINT = "complaint"
    STOP = "stop"  # no more mail, please
    ANSWER = "answer"  # it has the number of a case in its subject
    OTHER = "other"


class AbuseWords(Section):
    """A language of the file."""

    spam: list[str]
    stop: list[str]
    id: list[str]
    wrote: list[str]


class AbuseLanguages(Section):
    """``config/defaults/grievances.toml``."""

    nl: AbuseWords
    de: AbuseWords
    fr: AbuseWords
    es: AbuseWords
    en: AbuseWords


@dataclass(frozen=True, slots=True)
class Grievance:
    """``mailings``: ids that may be ours, the likeliest first; ``tokens``: words that may be tokens of ours.
    ``case``: the number in the subject. ``sender``: who writes; ``recipient``: who had the attached message.
    ``language``: whose words were found, None if none were. ``attached``: a message came with it."""

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
    """Understands mail to the abuse desk. Made once: it reads the words. Raises ConfigError."""

    def __init__(self) -> None:
        shipped = read(read_text(WORDS), WORDS.name, AbuseLanguages, lambda _: ())
        words: Mapping[str, AbuseWords] = {name: getattr(shipped, name) for name in AbuseLanguages.model_fields}
        self._spam = {language: _any_of(each.spam) for language, each in words.items()}
        self._stop = {language: _any_of(each.stop) for language, each in words.items()}
        wrote = "|".join({re.escape(word) for each in words.values() for word in each.wrote})
        self._quoted = re.compile(rf"(?mi)^(?:>|.{{0,200}}(?:{wrote})|-{{5,}}).*$")
        before = "|".join({re.escape(word) for each in words.values() for word in each.id})
        self._named = re.compile(rf"(?i)(?:{before})[ \t]*[:#=]?[ \t]*([0-9a-z]{{26}})(?![0-9a-z])")

    def read(self, content: bytes, now: datetime) -> Grievance:
        """What ``content``, a mail as it came, says."""
        mail = take_apart(content)
        text = _text(mail)[:LOOKED_AT]
        enclosed = _enclosed(mail)
        subject = decode_words(mail.fields.get("subject") or "")
        own = self._own_words(text)
        case = _CASE.search(subject)
        language, kind = self._understood(f"{subject}\n{own}")
        if kind is AbuseMailKind.OTHER and enclosed is not None:
            kind = AbuseMailKind.COMPLAINT  # whoever sends us our own message, in whatever language
        if case and kind is not AbuseMailKind.STOP:
            kind = AbuseMailKind.ANSWER
        told = list(_told(enclosed)) + [match[1] for match in _PASTED.finditer(text)]
        named = [match[1] for match in self._named.finditer(text)]
        return Grievance(
            kind=kind,
            mailings=_few(each for line in [*told, *named, subject, text] for each in ids_in(line, now)),
            tokens=_few(match[0] for line in [*told, subject, text] for match in _TOKEN.finditer(line)),
            case=int(case[1]) if case else None,
            sender=_address(mail.fields.get("from")),
            recipient=_recipient(enclosed),
            language=language,
            subject=" ".join(subject.split())[:SUMMARY],
            summary=" ".join((own.strip() or subject).split())[:SUMMARY],
            attached=enclosed is not None,
        )

    def _own_words(self, text: str) -> str:
        """The text before and between what is quoted."""
        first = self._quoted.search(text)
        if first is None:
            return text
        if first[0].startswith(">"):
            return "\n".join(line for line in text.split("\n") if not line.startswith(">"))
        return text[: first.start()]

    def _understood(self, text: str) -> tuple[str | None, AbuseMailKind]:
        """The language with most of its words in it, and what they say. A wish to stop weighs less than a complaint."""
        lowered = " ".join(text.lower().split())
        most, best, kind = 0, None, AbuseMailKind.OTHER
        for language, pattern in self._spam.items():
            spam, stop = set(pattern.findall(lowered)), set(self._stop[language].findall(lowered))
            if len(spam) + len(stop) > most:
                most, best, kind = (
                    len(spam) + len(stop),
                    language,
                    AbuseMailKind.COMPLAINT if spam else AbuseMailKind.STOP,
                )
        return best, kind


def _any_of(words: list[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(word) for word in words)})")


def ids_in(text: str, now: datetime) -> Iterator[str]:
    """What can be an id of one of our mailings, as they are kept: a time-ordered id that is neither too old nor from
    the future."""
    latest = now + timedelta(days=2)
    for match in _ID.finditer(text):
        try:
            made = parse_id(match[0])
        except ValueError:
            continue
        if made.version == 7 and BEGAN.timestamp() * 1000 < made.int >> 80 < latest.timestamp() * 1000:
            yield match[0].lower()


def _text(mail: Mail) -> str:
    """The plain text, or that of the HTML where there is none."""
    plain = "\n".join(
        part.text for part in mail.parts if part.type == "text/plain" and not _is_message(part.type, part.fields)
    )
    return plain if plain.strip() else "\n".join(part.text for part in mail.parts if part.type == "text/html")


def _enclosed(mail: Mail) -> Fields | None:
    """The header of the message that came with it."""
    for part in mail.parts:
        if _is_message(part.type, part.fields):
            return read_fields(split_header(part.content.replace(b"\r\n", b"\n").lstrip(b"\n"))[0])
    return None


def _is_message(kind: str, fields: Fields) -> bool:
    disposition = f"{fields.get('content-disposition') or ''} {fields.get('content-type') or ''}".lower()
    return kind in _WHOLE or ".eml" in disposition


def _told(enclosed: Fields | None) -> Iterator[str]:
    if enclosed is not None:
        for name in _OUR_FIELDS:
            yield from enclosed.each(name)


def _recipient(enclosed: Fields | None) -> str | None:
    """Who got it, by the stations closest to the mailbox first."""
    if enclosed is None:
        return None
    values = (enclosed.get(name) for name in ("delivered-to", "x-original-to", "x-envelope-to", "to"))
    return next((address for value in values if (address := _address(value))), None)


def _address(value: str | None) -> str | None:
    found = parseaddr(value or "")[1]
    return found if "@" in found and len(found) <= 320 else None


def _few(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found))[:CANDIDATES]
