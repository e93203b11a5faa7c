"""How much of the sending a share is, where several wait for the same: by account, and by priority."""

from __future__ import annotations

from collections.abc import Callable

AccountWeight = Callable[[int], float]  # of an account, by its id

# 8 starts of priority 9 for each of priority 0, and 8 of these for each of priority -9.
PRIORITY_WEIGHTS = {priority: 2 ** (priority / 3) for priority in range(-9, 10)}
