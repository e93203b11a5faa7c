"""Lists of names that rules compare with: shipped as TOML under ``config/defaults``, in groups, read once.

Invariants: the service never starts with half a list: an unreadable file is an installation error.

Limitations: the lists are the same for all profiles; additions and exceptions of a profile are settings of its rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from pydantic import Field

from config.toml import DEFAULTS, read, read_text
from config.types import Section
from policy.text.header_text import plain

SIGNS = "[-_.]?"  # what a blank in a name stands for


class Groups(Section):
    """A file of names."""

    groups: dict[str, list[str]] = Field(min_length=1)


@lru_cache(16)
def shipped(name: str) -> Mapping[str, tuple[str, ...]]:
    """The names in ``config/defaults/NAME.toml``, by group. Raises ConfigError."""
    text = read_text(DEFAULTS / f"{name}.toml")
    file = read(text, f"config/defaults/{name}.toml", Groups, lambda _: ())
    return {group: tuple(names) for group, names in file.groups.items()}


def bare(text: str) -> str:
    """``text`` for comparing with names of a list: plain (``policy.text.header_text``) and without accents."""
    text = plain(text)
    if text.isascii():
        return text
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))


def spellings(names: Iterable[str]) -> Iterator[str]:
    """Each name, bare; one with blanks in each of the ways in which they can be filled, all alike."""
    for name in names:
        parts = bare(name).split()
        for sign in ("", "-", "_", ".") if len(parts) > 1 else ("",):
            yield sign.join(parts)


def anywhere(names: Iterable[str]) -> re.Pattern[str]:
    """Finds a name in bare text, between signs that are no letters; digits may follow it."""
    found = "|".join(sorted({SIGNS.join(map(re.escape, bare(name).split())) for name in names}, key=len, reverse=True))
    return re.compile(rf"(?:\A|[^a-z0-9])({found})[0-9]*(?:\Z|[^a-z0-9])")
