"""What a trial found, and the sum of many: the digest of ``make reliability``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

VIOLATIONS = ("lost", "torn", "phantom", "suppressed_sent", "unexplained_twice", "more_than_twice", "idle_workers")


@dataclass(frozen=True, slots=True)
class Figures:
    """One trial. Recipients are counted, but for ``accepted`` and ``unknown`` (messages).

    ``twice``: delivered two times; ``unexplained_twice``: of those, not in the window between the receiver's 250 and
    our commit. ``in_flight``: how many of these a fault may cause, as the stopped process goes on. ``recovery``:
    seconds from the end of the load until the queue was empty. ``ledger``: a hash of what was accepted and what
    arrived.
    """

    fault: str
    seed: int
    accepted: int
    unknown: int
    recipients: int
    delivered: int
    ambiguous: int
    twice: int
    unexplained_twice: int
    more_than_twice: int
    lost: int
    torn: int
    phantom: int
    suppressed: int
    suppressed_sent: int
    idle_workers: int
    recovery: float
    ledger: str
    in_flight: int = 0

    @property
    def violations(self) -> dict[str, int]:
        """What happened that must not, and how often."""
        found = {name: int(getattr(self, name)) for name in VIOLATIONS}
        if found["unexplained_twice"] <= self.in_flight:
            found["unexplained_twice"] = 0
        return {name: count for name, count in found.items() if count}

    @property
    def is_clean(self) -> bool:
        return not self.violations

    def line(self) -> str:
        wrong = ", ".join(f"{name} {count}" for name, count in self.violations.items())
        return (
            f"{self.fault} seed {self.seed}: {self.accepted} accepted, {self.delivered} delivered, {self.ambiguous} in"
            f" the window, {self.twice} twice, recovered in {self.recovery:.1f} s, {wrong or 'clean'}"
        )


def ledger_hash(accepted: Mapping[str, bytes], copies: Mapping[tuple[str, str], int]) -> str:
    """Hash what was accepted (id and content) and what arrived (id, recipient, how often)."""
    digest = hashlib.sha256()
    for test_id in sorted(accepted):
        digest.update(test_id.encode() + hashlib.sha256(accepted[test_id]).digest())
    for (test_id, recipient), count in sorted(copies.items()):
        digest.update(f"{test_id} {recipient} {count}\n".encode())
    return digest.hexdigest()


def digest(trials: Sequence[Figures]) -> dict[str, Any]:
    """Return the sums by fault, and every trial."""
    by_fault: dict[str, list[Figures]] = {}
    for trial in trials:
        by_fault.setdefault(trial.fault, []).append(trial)
    return {"sums": {name: _sum(each) for name, each in by_fault.items()}, "trials": [asdict(one) for one in trials]}


def _sum(trials: Sequence[Figures]) -> dict[str, Any]:
    counted = ("accepted", "recipients", "delivered", "ambiguous", "twice", "suppressed", *VIOLATIONS)
    sums: dict[str, Any] = {name: sum(getattr(trial, name) for trial in trials) for name in counted}
    recoveries = sorted(trial.recovery for trial in trials)
    return {
        "runs": len(trials),
        **sums,
        "twice_per_run": round(sums["twice"] / len(trials), 2),
        "recovery_median": round(recoveries[len(recoveries) // 2], 1),
        "recovery_most": round(recoveries[-1], 1),
    }


def table(sums: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the sums as a Markdown table."""
    head = (
        "| fault | runs | messages accepted | lost | torn | suppressed, sent | idle workers | twice | of those"
        " unexplained | twice per run | recovery, median (most), s |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    rows = (
        f"| {name.replace('_', ' ')} | {one['runs']} | {one['accepted']} | {one['lost']} | {one['torn']}"
        f" | {one['suppressed_sent']} of {one['suppressed']} | {one['idle_workers']} | {one['twice']}"
        f" | {one['unexplained_twice'] + one['more_than_twice']} | {one['twice_per_run']}"
        f" | {one['recovery_median']} ({one['recovery_most']}) |\n"
        for name, one in sums.items()
    )
    return head + "".join(rows)
