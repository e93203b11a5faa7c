"""Lines of a text that were wrapped because they were full, put together again."""

from __future__ import annotations

FULL = 50  # characters of a line that may have been wrapped

_OPENING = "\"'(«„“"


def unwrapped(text: str, end: str = "\n", ignored: str = "") -> str:
    """Return ``text`` with ``end`` in place of those line ends that end a line; the others are blanks. A line goes on
    in the next that begins with a small letter, or if it is full or a question. ``ignored``: signs that are no text."""
    pieces: list[str] = []
    before = ""
    for line in text.split("\n"):
        line = line.strip()
        if not line:
            continue
        shown = "".join(letter for letter in line if letter not in ignored)
        goes_on = before[-1:] not in (end, ".", "!") and (
            shown.lstrip(_OPENING)[:1].islower() or len(before) >= FULL or before[-1:] == "?"
        )
        pieces += [" " if goes_on else end] if pieces else []
        pieces.append(line)
        before = shown
    tail = end if text.endswith("\n") and end == "\n" and pieces else ""
    head = end if text.startswith("\n") and end == "\n" else ""
    return f"{head}{''.join(pieces)}{tail}"
