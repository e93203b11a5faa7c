"""The texts that people read, in five languages: letters, the dossier, pages, notices in messages.

Each language is a file, ``config/languages/LANGUAGE.toml``. Names in braces are filled in with ``str.format``.

Invariants: all languages have the same keys with the same placeholders, checked when they are loaded.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any

from config.toml import LANGUAGES, Mistake, read, read_text
from config.types import Section


class TextLanguage(Enum):
    """The languages; the first is used where none of them is known to be understood."""

    EN = "en"
    NL = "nl"
    DE = "de"
    FR = "fr"
    ES = "es"


class FormatTexts(Section):
    """``moment``: how a time of day is written with its date and zone; ``first_day``: of a month; ``quote``: what
    others have written."""

    moment: str
    first_day: str
    quote: str


class CorrespondenceTexts(Section):
    """How mail to people begins and ends; ``desk``: the department that signs it."""

    greeting: str
    closing: str
    desk: str


class NoticeTexts(Section):
    """What the service writes into messages (``policy.footer``)."""

    unsubscribe: str
    vat: str
    represented: str


class PageTexts(Section):
    """One page (``mta.web.recipient_pages``)."""

    title: str
    text: str
    button: str | None = None


class UnsubscribeTexts(Section):
    """What the pages for unsubscribing say of the link: whose mail it ends, and about what."""

    sender: str
    topic: str
    every_topic: str


class SignUpTexts(Section):
    """Sign-up forms and the mail that asks for the confirmation. ``errors``: by what is wrong with what was sent."""

    heading: str
    address: str
    topics: str
    sponsors: str
    note: str
    submit: str
    errors: dict[str, str]
    mail_subject: str
    mail_intro: str
    mail_statement: str
    mail_sponsors: str
    mail_ask: str
    mail_until: str
    mail_not_you: str


class PreferenceTexts(Section):
    """The page on which a person chooses topics."""

    heading: str
    text: str
    keep: str
    save: str
    all: str
    link: str


class AbuseFormTexts(Section):
    """The page on which a person complains. ``subject``: of the mail that is made of it; ``errors``: by what is wrong
    with what was sent."""

    heading: str
    text: str
    address: str
    mailing: str
    mailing_hint: str
    subject: str
    said: str
    message: str
    message_hint: str
    submit: str
    errors: dict[str, str]


class LetterTexts(Section):
    """Letters about complaints. ``subjects`` and ``openings``: by occasion; ``sources``: by the source of a complaint;
    ``causes``: by what it is about, where no person has said so."""

    ask: str
    questions: list[str]
    reply: str
    attached: str
    left_out: str
    nothing: str
    subjects: dict[str, str]
    openings: dict[str, str]
    labels: dict[str, str]
    sources: dict[str, str]
    causes: dict[str, str]


class ReceiptTexts(Section):
    """Receipts for people's complaints and requests, by what became of them; ``case`` follows where a case was opened,
    ``automatic`` ends each. Nothing that the writer wrote is filled in."""

    case: str
    automatic: str
    subjects: dict[str, str]
    texts: dict[str, str]


class BounceTexts(Section):
    """The part for people of delivery status notifications (``mta.queue.dsn_message``)."""

    system: str
    failed: str
    delayed: str
    relayed: str
    said: str
    reason: str
    expired: str
    retried: str
    reference: str


class DossierTexts(Section):
    """``labels`` by fact, ``requirements`` by what a basis asks for, as it stands in a sentence, ``bases`` by basis,
    ``states`` by judgement, ``reasons`` by that of a suppression, ``signs`` by the sign of a relation, ``actors`` by
    who made an entry, where that was no named person."""

    labels: dict[str, str]
    requirements: dict[str, str]
    bases: dict[str, str]
    states: dict[str, str]
    reasons: dict[str, str]
    signs: dict[str, str]
    actors: dict[str, str]


class Texts(Section):
    """A language. ``pages``: by the name of the page."""

    formats: FormatTexts
    correspondence: CorrespondenceTexts
    notices: NoticeTexts
    pages: dict[str, PageTexts]
    unsubscribe: UnsubscribeTexts
    sign_up: SignUpTexts
    preferences: PreferenceTexts
    abuse_form: AbuseFormTexts
    letters: LetterTexts
    receipts: ReceiptTexts
    bounces: BounceTexts
    dossier: DossierTexts


def spoken(*codes: str) -> TextLanguage:
    """Return the first of ``codes`` ("nl", "de" ...) that is one of the languages, or the default."""
    known = {each.value: each for each in TextLanguage}
    return next((known[code] for code in codes if code in known), TextLanguage.EN)


@cache
def load_texts() -> Mapping[TextLanguage, Texts]:
    """Return the texts by language. Raises ConfigError."""
    english = _read(TextLanguage.EN, None)
    first = dict(leaves(english.model_dump()))
    return {each: english if each is TextLanguage.EN else _read(each, first) for each in TextLanguage}


def _read(language: TextLanguage, first: Mapping[tuple[str, ...], str] | None) -> Texts:
    path = LANGUAGES / f"{language.value}.toml"
    return read(read_text(path), path.name, Texts, lambda texts: () if first is None else compare(texts, first))


def compare(texts: Texts, first: Mapping[tuple[str, ...], str]) -> Iterator[Mistake]:
    """Yield where ``texts`` has other keys or placeholders than ``first``, the leaves of the first language."""
    own = dict(leaves(texts.model_dump()))
    for path in first.keys() - own.keys():
        yield Mistake(path, "missing; every language has the keys of the first")
    for path in own.keys() - first.keys():
        yield Mistake(path, "not in the first language; add it there or remove it here")
    for path in first.keys() & own.keys():
        if placeholders(own[path]) != placeholders(first[path]):
            named = ", ".join(f"{{{name}}}" for name in sorted(placeholders(first[path]))) or "none"
            yield Mistake(path, f"other placeholders than in the first language, which has {named}")


def placeholders(text: str) -> frozenset[str]:
    """Return the names that are filled in. Raises ValueError if the braces do not match."""
    return frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def leaves(value: Any, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text below ``value`` with its path; the texts of a list by their number."""
    match value:
        case dict():
            for name, inner in value.items():
                yield from leaves(inner, *path, name)
        case list():
            for number, inner in enumerate(value):
                yield from leaves(inner, *path, str(number))
        case str():
            yield path, value
