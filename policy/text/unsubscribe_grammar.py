"""Whether words say how to unsubscribe: a small grammar of five languages.

Verbs come before or behind what they are about, in two parts, in any form (``afmelden``, ``meld u hier af``,
``abzumelden``, ``ne plus recevoir``), so words are matched by stem and nearness, not by phrase. Of a link's own
sentence two things are asked: whether it speaks of less, an end or too much, and whether it speaks of mail. The words
are data (``config/defaults/unsubscribe_words.toml``).

Limitations: irony and other languages are not understood. A sentence is taken for one of any language: words that mean
one thing in two of them are rare here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache

from config.toml import DEFAULTS, read, read_text
from config.types import Section
from policy.text.other_subscriptions import OtherSubscriptions, SubscriptionWords

SHIPPED = DEFAULTS / "unsubscribe_words.toml"
LONGEST = 2000  # characters of one text that are read

_MARKS = re.compile(  # accents that stand by themselves, and what is not seen at all (Unicode 5.18)
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff]+"
)
_WORD = r"[^\s|?]+"
_AROUND = ".:!?,;»›>→<«‹[]() "  # signs about the words of a link
_TOKEN = re.compile(r"(?=.*\d)[\w~=-]{6,}")  # what tells one reader from another
_QUERY = re.compile(r"[?#;]")


class LanguageWords(Section):
    """The words of one language."""

    direct: list[str]
    separable: list[str]
    verbs: list[str]
    objects: list[str]
    signups: list[str]
    negations: list[str]
    excess: list[str]
    apart: list[str]
    alone: list[str]
    ending: list[str]
    whole: list[str]
    misleading: list[str]
    receiving: list[str]
    mailings: list[str]
    devices: list[str]
    here: list[str]
    elsewhere: list[str]
    looking: list[str]
    urls: list[str]
    others: list[str]
    pages: list[str]
    desks: list[str]
    subscriptions: SubscriptionWords
    referring: list[str]
    lessening: list[str]
    for_good: list[str]
    channels: list[str]
    letters: list[str]
    roles: list[str]
    readers: list[str]


class _Words(Section):
    """``config/defaults/unsubscribe_words.toml``."""

    nl: LanguageWords
    de: LanguageWords
    fr: LanguageWords
    es: LanguageWords
    en: LanguageWords


class UnsubscribeGrammar:
    """The grammar of all languages, compiled."""

    __slots__ = (
        "_alone", "_channels", "_desks", "_devices", "_elsewhere", "_ends", "_here", "_hints", "_less", "_lessening",
        "_letters", "_looking", "_mail", "_of_all", "_offers", "_others", "_pages", "_referring", "_roles", "_says",
        "_spots", "_subscriptions", "_urls",
    )  # fmt: skip

    def __init__(self, languages: Sequence[LanguageWords]) -> None:
        self._says = re.compile("|".join(_ways(language) for language in languages))
        self._less = [tuple(map(re.compile, _of_less(language))) for language in languages]
        self._alone = frozenset(word for language in languages for word in language.alone)
        self._of_all = re.compile("|".join(map(_of_all, languages)))
        self._elsewhere = re.compile(any_of(word for language in languages for word in language.elsewhere))
        self._looking = re.compile(any_of(word for language in languages for word in language.looking))
        self._others = re.compile(any_of(word for language in languages for word in language.others))
        self._mail = re.compile(any_of(mail for language in languages for mail in _of_mail_only(language)))
        self._subscriptions = [OtherSubscriptions(language.subscriptions, self._mail) for language in languages]
        self._referring = re.compile(any_of(word for language in languages for word in language.referring))
        self._lessening = re.compile(any_of(word for language in languages for word in language.lessening))
        self._ends = re.compile("|".join(map(_of_end, languages)))
        self._channels = re.compile(any_of(word for language in languages for word in language.channels))
        self._letters = re.compile(any_of(word for language in languages for word in language.letters))
        self._roles = re.compile("|".join(map(_of_role, languages)))
        self._pages = re.compile(any_of(word for language in languages for word in language.pages))
        self._desks = frozenset(word for language in languages for word in language.desks)
        self._offers = [_narrow_pattern(language) for language in languages]
        self._hints = _fewest({hint for language in languages for hint in _hints(language)})
        self._devices = re.compile(any_of(word for language in languages for word in language.devices))
        self._spots = _fewest({hint for language in languages for hint in _spots(language)})
        self._urls = tuple(part for language in languages for part in language.urls)
        self._here = frozenset(word for language in languages for words in language.here for word in words.split())

    @classmethod
    @cache
    def shipped(cls) -> UnsubscribeGrammar:
        """With the words that ship with the service. Raises ConfigError."""
        words = read(read_text(SHIPPED), SHIPPED.name, _Words, lambda _: ())
        return cls([getattr(words, language) for language in _Words.model_fields])

    def says(self, text: str) -> bool:
        """Return whether ``text``, made plain, says how to unsubscribe."""
        return self._says.search(text) is not None or any(
            less.search(text) and mail.search(text) and not misleading.search(text)
            for less, mail, misleading in self._less
        )

    def besides(self, text: str) -> str:
        """Return ``text``, made plain, without what says how to unsubscribe."""
        return self._says.sub(" ", text)

    def refers(self, sentence: str) -> bool:
        """Return whether a sentence, made plain, begins as one that is about the sentence before it."""
        return self._referring.match(sentence) is not None

    def only_lessens(self, text: str) -> bool:
        """Return whether ``text``, made plain, offers less mail or a pause, not an end: "get fewer emails"."""
        return self._lessening.search(text) is not None and not self._ends.search(text)

    def says_alone(self, words: str) -> bool:
        """Return whether a link that has just these words says it: "leave", "stop everything"."""
        words = words.strip(_AROUND)
        return words in self._alone or self._of_all.fullmatch(words) is not None

    def leads_elsewhere(self, words: str) -> bool:
        """Return whether a link under ``words`` is about something else, whatever its sentence says."""
        return bool(self._elsewhere.search(words))

    def is_for_looking(self, clause: str) -> bool:
        """Return whether a clause, made plain, tells that there is something to read: "read more"."""
        return bool(self._looking.search(clause))

    def offers(self, text: str) -> bool:
        """Return whether ``text``, made plain, says it in words that are not used for anything else: not of orders,
        contracts, mail addresses or devices."""
        return any(pattern.search(text) for pattern in self._offers) and not self._devices.search(text)

    def is_of_others(self, text: str, link: str = "") -> bool:
        """Return whether ``text`` is about ending something other than mail: a course, a membership, an order.
        ``link``: the words of the link that it is, as they were written."""
        if self.names_mail(text):
            return False
        if self._others.search(text):
            return True
        said, written = text.split(), link.split()
        return any(each.are_named(said, written, is_link=bool(link)) for each in self._subscriptions)

    def ends_another(self, text: str) -> bool:
        """Return whether ``text``, made plain, tells how something other than mail is ended."""
        return self._ends.search(text) is not None and self.is_of_others(text)

    def is_of_other_channel(self, text: str) -> bool:
        """Return whether ``text`` ends messages of another kind ("browser notifications"), or what one is there."""
        if self._letters.search(text):
            return False
        return self._channels.search(text) is not None or self._roles.search(text) is not None

    def ends_a_role(self, text: str) -> bool:
        """Return whether ``text`` ends what one is: "unsubscribe as a patient"."""
        return self._roles.search(text) is not None and not self._letters.search(text)

    def names_mail(self, text: str) -> bool:
        """Return whether ``text`` names mail, by a word that is used for nothing else."""
        return bool(self._mail.search(text))

    def spots(self, text: str) -> Iterator[int]:
        """Yield where ``text``, made plain, may speak of unsubscribing."""
        for (spot,) in self._spots:
            at = text.find(spot)
            while at >= 0:
                yield at
                at = text.find(spot, at + len(spot))

    def may_offer(self, text: str) -> bool:
        """Return whether a text, made plain, can hold a link that ``offers``; quick, and true too often."""
        for hint in self._hints:
            for part in hint:
                if part not in text:
                    break
            else:
                return True
        return False

    def says_nothing(self, words: str) -> bool:
        """Return whether a link under ``words`` has no meaning of its own: "here", an arrow, nothing."""
        return all(word.strip(_AROUND) in self._here for word in words.split() if any(map(str.isalpha, word)))

    def is_meant(self, url: str) -> bool:
        """Return whether an address says it."""
        return any(part in url for part in self._urls)

    def names_page(self, words: str) -> bool:
        """Return whether a link under ``words`` is one to the privacy policy or the like, wherever it leads."""
        return self._pages.search(words) is not None

    def other_page(self, url: str) -> str:
        """Return the part of the path of ``url`` that names a page on which nobody unsubscribes, or "": the privacy
        policy, a contact form."""
        if self.is_meant(plain(url)):
            return ""
        parts = [plain(part) for part in _QUERY.split(url)[0].split("/")[3:]]
        for n, part in enumerate(parts):
            if self._pages.search(part):
                return part
            if part.partition(".")[0] in self._desks and not any(map(_TOKEN.search, parts[n + 1 :])):
                return part
        return ""


def plain(text: str, longest: int | None = LONGEST) -> str:
    """Return ``text`` in lower case, without accents, soft hyphens and their like, with single spaces: people write
    ``désabonner``, ``DESABONNER`` and ``Ab&shy;melden``."""
    text = text[:longest].casefold()
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFKD", text))
    return " ".join(text.split())


def _ways(words: LanguageWords) -> str:
    """Return a pattern for what says it by itself."""
    return any_of((*words.direct, *words.separable, *words.apart))


def _of_all(words: LanguageWords) -> str:
    """Return a pattern for a link that ends everything: "stop it all", "drop me from everything"."""
    ending, whole = any_of(words.ending), any_of(words.whole)
    return rf"{ending}(?: {_WORD})?? {whole}|{whole} {ending}"


def _of_mail_only(words: LanguageWords) -> Iterator[str]:
    """Yield what only mail is called, not also what one signs up for."""
    return (word for word in words.objects if word not in words.signups)


def _of_less(words: LanguageWords) -> tuple[str, str, str]:
    """Return patterns for an end or too much, for mail and its coming, and for sentences that mean something else."""
    less = any_of((*words.verbs, *words.negations, *words.excess))
    return less, any_of((*words.objects, *words.receiving)), any_of(words.misleading)


def _narrow_pattern(words: LanguageWords) -> re.Pattern[str]:
    verbs, mailings = any_of(words.verbs), any_of(words.mailings)
    no_more = [negation for negation in words.negations if " " in negation]
    ways = [
        any_of((*words.direct, *words.separable)),
        rf"{verbs}(?: {_WORD}){{0,4}}? {mailings}",
        rf"{mailings}(?: {_WORD}){{0,4}}? {verbs}",
        rf"{any_of(no_more)}(?: {_WORD}){{0,6}}? (?:{any_of(words.receiving)}|{mailings})",
    ]
    return re.compile("|".join(ways))


def _of_end(words: LanguageWords) -> str:
    """Return a pattern for what ends it, and not for a while."""
    ends = (*words.direct, *words.separable, *words.verbs, *words.for_good)
    return any_of(word for word in ends if word not in words.lessening)


def _of_role(words: LanguageWords) -> str:
    """Return a pattern for the end of what one is, not of mail: "unsubscribe as a patient"."""
    ends = any_of((*words.direct, *words.verbs))
    return rf"{ends}(?: {_WORD}){{0,2}} (?:{any_of(words.roles)}) (?!{any_of(words.readers)})[^\W\d_]{{3}}"


def _hints(words: LanguageWords) -> Iterable[tuple[str, ...]]:
    """Yield what a text must hold, all parts of one, to match the narrow pattern or an address."""
    no_more = (each for each in words.negations if " " in each)
    for said in (*words.direct, *words.separable, *words.mailings, *words.urls, *no_more):
        yield tuple(part for part in re.split(r"\*| \.\.\. ", said) if part.strip())


def _spots(words: LanguageWords) -> Iterable[tuple[str, ...]]:
    """Yield the longest parts of what says it by itself."""
    for said in words.direct:
        yield (max(said.split("*"), key=len),)


def _fewest(hints: Collection[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Return the hints without those that hold another."""
    alone = {hint[0] for hint in hints if len(hint) == 1}
    return tuple(
        hint
        for hint in sorted(hints)
        if not any(other in part and (other,) != hint for other in alone for part in hint)
    )


