"""What a consent statement says: that mail comes, from whom, and what about. A small grammar of five languages.

    statement ▶ its language ▶ parts (sentences, wishes) ▶ those that are wishes for mail ▶ mail, sender, subject

A part that only accepts terms says nothing about mail, one that is negated says the opposite. Partners, sponsors and
third parties are no sender. The words are data (``config/defaults/statement_words.toml``).

Limitations: a name that the account has not registered is recognised by its capitals, its legal form or its domain, and
in German, where all nouns have capitals, by the words around it. Irony and other languages are not understood.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from config.toml import DEFAULTS, read, read_text
from config.types import Section
from policy.imprint.legal_forms import is_legal_form
from policy.text.unsubscribe_grammar import plain

SHIPPED = DEFAULTS / "statement_words.toml"
LONGEST = 4000  # characters of a statement that are read
LONGEST_NAME = 60  # characters of a name that are kept
_NEAR = 6  # words between a negation and what it is about

_SENTENCES = re.compile(r"(?<=[!?;])\s+|(?<=\.)\s+(?=[A-ZÀ-Þ¡¿\d])|\n+")  # "B.V. may" goes on
_EDGES = ".,:;!?()[]{}\"'«»„“”‘’*•-–—"
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")
_ELISION = re.compile(r"\b([cdjlmnst]|qu)['’](?=\w)", re.IGNORECASE)  # of French


class Sender(Enum):
    """Whom a statement names as the sender."""

    OWN = "own"  # a name of the account
    SELF = "self"  # "we", "your newsletter": the owner of the form
    OTHER = "other"  # a name that is none of the account's
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Statement:
    """What a text agrees to. ``name``: the sender's, if that is ``OTHER``."""

    mail: bool
    sender: Sender
    subject: bool
    name: str = ""


class _StatementWords(Section):
    """The words of one language, as the file describes them."""

    publications: list[str]
    sending: list[str]
    subjects: list[str]
    about: list[str]
    wants: list[str]
    owner: list[str]
    ours: list[str]
    yours: list[str]
    you: list[str]
    before_name: list[str]
    behind_name: list[str]
    parties: list[str]
    sharing: list[str]
    legal: list[str]
    channels: list[str]
    mail: list[str]
    negations: list[str]
    silence: list[str]
    joining: list[str]
    holding: list[str]
    ordinary: list[str]
    common: list[str]


class _File(Section):
    """``config/defaults/statement_words.toml``."""

    nl: _StatementWords
    de: _StatementWords
    fr: _StatementWords
    es: _StatementWords
    en: _StatementWords


class StatementGrammar:
    """The grammars of all languages, compiled."""

    __slots__ = ("_languages",)

    def __init__(self, languages: dict[str, _StatementWords]) -> None:
        self._languages = {code: _Grammar(words, nouns_in_capitals=code == "de") for code, words in languages.items()}

    @classmethod
    def shipped(cls) -> StatementGrammar:
        """With the words that ship with the service. Raises ConfigError."""
        words = read(read_text(SHIPPED), SHIPPED.name, _File, lambda _: ())
        return cls({language: getattr(words, language) for language in _File.model_fields})

    def read(self, text: str, language: str = "", names: Collection[str] = ()) -> Statement:
        """Return what ``text`` says. ``language``: a code, if it is known; ``names``: of the account, its domains
        included."""
        parts = _parts(text[:LONGEST])
        own = [words for name in names for words in _spellings(name)]
        read_as = [self._languages[code].read(parts, own) for code in self._candidates(parts, language[:2].lower())]
        return max(read_as, key=lambda said: said.mail + (said.sender is not Sender.NONE) + said.subject)

    def _candidates(self, parts: Sequence[_Part], declared: str) -> list[str]:
        """Return the languages that the text is in, by its small words; the declared one if it has any of them."""
        words = [word for part in parts for word in part.plain]
        counts = {code: sum(word in grammar.common for word in words) for code, grammar in self._languages.items()}
        if counts.get(declared):
            return [declared]
        return [code for code, count in counts.items() if count == max(counts.values())]


