"""Whether a page lets its reader unsubscribe at once: what the page behind an unsubscribe link must be.

It is enough that it says that it has happened, or that it has a form that does it by one press of a button. Of several
forms the best counts, so a login in the corner of a page does no harm beside a button that unsubscribes.

A form is not sent: that would unsubscribe a person. Whether sending it is all is told by what it asks: a password, a
question beyond the address, a box to be ticked, money, a captcha, a button that leads on, or a mail to confirm by.

Limitations: five languages are known. A site may ask for more than its form shows, only after it was sent; what needs
a script is not proved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from config.toml import DEFAULTS, read, read_text
from config.types import Section
from policy.base import Facts, PageVerdict
from policy.html.web_page import Form, FormField, WebPage
from policy.text.header_text import shown
from policy.text.obstacle_grammar import Nearness, ObstacleGrammar
from policy.text.unsubscribe_grammar import UnsubscribeGrammar, any_of, plain

SHIPPED = DEFAULTS / "unsubscribe_page.toml"
LITTLE_TEXT = 300  # characters: a page with less, and with scripts, is made by them

_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n")
_ADDRESS = re.compile(r"e-?mail|mail|correo|courriel", re.IGNORECASE)
_MONEY = re.compile(r"(?:€|£|\$|\beuro?\b|\busd\b|\bgbp\b|\bchf\b)\s?\d|\d\s?(?:€|£|\$|euro?\b|usd\b|gbp\b|chf\b)")


class PageFault(Enum):
    """Why a reader does not unsubscribe at once there. The values go into messages: "the page <value>"."""

    UNREADABLE = "cannot be read"
    LOGIN = "asks for a password"
    CAPTCHA = "has a captcha to solve"
    QUESTION = "asks a question that must be answered"
    FEE = "asks for money"
    OBSTACLE = "names an obstacle"
    SECOND_STEP = "needs a second step"
    SCRIPT = "shows nothing to press without JavaScript"
    NOTHING = "has nothing to unsubscribe with"


@dataclass(frozen=True, slots=True)
class PageOffer:
    """``fault``: None if the page unsubscribes at once. ``seen``: what that is told by, as the page says it."""

    fault: PageFault | None
    seen: str = ""

    @property
    def verdict(self) -> PageVerdict:
        if self.fault is None:
            return PageVerdict("", f"it unsubscribes at once: {self.seen}")
        return PageVerdict(f"{self.fault.value} ({self.seen})" if self.seen else self.fault.value, "")


class PageWords(Section):
    """The words of one language."""

    done: list[str]
    unless: list[str]
    agree: list[str]
    onward: list[str]
    further: list[str]
    optional: list[str]


class _Words(Section):
    """``config/defaults/unsubscribe_page.toml``."""

    nl: PageWords
    de: PageWords
    fr: PageWords
    es: PageWords
    en: PageWords


class UnsubscribePages:
    """Judges pages, by the words of all languages."""

    __slots__ = ("_agree", "_done", "_further", "_grammar", "_obstacles", "_onward", "_optional", "_unless")

    def __init__(self, grammar: UnsubscribeGrammar, languages: Sequence[PageWords]) -> None:
        self._grammar, self._obstacles = grammar, ObstacleGrammar.shipped()
        self._done = re.compile(any_of(said for words in languages for said in words.done))
        self._further = re.compile(any_of(said for words in languages for said in words.further))
        self._unless = re.compile(any_of(word for words in languages for word in words.unless))
        self._agree = re.compile(any_of(word for words in languages for word in words.agree))
        self._onward = re.compile(any_of(word for words in languages for word in words.onward))
        self._optional = re.compile(any_of(word for words in languages for word in words.optional))

    @classmethod
    def shipped(cls) -> UnsubscribePages:
        """With the words that ship with the service. Raises ConfigError."""
        words = read(read_text(SHIPPED), SHIPPED.name, _Words, lambda _: ())
        return cls(UnsubscribeGrammar.shipped(), [getattr(words, language) for language in _Words.model_fields])

    def judge(self, page: WebPage) -> PageOffer:
        if page.fault:
            return PageOffer(PageFault.UNREADABLE, page.fault)
        if done := self._says_done(page):
            return PageOffer(None, shown(done, 80))
        forms = [form for form in page.forms if self._says_so(form)] or self._meant_by(page)
        verdicts = sorted(map(self._judge_form, forms), key=lambda verdict: verdict.fault is not None)
        return verdicts[0] if verdicts else self._without_form(page)

    def _says_done(self, page: WebPage) -> str:
        for sentence in _sentences(f"{page.title}\n{page.text}"):
            if self._done.search(sentence) and not self._unless.search(sentence):
                return sentence
        return ""

    def _says_so(self, form: Form) -> bool:
        """Whether a form says by itself that it is for unsubscribing."""
        grammar = self._grammar
        if grammar.offers(plain(" ".join(form.buttons))) or grammar.is_meant(plain(form.action)):
            return True
        return bool(form.buttons) and not form.searches and grammar.offers(plain(form.text))

    def _meant_by(self, page: WebPage) -> list[Form]:
        """Return the forms whose buttons do what the page says, if that is unsubscribing."""
        if not self._grammar.offers(plain(f"{page.title} {page.text}", None)):
            return []
        return [form for form in page.forms if not form.searches and self._agrees(plain(" ".join(form.buttons)))]

    def _agrees(self, words: str) -> bool:
        return bool(self._agree.search(words) or self._onward.search(words))

    def _judge_form(self, form: Form) -> PageOffer:
        text = plain(form.text, None)
        if form.asks_password:
            return PageOffer(PageFault.LOGIN)
        if form.captcha:
            return PageOffer(PageFault.CAPTCHA)
        if money := _MONEY.search(text):
            return PageOffer(PageFault.FEE, money[0])
        for field in form.fields:
            if self._must_answer(field, text):
                return PageOffer(PageFault.QUESTION, shown(field.label, 60))
        if further := self._further.search(text):
            return PageOffer(PageFault.SECOND_STEP, shown(further[0], 80))
        if obstacle := self._obstacles.told(text, Nearness.OWN):
            return PageOffer(PageFault.OBSTACLE, shown(obstacle.quoted, 60))
        if not form.buttons:
            return PageOffer(PageFault.SCRIPT)
        ends = [button for button in form.buttons if not self._onward.search(plain(button))]
        if not ends:
            return PageOffer(PageFault.SECOND_STEP, f'the button "{shown(form.buttons[0], 60)}"')
        return PageOffer(None, f'the button "{shown(ends[0], 60)}"')

    def _must_answer(self, field: FormField, text: str) -> bool:
        """Whether a field must be filled in by hand, the address aside. Options are a question unless one is chosen,
        they say how to unsubscribe, or the form calls them optional."""
        if field.answered or field.kind == "email" or (field.kind == "text" and _ADDRESS.search(field.label)):
            return False
        if field.required:
            return not self._is_the_choice(field)
        if field.kind in ("radio", "select"):
            return not self._is_the_choice(field) and not self._optional.search(text)
        return False

    def _is_the_choice(self, field: FormField) -> bool:
        return any(self._grammar.offers(plain(option)) for option in field.options)

    def _without_form(self, page: WebPage) -> PageOffer:
        grammar = self._grammar
        if any(form.asks_password for form in page.forms):
            return PageOffer(PageFault.LOGIN)
        for sentence in _sentences(page.text):
            if grammar.offers(sentence) and (obstacle := self._obstacles.told(sentence, Nearness.ABOUT)):
                return PageOffer(PageFault.OBSTACLE, shown(obstacle.quoted, 60))
        if button := next((words for words in page.loose_buttons if grammar.offers(plain(words))), ""):
            return PageOffer(PageFault.SCRIPT, f'the button "{shown(button, 60)}"')
        for link in page.links:
            if grammar.offers(plain(link.words)):
                return PageOffer(PageFault.SECOND_STEP, f"a further link, {shown(link.url, 80)}")
        if page.scripted and len(page.text) < LITTLE_TEXT:
            return PageOffer(PageFault.SCRIPT)
        return PageOffer(PageFault.NOTHING, shown(page.title, 60))


def page_fault(facts: Facts, rule: str, url: str, setting: Literal["ignore", "check", "require"]) -> str:
    """Return why a message's link is refused for its page, as that was seen when its mailing was confirmed, or ""."""
    known = facts.mailing.pages.find(rule, url) if facts.mailing else None
    if known and known.fault:
        return (
            f"the page of {shown(url, 100)}: {known.fault} (looked at {known.at:%Y-%m-%d}); let it unsubscribe at once"
        )
    if known is None and setting == "require":
        return (
            f"the page of {shown(url, 100)} was not looked at; confirm the mailing with a message that has such a link "
            "(mta mailing confirm --message)"
        )
    return ""


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text, made plain."""
    for sentence in _SENTENCES.split(text):
        if said := plain(sentence):
            yield said
