"""Attachments: no executable file types, no disguised names, limited number and size.

Judged by the file name's ending, as the receiver's system reads it, and by the MIME type; the list is
``config/defaults/attachments.toml``. Attachments of attached messages count.

Invariants: a part whose name or type cannot be read is never passed over.

Limitations: archives are not opened and content is not inspected; that is a scanner's job (rule ``scanned``).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache, lru_cache
from typing import Literal

from pydantic import Field

from config.types import Section
from config.types import Size as Octets
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext
from policy.text.header_text import plain, shown
from policy.text.parts import Attachment
from policy.wordlists import shipped

Kind = Literal["programs", "scripts", "shortcuts", "images", "macros", "pages"]


class Attachments:
    name = "attachments"
    content_only = True

    class Settings(Section):
        """Which attachments are rejected."""

        kinds: list[Kind] = Field(["programs", "scripts", "shortcuts", "images", "macros", "pages"])
        """Groups of file name endings in `config/defaults/attachments.toml` to reject."""
        also: list[str] = Field([])
        """Further endings to reject, without the dot."""
        allowed: list[str] = Field([])
        """Endings to accept all the same."""
        only: list[str] = Field([])
        """If given, only these endings are accepted; parts without a name are accepted."""
        most: int | None = Field(None, ge=0)
        """Maximum number of attachments, inline images included."""
        largest: Octets | None = None
        """Maximum size of one attachment after decoding, e.g. "5MB"."""
        total: Octets | None = None
        """Maximum size of all attachments together after decoding."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._refused = _refused_endings(tuple(settings.kinds), tuple(settings.also), tuple(settings.allowed))
        self._only = frozenset(map(str.lower, settings.only))
        self._types = _types()
        self._settings = settings

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        if fault := facts.reading.structure_fault:
            return _refuse(f"{fault}, so its attachments cannot be checked; send well-formed MIME")
        attached = facts.reading.attachments
        for one in attached:
            if reason := next(self._reasons(one), None):
                return _refuse(f"{_called(one)} {reason}")
        most, total = self._settings.most, sum(one.size for one in attached)
        if most is not None and len(attached) > most:
            return _refuse(f"{len(attached)} attachments, at most {most} are allowed; send fewer, or link them")
        if self._settings.total is not None and total > self._settings.total:
            text = f"{total} octets attached, at most {self._settings.total} are allowed; send less, or link it"
            return _refuse(text, 552, "5.3.4")
        return Pass(), f"{len(attached)} attachments, {total} octets"

    def _reasons(self, one: Attachment) -> Iterator[str]:
        """Why it cannot be taken."""
        endings = _endings(one.name)
        last = endings[-1] if endings else ""
        if "\ufffd" in one.name:
            yield "has characters in its name that hide what it is; name it plainly"
        if last in self._refused:
            disguise = f" in the guise of .{endings[-2]}" if len(endings) > 1 else ""
            yield f"ends in .{last}{disguise}, which runs when it is opened; send another format, or link it"
        if one.type in self._types:
            yield f"is of the type {shown(one.type)}, which runs when it is opened; send another format, or link it"
        if self._only and one.name and last not in self._only:
            yield f"ends in .{shown(last)}; only {', '.join(sorted(self._only))} are allowed"
        if self._settings.largest is not None and one.size > self._settings.largest:
            yield f"has {one.size} octets, at most {self._settings.largest} are allowed; make it smaller, or link it"


def _endings(name: str) -> list[str]:
    """What follows the dots of a name, as Windows reads it: blanks and dots at its end, and streams, do not count."""
    base = plain(name).replace("\\", "/").rpartition("/")[2].partition(":")[0].rstrip(". ")
    return [ending.strip() for ending in base.split(".")[1:]]


def _called(one: Attachment) -> str:
    return f'"{shown(one.name)}"' if one.name else f"an attachment without a name ({shown(one.type)})"


def _refuse(fact: str, code: int = 550, status: str = "5.7.1") -> tuple[Verdict, str]:
    return Refuse(Reply(code, status, f"attachments: {fact}")), ""


@lru_cache(16)
def _refused_endings(kinds: tuple[str, ...], also: tuple[str, ...], allowed: tuple[str, ...]) -> frozenset[str]:
    groups = shipped("attachments")
    named = {*also, *(ending for kind in kinds for ending in groups[kind])}
    return frozenset(map(str.lower, named)) - frozenset(map(str.lower, allowed))


@cache
def _types() -> frozenset[str]:
    return frozenset(shipped("attachments")["types"])
