"""Parse mail to the abuse mailbox: a complaint, an opt-out request or a reply about a case, and the mailing it is
about.

The best evidence is the message itself, attached or pasted with its header; then one of our ids or links anywhere in
the text. Quoted text is searched for ids only. The phrases of five languages are in
``config/defaults/abuse_mail.toml``; further ways to ask for no more mail are told apart by a grammar that is passed in.

Invariants: Never raises. Quoted text is never taken for the author's own. Ids and tokens are candidates only: the
caller looks them up or verifies them with the installation's keys.

Limitations: Irony, and other languages, are not understood: such mail is ``OTHER``, for people to read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from enum import Enum

from bounce.parsers.mime import Fields, Mail, decode, decode_words, parse_mail, read_fields, split_header, visible
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
_BLOCKQUOTE = re.compile(r"(?is)<blockquote\b.*</blockquote\s*>")
_PROGRAMS = re.compile(r"(?:mailer-daemon|postmaster|(?:do-?)?no-?reply|bounces?|daemon|abuse|listserv|majordomo)\b")
_LISTS = ("list-id", "list-unsubscribe", "list-post", "mailing-list", "x-loop", "x-autoreply", "x-autorespond")
_NUMBER = re.compile(r"<[A-Za-z0-9.$%+=_-]{1,100}@[A-Za-z0-9.-]{1,100}>")
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
    alone: list[str]
    keep: list[str]
    id: list[str]
    wrote: list[str]
    author: list[str]
    sent: list[str]


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
    which phrases were found, None if none were. ``attached``: a message is attached. ``is_answerable``: a person wrote
    it, no program or mailing list, so that an automatic answer cannot begin a loop (RFC 3834 2). ``number``: its
    Message-ID, if that has the usual form."""

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
    is_answerable: bool = False
    number: str | None = None


class AbuseMailReader:
    """Parses mail to the abuse mailbox. Built once: loads the phrases. ``asks_to_stop``: whether a text says that its
    author wants no more mail, in ways that no phrase covers. Raises ConfigError."""

    def __init__(self, asks_to_stop: Callable[[str], bool]) -> None:
        self._asks_to_stop = asks_to_stop
        shipped = read(read_text(WORDS), WORDS.name, AbuseLanguages, lambda _: ())
        words: Mapping[str, AbuseWords] = {name: getattr(shipped, name) for name in AbuseLanguages.model_fields}
        self._spam = {language: _any_of(each.spam) for language, each in words.items()}
        self._stop = {language: _any_of(each.stop) for language, each in words.items()}
        self._keep = {language: _any_of(each.keep) for language, each in words.items()}
        self._alone = {word: language for language, each in words.items() for word in each.alone}
        wrote = _one_of(each.wrote for each in words.values())
        self._introduces = re.compile(rf"(?i)(?:.{{0,200}}(?:{wrote})|-{{5,}}|_{{20,}})")
        self._author = re.compile(rf"(?i)\W{{0,3}}(?:{_one_of(each.author for each in words.values())})\W{{0,3}}:")
        self._sent = re.compile(rf"(?i)\W{{0,3}}(?:{_one_of(each.sent for each in words.values())})\W{{0,3}}:")
        before = _one_of(each.id for each in words.values())
        self._labelled_id = re.compile(rf"(?i)(?:{before})[ \t]*[:#=]?[ \t]*([0-9a-z]{{26}})(?![0-9a-z])")

    def read(self, content: bytes, now: datetime) -> AbuseMail:
        """Parse ``content``, a whole mail."""
        mail = parse_mail(content)
        text = _text(mail)[:MAX_TEXT]
        enclosed = _enclosed(mail)
        subject = decode_words(mail.fields.get("subject") or "")
        own = self._own_text(_text(mail, unquoted=True)[:MAX_TEXT])
        case = _CASE.search(subject)
        language, kind = self._understand(subject, own)
        if kind is AbuseMailKind.OTHER and enclosed is not None:
            kind = AbuseMailKind.COMPLAINT  # our own message sent back, in whatever language
        if case:
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
            is_answerable=_is_answerable(mail.fields),
            number=_number(mail.fields),
        )

    def _own_text(self, text: str) -> str:
        """Return the text without quotations: lines with a mark, and all below the line that begins one without."""
        lines, kept = text.split("\n"), []
        for n, line in enumerate(lines):
            if line.lstrip().startswith(">"):
                continue
            if self._introduces.match(line):
                if _next_text(lines, n + 1).startswith(">"):
                    continue  # the author may have written below it
                break
            if self._author.match(line) and any(map(self._sent.match, lines[n + 1 : n + 5])):
                break
            kept.append(line)
        return "\n".join(kept)

    def _understand(self, subject: str, text: str) -> tuple[str | None, AbuseMailKind]:
        """Return the language with the most phrases, and the kind. A complaint outweighs an opt-out."""
        for said in (text, subject) if not text.strip() else (text,):
            if language := self._alone.get(" ".join(said.lower().split()).strip(" .!?-")):
                return language, AbuseMailKind.OPT_OUT
        lowered = " ".join(f"{subject}\n{text}".lower().split())
        most, best, kind = 0, None, AbuseMailKind.OTHER
        for language, pattern in self._spam.items():
            spam, stop = set(pattern.findall(lowered)), set(self._stop[language].findall(lowered))
            if (count := len(spam) + len(stop)) > most:
                most, best, kind = count, language, AbuseMailKind.COMPLAINT if spam else AbuseMailKind.OPT_OUT
        if kind is not AbuseMailKind.COMPLAINT and any(each.search(lowered) for each in self._keep.values()):
            return best, AbuseMailKind.OTHER
        if kind is AbuseMailKind.OTHER and self._asks_to_stop(lowered):
            kind = AbuseMailKind.OPT_OUT
        return best, kind


def _one_of(words: Iterable[Iterable[str]]) -> str:
    return "|".join(sorted({re.escape(word) for each in words for word in each}))


def _next_text(lines: list[str], start: int) -> str:
    """Return the first line from ``start`` on that is not blank, within a few lines."""
    return next((line.lstrip() for line in lines[start : start + 4] if line.strip()), "")


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


def _text(mail: Mail, *, unquoted: bool = False) -> str:
    """Return the plain text, or the text of the HTML if there is none, which may be left ``unquoted``."""
    plain = "\n".join(
        part.text for part in mail.parts if part.type == "text/plain" and not _is_message(part.type, part.fields)
    )
    if plain.strip():
        return plain
    pages = [part for part in mail.parts if part.type == "text/html"]
    if not unquoted:
        return "\n".join(part.text for part in pages)
    markup = (decode(part.content, part.parameters.get("charset", "")) for part in pages)
    return "\n".join(visible(_BLOCKQUOTE.sub("", each)) for each in markup)


def _is_answerable(fields: Fields) -> bool:
    """Return whether a mail may be answered automatically (RFC 3834 2): no program and no list has sent it."""
    automatic = (fields.get("auto-submitted") or "no").lower().split(";")[0].strip() != "no"
    bulk = (fields.get("precedence") or "").lower().strip() in ("bulk", "junk", "list")
    suppressed = (fields.get("x-auto-response-suppress") or "none").lower().strip() != "none"
    if automatic or bulk or suppressed or any(map(fields.has, _LISTS)):
        return False
    sender = _address(fields.get("from"))
    return sender is not None and not _PROGRAMS.match(sender.lower())


def _number(fields: Fields) -> str | None:
    value = (fields.get("message-id") or "").strip()
    return value if _NUMBER.fullmatch(value) else None


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
