"""The phrases of mail systems and programs, by language: regular expressions in lower case.

``config/defaults/bounce-words.toml`` has what a refusal says, ``bounce-layout.toml`` what stands around it. A language
is added there, not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Literal
from unicodedata import normalize

from pydantic import Field

from config.toml import DEFAULTS, read, read_text
from config.types import Section

_ACCENTED = re.compile("[à-öø-žß]")
_PLAIN = {"ß": "ss", "æ": "ae", "ı": "i", "ł": "l", "đ": "d"} | {
    umlaut: f"{vowel}e?" for umlaut, vowel in zip("äöüø", "aouo", strict=True)
}

Language = Literal["en", "nl", "de", "fr", "es", "it", "pt", "pl", "other"]
# Of a refusal and of a report as a whole; of what stands around it; of answers.
Reason = Literal[
    "loop", "sender", "relay", "size", "content", "full", "rate", "network", "site", "no_mail", "temporarily", "maybe"
]
State = Literal[
    "gone", "unknown", "closed", "unavailable", "refuses", "originator", "domain", "object", "ip", "failure", "delay"
]
Place = Literal[
    "subject", "digest", "recipient", "reason", "author", "sent_by", "detail", "contact", "returned", "success"
]
Answer = Literal["away_subject", "away", "challenge"]
Kind = Reason | State | Place | Answer | Literal["policy", "negation", "existence", "existence_first"]
ByLanguage = dict[Language, dict[Kind, list[str]]]


class PhraseFile(Section):
    """One of the files. ``samples``: texts that must be read as the kind that they stand under."""

    words: ByLanguage
    samples: ByLanguage = Field(default_factory=dict)


def every(kind: Kind) -> list[str]:
    """Return the phrases of ``kind`` in all languages."""
    return [_spelled(each) for file in _shipped() for words in file.words.values() for each in words.get(kind, ())]


def _spelled(phrase: str) -> str:
    """Return ``phrase`` with each accented letter also as the plain ones, or as whatever a wrong charset made of it."""
    first = _ACCENTED.sub(lambda letter: f"(?:{letter[0]}|{_plain(letter[0])})", phrase[:1])
    return first + _ACCENTED.sub(lambda letter: rf"(?:[^a-z\s]{{1,2}}|{_plain(letter[0])})", phrase[1:])


def _plain(letter: str) -> str:
    return _PLAIN.get(letter) or normalize("NFD", letter)[0]


@cache
def phrases(kind: Kind, pattern: str = "{}") -> re.Pattern[str]:
    """Return what finds any phrase of ``kind`` in lower-case text, in the place of ``{}`` in ``pattern``."""
    return re.compile(pattern.replace("{}", f"(?:{'|'.join(every(kind))})", 1), re.DOTALL)


def samples() -> Mapping[Language, Mapping[Kind, list[str]]]:
    """Return the texts that prove the words of each language."""
    return {language: kinds for file in _shipped() for language, kinds in file.samples.items()}


@cache
def _shipped() -> tuple[PhraseFile, ...]:
    names = ("bounce-words.toml", "bounce-layout.toml")
    return tuple(
        read(read_text(DEFAULTS / name), f"config/defaults/{name}", PhraseFile, lambda _: ()) for name in names
    )
