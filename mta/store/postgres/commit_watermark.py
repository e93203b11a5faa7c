"""Up to which id a table can be read in order while several transactions insert into it.

Ids are drawn before their transactions commit, so a row may appear behind rows already read. An id is safe once every
transaction that may have drawn a lower one has ended. Writers have a transaction number when they draw an id; the
reader
takes the last id, then a transaction number of its own, the fence: once no transaction up to the fence is running,
nothing can appear up to that id.

Invariants: no reader passes a row that is still to come.

Limitations: a long transaction keeps the watermark where it is, whatever it does.
"""

from __future__ import annotations

from collections import deque

_MOST = 60  # marks waiting; while there are so many no new one is needed


class Horizon:
    """Pure: it is told what the database says."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque()  # last id, fence
        self.reached = 0

    @property
    def newest(self) -> int:
        """The last id that was marked."""
        return self._marks[-1][0] if self._marks else self.reached

    @property
    def is_full(self) -> bool:
        return len(self._marks) >= _MOST

    def mark(self, last: int, fence: int) -> None:
        """``last``: the highest id drawn so far; ``fence``: a transaction number taken after that was read."""
        self._marks.append((last, fence))

    def move(self, oldest: int) -> int:
        """``oldest``: no transaction with a lower number is running. The id up to which nothing new can appear."""
        while self._marks and self._marks[0][1] < oldest:
            self.reached = max(self.reached, self._marks.popleft()[0])
        return self.reached
