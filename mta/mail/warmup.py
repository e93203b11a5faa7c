"""What is known of one day on which a source sends to a provider group while it warms up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class WarmupDay:
    """``day``: by UTC. ``step``: of the curve, from 0. ``used``: recipients lent to workers and not brought back, so at
    least those sent. ``good``, ``bad``: answers, the bad ones against us as a sender. ``paused``: why it sends no more
    on this day, empty if it does."""

    source: str
    provider: str
    day: date
    step: int
    used: int = 0
    good: int = 0
    bad: int = 0
    paused: str = ""


@dataclass(frozen=True, slots=True)
class WarmupLoan:
    """``granted``: recipients that a worker may send to now, ``others`` of them to such as have shown no interest
    lately. ``wait``, ``others_wait``: seconds until there is more, 0 if there is."""

    granted: int
    others: int
    wait: float = 0.0
    others_wait: float = 0.0
