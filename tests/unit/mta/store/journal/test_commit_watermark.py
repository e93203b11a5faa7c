"""The watermark: whatever transactions do, no reader passes a row that is still to come."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from mta.store.journal.outbox import CommitWatermark


@dataclass
class Server:
    """Transactions that draw ids and end, as PostgreSQL lets them: numbers in order of beginning, ids of drawing."""

    next_number: int = 1
    last_id: int = 0
    running: dict[int, list[int]] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)

    def begin(self) -> None:
        self.running[self.next_number] = []
        self.next_number += 1

    def draw(self, which: int) -> None:
        if self.running:
            self.last_id += 1
            list(self.running.values())[which % len(self.running)].append(self.last_id)

    def end(self, which: int) -> None:
        if self.running:
            number = list(self.running)[which % len(self.running)]
            self.seen |= set(self.running.pop(number))

    def fence(self) -> int:
        self.next_number += 1
        return self.next_number - 1

    @property
    def oldest(self) -> int:
        return min(self.running, default=self.next_number)


STEPS = st.lists(st.tuples(st.sampled_from(["begin", "draw", "draw", "end", "look", "move"]), st.integers(0, 5)))


@settings(max_examples=400)
@given(STEPS)
def test_nothing_appears_behind_the_horizon(steps: list[tuple[str, int]]) -> None:
    server, watermark = Server(), CommitWatermark()
    reached = 0
    for step, which in steps:
        match step:
            case "begin":
                server.begin()
            case "draw":
                server.draw(which)
            case "end":
                server.end(which)
            case "look" if not watermark.is_full:
                watermark.mark(server.last_id, server.fence())
            case _:
                pass
        assert watermark.move(server.oldest) >= reached
        reached = watermark.reached
        drawn = {number for ids in server.running.values() for number in ids}
        assert not {number for number in drawn if number <= reached}
    while server.running:
        server.end(0)
    if not watermark.is_full:
        watermark.mark(server.last_id, server.fence())
    assert watermark.move(server.oldest) == server.last_id or watermark.is_full


def test_marks_are_bounded_while_a_transaction_lasts() -> None:
    watermark = CommitWatermark()
    for number in range(1000):
        if not watermark.is_full:
            watermark.mark(number, number)
    assert watermark.newest < 100
    assert watermark.move(2000) == watermark.newest
