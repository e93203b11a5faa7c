"""Purpose: what the transactional mail of a credential is for, and what its subjects look like.

A reviewer grants ``order: Your order * is on its way``. ``*`` is any text; what a subject must begin with, hold and end
with stands around it.

Invariants: a sample says something: it has at least ``LETTERS`` letters beside its wildcards.

Limitations: subjects are compared, not texts.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

LETTERS = 5
LONGEST = 200  # characters of one purpose


class PurposeError(ValueError):
    """Why words are no purpose; the text says how to write one."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """``name``: order, password, ticket; ``subject``: a sample, with ``*`` for what differs."""

    name: str
    subject: str
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pieces = map(re.escape, _plain(self.subject).split("*"))
        object.__setattr__(self, "_pattern", re.compile(".*".join(pieces)))

    @classmethod
    def parse(cls, text: str) -> Purpose:
        """Return the purpose written as ``name: subject``. Raises PurposeError."""
        name, colon, subject = (part.strip() for part in text.partition(":"))
        if not colon or not name or not subject or not text.isprintable() or len(text) > LONGEST:
            raise PurposeError(f'{text[:60]!r} is no purpose; write "what: a subject", such as "order: Your order *"')
        if sum(map(str.isalpha, subject)) < LETTERS:
            raise PurposeError(f"{subject!r} would fit any subject; a sample has at least {LETTERS} letters beside *")
        return cls(name, subject)

    def fits(self, subject: str) -> bool:
        """Return whether a message with ``subject`` looks like the sample."""
        return self._pattern.fullmatch(_plain(subject)) is not None

    def __str__(self) -> str:
        return f"{self.name}: {self.subject}"


def _plain(subject: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", subject).casefold().split())
