"""Texts in files that people open with a spreadsheet."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def no_formula(text: str) -> str:
    """Return ``text`` so that no spreadsheet takes it for a formula: strangers write some of it."""
    return f"'{text}" if text.startswith(_FORMULA) else text
