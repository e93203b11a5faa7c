"""Count to how many recipients each account sent the same text within the hour.

Invariants: bounded: beyond ``MOST`` hashes the counts of the hour begin anew.

Limitations: each worker counts for itself, so a limit holds for each worker; a restart forgets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from policy.text.same_text import repeats_of

MOST = 100_000


class RepeatedTexts:
    def __init__(self) -> None:
        self._hour = -1
        self._counts: Counter[tuple[int, int]] = Counter()

    def seen(self, account_id: int, sketch: Sequence[int], at: datetime) -> int:
        """Return to how many recipients the text went in the hour of ``at``."""
        self._turn(at)
        return repeats_of([self._counts[account_id, each] for each in sketch])

    def count(self, account_id: int, sketch: Sequence[int], recipients: int, at: datetime) -> None:
        self._turn(at)
        for each in sketch:
            self._counts[account_id, each] += recipients

    def _turn(self, at: datetime) -> None:
        hour = int(at.timestamp()) // 3600
        if hour != self._hour or len(self._counts) > MOST:
            self._hour = hour
            self._counts.clear()
