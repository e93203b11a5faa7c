"""How mail systems word what stands around a reason, and how people word answers, by language.

The phrases are data (``config/defaults/bounce-layout.toml``): a language is added there, not here.
"""

from __future__ import annotations

import re
from functools import cache

from pydantic import Field

from config.toml import DEFAULTS, read, read_text
from config.types import Section

SHIPPED = DEFAULTS / "bounce-layout.toml"


class Layout(Section):
    """The phrases of one language, by what they announce."""

    subject: list[str] = Field(default_factory=list)
    digest: list[str] = Field(default_factory=list)
    recipient: list[str] = Field(default_factory=list)
    reason: list[str] = Field(default_factory=list)
    author: list[str] = Field(default_factory=list)
    sent_by: list[str] = Field(default_factory=list)
    detail: list[str] = Field(default_factory=list)
    contact: list[str] = Field(default_factory=list)
    returned: list[str] = Field(default_factory=list)
    away_subject: list[str] = Field(default_factory=list)
    away: list[str] = Field(default_factory=list)
    challenge: list[str] = Field(default_factory=list)


class LayoutFile(Section):
    """The languages of a file of phrases."""

    en: Layout
    nl: Layout
    de: Layout
    fr: Layout
    es: Layout
    it: Layout
    pt: Layout
    pl: Layout
    other: Layout


@cache
def phrases(kind: str, pattern: str = "{}") -> re.Pattern[str]:
    """Return what finds any phrase of ``kind`` in lower-case text, in the place of ``{}`` in ``pattern``."""
    file = _shipped()
    every = (phrase for language in LayoutFile.model_fields for phrase in getattr(getattr(file, language), kind))
    return re.compile(pattern.replace("{}", f"(?:{'|'.join(every)})", 1), re.DOTALL)


@cache
def _shipped() -> LayoutFile:
    return read(read_text(SHIPPED), "config/defaults/bounce-layout.toml", LayoutFile, lambda _: ())
