"""What reading one message may cost, shared by all its parts: no message is so intricate that judging it stalls.

The limits are far above what mail for people needs; a message beyond them is one that cannot be read (``fault``), and
rules that need its text refuse it.
"""

from __future__ import annotations

from dataclasses import dataclass


class TooIntricate(Exception):
    """The budget does not suffice; the text of the exception goes after "the message" or "the HTML"."""


@dataclass(slots=True)
class ReadingBudget:
    """What is left. ``characters``: of text in all bodies; ``tags``: of all HTML; ``css``: characters of
    styles; ``steps``: from an element to another
    when styles are followed, for elements inherit from those around them."""

    characters: int = 1_000_000
    tags: int = 5000
    css: int = 100_000
    steps: int = 100_000

    def copy(self) -> ReadingBudget:
        """Return the same, to be compared with later."""
        return ReadingBudget(self.characters, self.tags, self.css, self.steps)

    def less(self, later: ReadingBudget) -> ReadingBudget:
        """Return what was taken until ``later``."""
        return ReadingBudget(
            self.characters - later.characters, self.tags - later.tags, self.css - later.css, self.steps - later.steps
        )

    def covers(self, spent: ReadingBudget) -> bool:
        """Return whether ``spent`` can be taken."""
        left = self.less(spent)
        return min(left.characters, left.tags, left.css, left.steps) >= 0

    def take(self, spent: ReadingBudget) -> None:
        """Take as much as was taken before."""
        left = self.less(spent)
        self.characters, self.tags, self.css, self.steps = left.characters, left.tags, left.css, left.steps

    def take_characters(self, count: int) -> None:
        """Raises TooIntricate."""
        self.characters -= count
        if self.characters < 0:
            raise TooIntricate("has too much text to be read")

    def take_tags(self, count: int) -> None:
        """Raises TooIntricate."""
        if count > self.tags:
            raise TooIntricate(f"has {count} tags, at most {self.tags} are read")
        self.tags -= count

    def take_css(self, count: int) -> None:
        """Raises TooIntricate."""
        self.css -= count
        if self.css < 0:
            raise TooIntricate("has style sheets too long to be read")

    def take_steps(self, count: int = 1) -> None:
        """Raises TooIntricate."""
        self.steps -= count
        if self.steps < 0:
            raise TooIntricate("has styles that take too long to follow")