@dataclass(frozen=True, slots=True)
class _Part:
    """A sentence, or what stands between two commas of it. ``words``: as they were written; ``begins``: a sentence."""

    words: tuple[str, ...]
    plain: tuple[str, ...]
    begins: bool

    @property
    def text(self) -> str:
        return " ".join(self.plain)

    def since(self, start: int, end: int) -> _Part:
        return _Part(self.words[start:end], self.plain[start:end], self.begins and start == 0)


def _parts(text: str) -> list[_Part]:
    found: list[_Part] = []
    for sentence in _SENTENCES.split(_ELISION.sub(r"\1' ", text)):
        for n, phrase in enumerate(re.split(r",\s", sentence)):
            words = [(word, bare) for word in phrase.split() if (bare := plain(word).strip(_EDGES))]
            if words:
                found.append(_Part(tuple(word for word, _ in words), tuple(bare for _, bare in words), n == 0))
    return found


def _spellings(name: str) -> Iterator[tuple[str, ...]]:
    """Yield the ways in which a statement may name ``name``, as plain words: whole, and without its legal form."""
    words = [word.strip(_EDGES) for word in plain(_ELISION.sub(r"\1' ", name)).split()]
    yield tuple(filter(None, words))
    while size := _form_at_end(words):
        words = words[:-size]
    yield tuple(filter(None, words))
    if len(words) > 1 and is_legal_form(words[0]):
        yield tuple(filter(None, words[1:]))