def any_of(words: Iterable[str]) -> str:
    """Return a pattern for any of ``words``, the first of them that is there. What begins alike is written once, so
    that few are tried at each word of a text."""
    return rf"(?<![^\W_])(?:{_either(list(map(_stem, words)))})"


def _either(stems: Sequence[tuple[str, str]]) -> str:
    """Return a pattern for any of ``stems``, in their order: letters that are next, and a pattern for the rest."""
    branches: list[str] = []
    run: dict[str, list[tuple[str, str]]] = {}  # by the next letter: those with another one cannot match as well
    for letters, rest in (*stems, ("", "")):
        if letters:
            run.setdefault(letters[0], []).append((letters[1:], rest))
            continue
        for letter, behind in run.items():
            branches.append(re.escape(letter) + (_either(behind) if len(behind) == 1 else f"(?:{_either(behind)})"))
        run = {}
        branches.append(rest)
    return "|".join(branches[:-1])


def _stem(words: str) -> tuple[str, str]:
    """Return the letters that begin whole words, and a pattern for the rest; "*" stands for any beginning or ending, or
    for a word, "..." for up to six."""
    letters = words.partition(" ")[0].partition("*")[0]
    pieces = [" ".join(map(_word, piece.split())) for piece in words.split(" ... ")]
    return letters, rf"(?: {_WORD}){{0,6}}? ".join(pieces).removeprefix(re.escape(letters))


def _word(word: str) -> str:
    if word == "*":
        return _WORD
    begin = r"\w*" if word.startswith("*") else ""
    end = r"\w*" if word.endswith("*") else r"(?!\w)"
    return begin + re.escape(word.strip("*")) + end
