"""Sign-up forms: what one says, and what is wrong with it.

A form is kept with its account, and every sign-up keeps the texts that the person saw. Its boxes are never ticked
beforehand, and each topic has a box of its own.

Limitations: what a statement says is read by a grammar of five languages (``policy.permission.statement``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from config.toml import Mistake
from config.types import Section
from mta.mail.address import Address, AddressError
from policy.accounts.account import Account
from policy.languages import TextLanguage
from policy.permission.consent import EVERY_TOPIC, Basis, TopicError, parse_topic
from policy.permission.evidence import MAX_SPONSORS, Assessor, Evidence, Requirement
from policy.permission.statement import LONGEST

NAME = r"^[a-z0-9]+([-_.][a-z0-9]+)*$"
MAX_TOPICS, MAX_SITES = 20, 20

_Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Url = Annotated[str, StringConstraints(max_length=500)]
_SAID = (
    Requirement.STATEMENT,
    Requirement.STATEMENT_MAIL,
    Requirement.STATEMENT_SENDER,
    Requirement.STATEMENT_SUBJECT,
)
_NOT_SAID = {
    Requirement.STATEMENT: "a text to agree to is missing",
    Requirement.STATEMENT_MAIL: "does not say that mail comes",
    Requirement.STATEMENT_SENDER: "does not say from whom mail comes; partners and third parties are no sender",
    Requirement.STATEMENT_SUBJECT: "does not say what the mail is about",
}


class FormTopic(Section):
    """A topic of the form. ``labels``: what people read beside its box, by language."""

    name: _Short
    labels: dict[str, _Short]


class SignUpForm(Section):
    """A form for one account. ``statements`` and ``headings``: by language ("en", "nl" ...).

    ``sender``: the From address of the confirmation mail, in a verified domain of the account. ``page``: where the form
    is shown; if not set, that is our own page. ``sites``: origins whose pages may embed it or post to it.
    """

    name: Annotated[str, StringConstraints(pattern=NAME, max_length=60)]
    sender: _Short
    version: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    statements: dict[str, Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]]
    headings: dict[str, _Short] = Field(default_factory=dict)
    topics: Annotated[list[FormTopic], Field(min_length=1, max_length=MAX_TOPICS)]
    page: _Url = ""
    sites: Annotated[list[_Url], Field(max_length=MAX_SITES)] = Field(default_factory=list)
    sponsors: Annotated[list[_Short], Field(max_length=MAX_SPONSORS)] = Field(default_factory=list)

    @property
    def languages(self) -> tuple[str, ...]:
        """Those of its texts; the first one is used where none of them is understood."""
        return tuple(self.statements)

    @property
    def basis(self) -> Basis:
        return Basis.CO_REGISTRATION if self.sponsors else Basis.DOUBLE_OPT_IN

    def labels(self, language: str) -> dict[str, str]:
        """Return the label of each topic by its name."""
        return {topic.name: topic.labels[language] for topic in self.topics}


def mistakes(form: SignUpForm, account: Account, assessor: Assessor) -> Iterator[Mistake]:
    """Yield what is wrong with a form of ``account``."""
    yield from _sender_mistakes(form, account)
    yield from _address_mistakes(form)
    yield from _language_mistakes(form)
    yield from _topic_mistakes(form)
    names = account.known_names
    for language, text in form.statements.items():
        said = assessor.missing(form.basis, Evidence(statement=text, language=language), None, names)
        for requirement in _SAID:
            if requirement.value in said:
                yield Mistake(("statements", language), f"{_NOT_SAID[requirement]} (docs/consents.md)")
    if form.sponsors and not {name.casefold() for name in form.sponsors} & {name.casefold() for name in names}:
        yield Mistake(("sponsors",), f"the account itself must be among them, as one of: {', '.join(sorted(names))}")


def _sender_mistakes(form: SignUpForm, account: Account) -> Iterator[Mistake]:
    try:
        domain = Address.parse(form.sender).domain
    except AddressError as error:
        yield Mistake(("sender",), str(error))
        return
    if domain not in account.domains:
        known = ", ".join(sorted(account.domains)) or "none"
        yield Mistake(("sender",), f"{domain} is no verified domain of the account; verified: {known}")


def _address_mistakes(form: SignUpForm) -> Iterator[Mistake]:
    if form.page and not _is_page(form.page):
        yield Mistake(("page",), "not the address of a web page: https://HOST/PATH")
    for number, site in enumerate(form.sites):
        if not _is_page(site) or site != origin_of(site):
            yield Mistake(("sites", number), "not an origin: https://HOST, without a path")


def _language_mistakes(form: SignUpForm) -> Iterator[Mistake]:
    known = {each.value for each in TextLanguage}
    if not form.statements:
        yield Mistake(("statements",), "a text in at least one language is needed")
    for language in form.statements:
        if language not in known:
            yield Mistake(("statements", language), f"not one of the languages: {', '.join(sorted(known))}")
    for language in form.headings:
        if language not in form.statements:
            yield Mistake(("headings", language), "there is no statement in this language")


def _topic_mistakes(form: SignUpForm) -> Iterator[Mistake]:
    names: set[str] = set()
    for number, topic in enumerate(form.topics):
        place = ("topics", number, "name")
        try:
            name = parse_topic(topic.name)
        except TopicError as error:
            yield Mistake(place, str(error))
            continue
        if name == EVERY_TOPIC or name != topic.name:
            yield Mistake(place, f"{topic.name!r} is not the name of one topic, in lower case")
        if name in names:
            yield Mistake(place, f"{topic.name!r} stands here twice")
        names.add(name)
        for language in form.statements:
            if language not in topic.labels:
                yield Mistake(("topics", number, "labels"), f"there is no label in {language!r}")


def origin_of(url: str) -> str:
    """Return scheme and host of a URL, with its port; "" if it has none."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}".lower() if parts.scheme and parts.hostname else ""
    except ValueError:
        return ""


def _is_page(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and "." in (parts.hostname or "") and not parts.username and url.isprintable()
    except ValueError:
        return False
