"""What may vary between the messages of a mailing: its kinds, and which values each of them takes.

Invariants: no value holds markup, the start of a link, white space other than single spaces, or a character that turns
the direction of writing. An address is the recipient's own.

Limitations: a name of six words is six words, whatever they say. A token is a token: what a site shows for it is not
looked at.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from html import unescape
from urllib.parse import unquote

from mta.mail.address import Address, AddressError
from mta.mail.headers import Headers
from policy.text.author import Author, read_author


class VariableKind(Enum):
    """What stands there."""

    ADDRESS = "address"  # the recipient's
    NAME = "name"
    NUMBER = "number"
    CODE = "code"  # letters and digits in text, such as a voucher
    TOKEN = "token"  # the same in a link  # noqa: S105 - no password


WORDS = 6  # of a name
_NAME = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0300-\u036f]|['’ʼ·-]|\.(?=[ ,]|\Z)| (?! )){0,59}")
_NUMBER = re.compile(r"\d(?:[\d.,:/’'-]| (?=\d)){0,19}")
_CODE = re.compile(r"(?=[A-Za-z-]*\d)[A-Za-z0-9](?:[A-Za-z0-9]|-(?!-)){0,39}")
_LETTER = r"(?:[A-Za-z0-9_~=-]|%2[Bb]|%3[Dd])"
TOKEN = re.compile(rf"{_LETTER}+(?:%2[Ff]{_LETTER}+)*")
_SLUG_WORD = re.compile(r"[A-Za-z]?[a-z]*[g-z][a-z]*\Z")
_RAW = re.compile(r"[^\s<>\"'`\\]+\Z")

MOST = {VariableKind.ADDRESS: 400, VariableKind.NAME: 120, VariableKind.NUMBER: 20, VariableKind.CODE: 40}


class Reader:
    """Whom a message is for, by its To field and its ``recipients``, or by the To field alone; read on demand."""

    def __init__(self, headers: Headers, recipients: Collection[Address] = ()) -> None:
        self._headers, self._recipients = headers, recipients

    @cached_property
    def _named(self) -> tuple[Author, ...]:
        found = []
        for value in self._headers.all(b"to"):
            try:
                found.append(read_author(value))
            except AddressError:
                continue
        return tuple(found)

    @property
    def name(self) -> str:
        """The name as the To field has it, "" if there are several or none."""
        names = [to.name for to in self._named if to.name]
        return names[0] if len(names) == 1 else ""

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of all names in the To field, case folded."""
        return frozenset(word for to in self._named for word in _words(to.name))

    @cached_property
    def addresses(self) -> frozenset[str]:
        """The recipients, in lower case."""
        return frozenset(str(each).lower() for each in self._recipients or [to.address for to in self._named])


@dataclass(frozen=True, slots=True)
class Variable:
    """A place in a text that may vary. ``slot``: places with the same one have the same value in a message; "" for
    those that do not need to. ``bound``: the value must be the reader's own, as the To field has it."""

    start: int
    end: int
    kind: VariableKind
    slot: str = ""
    bound: bool = False

    @property
    def most(self) -> int:
        """How many characters a value may have in the source of the text."""
        return MOST.get(self.kind) or 2 * (self.end - self.start) + 32

    def takes(self, raw: str, reader: Reader) -> bool:
        """Whether ``raw``, the source of a text, may stand here in a message to ``reader``."""
        match self.kind:
            case VariableKind.ADDRESS:
                return bool(_RAW.match(raw)) and unquote(unescape(raw)).lower() in reader.addresses
            case VariableKind.TOKEN:
                return TOKEN.fullmatch(raw) is not None and not is_slug(raw)
            case VariableKind.NAME:
                value = said(raw)
                return is_name(value) and (not self.bound or _words(value) <= reader.words)
            case VariableKind.NUMBER:
                return _NUMBER.fullmatch(raw) is not None
            case VariableKind.CODE:
                return _CODE.fullmatch(raw) is not None


def said(raw: str) -> str:
    """Return what the source of a text says: its character references resolved."""
    return unescape(raw) if "&" in raw else raw


def is_name(value: str) -> bool:
    """Whether this could be a person's name, and nothing that mail programs make a link of."""
    return _NAME.fullmatch(value) is not None and len(value.split()) <= WORDS


def is_slug(token: str) -> bool:
    """Whether a part of a link is made of words, such as ``summer-sale``, which says something to its reader."""
    if token.isalnum():
        return False
    words = [word for word in re.split(r"[-_~=]|%2[BbFf]|%3[Dd]", token) if len(word) >= 3]
    return sum(1 for word in words if _SLUG_WORD.match(word)) >= 2


def is_token(text: str) -> bool:
    """Whether a part of a link looks like one that is made for each recipient."""
    varied = any(letter.isdigit() for letter in text)
    mixed = len(text) >= 20 and not text.islower() and not text.isupper()
    return (varied or mixed) and not is_slug(text)


def kind_of(values: Iterable[str]) -> VariableKind | None:
    """Return the kind that all of these texts are, None if there is none."""
    values = list(values)
    for kind, fits in (
        (VariableKind.NAME, is_name),
        (VariableKind.NUMBER, _NUMBER.fullmatch),
        (VariableKind.CODE, _CODE.fullmatch),
    ):
        if all(fits(value) for value in values):
            return kind
    return None


def _words(name: str) -> frozenset[str]:
    return frozenset(word.strip(".,'’-").casefold() for word in name.split())
