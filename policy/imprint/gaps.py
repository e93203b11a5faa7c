"""Explain what a legal notice lacks: what was expected, and what the message contains instead.

A sender whose mail is rejected looks at it and sees the notice, so the rejection says if it is hidden, if it is the
alternative text of an image, or if another number is in its place.

Invariants: only what is registered for the account is quoted, and register numbers, which are public.

Limitations: another company's name or address is not recognised as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policy.accounts.account import Identity
from policy.imprint.legal_notice import Field, Want, missing
from policy.imprint.registers import shown_in
from policy.text.header_text import shown
from policy.text.message_text import MessageText
from policy.text.text_match import fold, together

LANGUAGES = {"nl": "Dutch", "de": "German", "fr": "French", "es": "Spanish", "en": "English"}
MOST = 100  # pieces of hidden text that are looked through


@dataclass(frozen=True, slots=True)
class Gaps:
    """What does not show of one identity; nothing, if the notice is complete."""

    identity: Identity
    lacking: tuple[Want, ...]

    @property
    def language(self) -> str:
        return LANGUAGES.get(self.identity.language, self.identity.language)


def explain(gaps: Gaps, account: str, reading: MessageText) -> str:
    """Which fields do not show, what was expected, what is there instead, and the remedy."""
    elsewhere = list(_elsewhere(reading))
    lacking = together(
        f"the {want.title} ({want.expected}{_instead(want, gaps.identity, reading, elsewhere)})"
        for want in gaps.lacking
    )
    unread = f"; part of the message could not be read: {reading.fault}" if reading.fault else ""
    return (
        f"the legal notice does not show {lacking}; write it into text that shows, "
        f"as registered in {gaps.language} for account {account}{unread}"
    )


def _elsewhere(reading: MessageText) -> Iterator[tuple[str, str]]:
    """Text that does not show, folded, and what is to be said of what stands there."""
    ways: dict[str, list[str]] = {}
    for hidden in reading.hidden[:MOST]:
        ways.setdefault(hidden.how.value, []).append(hidden.text)
    for how, texts in ways.items():
        yield fold("\n".join(texts)), f", which is there but does not show: {how}"
    for piece in reading.unproven[:MOST]:
        yield fold(piece.text), f", which is there, but it is not proved that it shows: {shown(piece.why, 80)}"
    alternatives = "\n".join(image.alt for image in reading.images)
    yield fold(alternatives), ", which stands in the alternative text of a picture only"


def _instead(want: Want, identity: Identity, reading: MessageText, elsewhere: list[tuple[str, str]]) -> str:
    """What the message has in place of what is missing, as the end of an explanation."""
    for text, remark in elsewhere:
        if not missing(text, (want,)):
            return remark
    if want.field is Field.REGISTER:
        others = shown_in(reading.visible, identity.register, identity.country)
        if others:
            return f"; the message shows {', '.join(map(shown, others))}"
    return ""