class _Grammar:
    """The grammar of one language. ``common``: words that tell the language."""

    def __init__(self, words: _StatementWords, *, nouns_in_capitals: bool) -> None:
        self._nouns_in_capitals = nouns_in_capitals
        self.common = frozenset(words.common)
        self._publication = _any(words.publications)
        self._sending = _any([*words.sending, *words.publications])
        self._subject = _any([*words.subjects, *words.publications])
        self._theirs = _any([*words.subjects, *words.publications, *words.mail])
        self._about = _any(words.about)
        self._legal, self._party, self._sharing = _any(words.legal), _any(words.parties), _any(words.sharing)
        self._channel, self._mail = _any(words.channels), _any(words.mail)
        self._negation = _any(words.negations)
        self._silence = _any(words.silence)
        self._holds = re.compile(
            rf"{_source([*words.publications, *words.mail])}(?: [^ ]+){{0,4}}? {_source(words.holding)}"
        )
        self._beside_party = re.compile(rf"{_source(words.joining)}(?: [^ ]+){{0,4}}? {_source(words.parties)}")
        self._owner = _any(words.owner)
        self._ours = _any(words.ours)
        self._yours = re.compile(
            rf"{_source(words.yours)}(?: [^ ]+){{0,2}}? {_source([*words.publications, *words.subjects])}"
        )
        self._you = re.compile(rf"{_source(words.you)}(?: [^ ]+){{0,2}}? {_source(words.sending)}")
        self._before, self._behind = _any(words.before_name), _any(words.behind_name)
        self._wish = re.compile(rf"(?:and|en|und|et|y|e|sowie|&) {_source(words.wants)}")
        self._no_name = _any(
            word
            for group in (
                words.publications, words.sending, words.subjects, words.parties, words.legal, words.channels,
                words.mail, words.ordinary, words.wants, words.owner, words.ours, words.yours, words.common,
                words.negations, words.before_name,
            )
            for word in group
            if " " not in word
        )  # fmt: skip

    def read(self, parts: Sequence[_Part], own: Sequence[tuple[str, ...]]) -> Statement:
        sentences = _sentences(parts)
        if any(self._silence.search(sentence) for sentence in sentences):
            return Statement(mail=False, sender=Sender.NONE, subject=False)
        wishes = list(self._meant(parts))
        texts = [wish.text for wish in wishes]
        mail = any(map(self._sending.search, texts)) and not (
            any(map(self._channel.search, texts)) and not any(map(self._mail.search, texts))
        )
        subject = any(map(self._subject.search, texts)) or any(
            (self._about.search(text) and self._sending.search(text)) or self._holds.search(text)
            for text in _sentences(wishes)
        )
        sender, name = self._sender(wishes, own, capitals_tell=not _mostly_capitals(parts))
        if any(map(self._is_of_parties_too, sentences)):
            sender, name = Sender.NONE, ""
        return Statement(mail, sender, subject, name)

    def _meant(self, parts: Sequence[_Part]) -> Iterator[_Part]:
        """Yield the wishes for mail; what stands behind one that passes addresses on is of those who get them."""
        passed_on = False
        for part in parts:
            passed_on = passed_on and not part.begins
            for wish in self._wishes(part):
                if self._passes_on(wish.text):
                    passed_on = True
                elif not passed_on and self._is_meant(wish):
                    yield wish

    def _passes_on(self, text: str) -> bool:
        return bool(self._sharing.search(text) and self._party.search(text)) and not self._negation.search(text)

    def _is_of_parties_too(self, sentence: str) -> bool:
        """Return whether mail comes from the sender and from parties that are not named."""
        if self._negation.search(sentence) or not self._sending.search(sentence):
            return False
        return self._beside_party.search(sentence) is not None

    def _wishes(self, part: _Part) -> Iterator[_Part]:
        """Yield a part in pieces, one for each wish: "I accept the terms | and would like to receive ..."."""
        starts = [part.text.count(" ", 0, found.start()) for found in self._wish.finditer(part.text)]
        for start, end in pairwise([0, *(start for start in starts if start), len(part.plain)]):
            yield part.since(start, end)

    def _is_meant(self, wish: _Part) -> bool:
        """Return whether it may be a wish for mail: not only for terms, not negated, not to pass addresses on."""
        text = wish.text
        sending = self._sending.search(text)
        if self._legal.search(text) and not sending:
            return False
        if self._sharing.search(text) and self._party.search(text):
            return False
        return not any(
            (behind := self._sending.search(text, found.start()))
            and text.count(" ", found.start(), behind.start()) <= _NEAR
            for found in self._negation.finditer(text)
        )

    def _sender(
        self, wishes: Sequence[_Part], own: Sequence[tuple[str, ...]], *, capitals_tell: bool
    ) -> tuple[Sender, str]:
        if any(self._names_own(wish, words) for wish in wishes for words in own):
            return Sender.OWN, ""
        for wish in wishes:
            if name := self._name(wish, capitals_tell=capitals_tell):
                return Sender.OTHER, name[:LONGEST_NAME]
        return (Sender.SELF, "") if any(map(self._speaks_of_owner, wishes)) else (Sender.NONE, "")

    def _names_own(self, wish: _Part, words: tuple[str, ...]) -> bool:
        size = len(words)
        return size > 0 and any(
            _is_named(wish.plain[at : at + size], words) and not self._belongs_to_others(wish, at)
            for at in range(len(wish.plain) - size + 1)
        )

    def _belongs_to_others(self, wish: _Part, at: int) -> bool:
        """Return whether the name at ``at`` only says whose terms or partners are meant: "the terms of Shop Ltd"."""
        while at and self._before.fullmatch(wish.plain[at - 1]):
            at -= 1
        before = wish.plain[at - 1] if at else ""
        return bool(self._legal.fullmatch(before) or self._party.fullmatch(before))

    def _name(self, wish: _Part, *, capitals_tell: bool) -> str:
        """Return the first name of a sender in ``wish``, or ""."""
        at = 0
        while at < len(wish.words):
            end = at
            while end < len(wish.words) and self._may_be_name(wish, end, capitals_tell=capitals_tell):
                end += 1
            if end > at and self._sends(wish, at, end) and not self._belongs_to_others(wish, at):
                name = " ".join(wish.words[at:end]).strip(_EDGES)
                return f"{name}." if "." in name.rpartition(" ")[2] and is_legal_form(wish.plain[end - 1]) else name
            at = max(end, at + 1)
        return ""

    def _may_be_name(self, wish: _Part, at: int, *, capitals_tell: bool) -> bool:
        bare = wish.plain[at]
        if _DOMAIN.fullmatch(bare):
            return True
        if self._no_name.fullmatch(bare):
            return "-" in bare and bool(self._publication.fullmatch(bare))  # "Radhaus-Newsletter"
        if is_legal_form(bare):
            return at > 0
        return capitals_tell and wish.words[at].strip(_EDGES)[0].isupper()

    def _sends(self, wish: _Part, at: int, end: int) -> bool:
        """Return whether the words from ``at`` to ``end`` stand where a sender is named."""
        names, behind = wish.plain[at:end], " ".join(wish.plain[end : end + 3])
        if self._party.match(behind):  # "Selected Partners"
            return False
        if any(_DOMAIN.fullmatch(name) or (is_legal_form(name) and n) for n, name in enumerate(names)):
            return True
        if self._behind.match(behind) or any("-" in name and self._publication.fullmatch(name) for name in names):
            return True
        if names[-1].endswith(("'s", "’s")) and (found := self._theirs.search(behind)):
            return not self._party.search(behind[: found.end()])
        if self._publication.match(behind) and not (wish.begins and at == 0):
            return True
        if at > 1 and wish.words[at - 1].islower() and not self._no_name.fullmatch(wish.plain[at - 1]):
            at -= 1  # "of the bakery Jansen"
        return at > 0 and bool(self._before.fullmatch(wish.plain[at - 1]))

    def _speaks_of_owner(self, wish: _Part) -> bool:
        text = wish.text
        if self._owner.search(text) or self._you.search(text):
            return True
        for found in self._ours.finditer(text):
            if not self._party.search(" ".join(text[found.end() :].split()[:4])):
                return True
        party = self._party.search(text)
        return any(party is None or found.start() < party.start() for found in self._yours.finditer(text))


