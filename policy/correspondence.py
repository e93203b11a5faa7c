"""The frame of mail to people: whom it is for, the greeting, and who signs it."""

from __future__ import annotations

from collections.abc import Sequence

from policy.languages import TextLanguage, load_texts


def framed(lines: Sequence[str], language: TextLanguage, issuer: str, addressee: str = "") -> str:
    """Return the text of a mail. ``issuer``: who runs the service. Raises ConfigError."""
    words = load_texts()[language].correspondence
    head = [addressee, ""] if addressee else []
    body = "\n".join(lines).strip("\n")
    return "\n".join([*head, words.greeting, "", body, "", words.closing, "", words.desk, issuer]) + "\n"