def _form_at_end(words: Sequence[str]) -> int:
    """Return how many of the last words are a legal form: "e. V." is two; "&" joins two forms."""
    if words and (words[-1] == "&" or is_legal_form(words[-1])):
        return 1
    return 2 if len(words) > 2 and is_legal_form(" ".join(words[-2:])) else 0


def _is_named(said: Sequence[str], name: Sequence[str]) -> bool:
    """Return whether words are those of a name, in the genitive too: "des Fördervereins der Grundschule"."""
    return len(said) == len(name) and all(
        word == part or (word in (f"{part}s", f"{part}es") and len(part) > 3)
        for word, part in zip(said, name, strict=True)
    )


def _sentences(parts: Sequence[_Part]) -> list[str]:
    """Return the texts of sentences that are in ``parts``."""
    found: list[str] = []
    for part in parts:
        if part.begins or not found:
            found.append(part.text)
        else:
            found[-1] += f" {part.text}"
    return found


def _mostly_capitals(parts: Sequence[_Part]) -> bool:
    """Return whether so many words begin with a capital that this says nothing of names."""
    words = [word for part in parts for word in part.words if word.strip(_EDGES)[:1].isalpha()]
    return len(words) > 4 and sum(word.strip(_EDGES)[0].isupper() for word in words) > 0.6 * len(words)


def _any(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile(_source(words))


def _source(words: Iterable[str]) -> str:
    """Return a pattern for any of ``words``, which are parted by single spaces."""
    alternatives = "|".join(
        re.escape(word).replace(r"\*", "[^ ]*").replace(r"\ ", " ") for word in dict.fromkeys(words)
    )
    return rf"(?:(?<![^ ])(?:{alternatives})(?![^ ]))"
