"""Natural batching: what waits goes together, and nobody's fate touches the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mta.store.postgres.batch import LATELY, Batch


class Sink:
    """A flush that waits to be let go, and remembers what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.answers: dict[int, Exception] = {}
        self.error: Exception | None = None

    async def flush(self, items: list[int], since: float) -> Sequence[int | Exception]:
        self.batches.append(items)
        self.started.set()
        await self.go.wait()
        if self.error:
            raise self.error
        return [self.answers.get(item, 10 * item) for item in items]


@pytest.fixture
async def sink() -> Sink:
    return Sink()


async def ask(batch: Batch[int, int], *items: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(batch.do(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def test_what_comes_during_a_flush_goes_together_with_the_next(sink: Sink) -> None:
    batch: Batch[int, int] = Batch(sink.flush, items=100)
    first = await ask(batch, 1, 2)
    await sink.started.wait()
    later = await ask(batch, 3, 4, 5)
    assert batch.pending == 5
    sink.go.set()
    assert await asyncio.gather(*first, *later) == [10, 20, 30, 40, 50]
    assert sink.batches == [[1, 2], [3, 4, 5]]
    assert batch.pending == 0


async def test_batches_are_bounded_in_number_and_weight(sink: Sink) -> None:
    sink.go.set()
    batch: Batch[int, int] = Batch(sink.flush, items=3, weight=10, weigh=lambda item: item)
    await asyncio.gather(*(batch.do(item) for item in (1, 2, 3, 4, 5, 50, 1)))
    assert sink.batches == [[1, 2, 3], [4, 5], [50], [1]]


async def test_each_waiter_gets_its_own_answer_or_exception(sink: Sink) -> None:
    sink.go.set()
    sink.answers[2] = ValueError("two")
    batch: Batch[int, int] = Batch(sink.flush, items=100)
    assert await asyncio.gather(*(batch.do(item) for item in (1, 3))) == [10, 30]
    one, two = await asyncio.gather(batch.do(1), batch.do(2), return_exceptions=True)
    assert one == 10
    assert isinstance(two, ValueError)


async def test_a_failing_flush_reaches_every_waiter_and_the_next_flush_is_not_touched(sink: Sink) -> None:
    sink.error = OSError("gone")
    batch: Batch[int, int] = Batch(sink.flush, items=100)
    waiting = await ask(batch, 1, 2)
    sink.go.set()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in errors] == ["gone", "gone"]
    assert errors[0] is not errors[1]
    sink.error = None
    assert await batch.do(3) == 30


async def test_a_waiter_cancelled_before_its_flush_is_dropped(sink: Sink) -> None:
    batch: Batch[int, int] = Batch(sink.flush, items=100)
    await ask(batch, 1)
    await sink.started.wait()
    leaving, staying = await ask(batch, 2, 3)
    leaving.cancel()
    await asyncio.sleep(0)
    sink.go.set()
    assert await staying == 30
    assert sink.batches == [[1], [3]]


async def test_a_waiter_cancelled_during_its_flush_is_reported_and_the_others_are_served(sink: Sink) -> None:
    abandoned: list[tuple[int, int]] = []
    batch: Batch[int, int] = Batch(
        sink.flush, items=100, abandoned=lambda item, result: abandoned.append((item, result))
    )
    leaving, staying = await ask(batch, 1, 2)
    await sink.started.wait()
    leaving.cancel()
    await asyncio.sleep(0)
    sink.go.set()
    assert await staying == 20
    assert abandoned == [(1, 10)]


async def test_what_must_be_kept_is_flushed_although_its_waiter_left(sink: Sink) -> None:
    batch: Batch[int, int] = Batch(sink.flush, items=100, keeps=True)
    await ask(batch, 1)
    await sink.started.wait()
    (leaving,) = await ask(batch, 2)
    leaving.cancel()
    await asyncio.sleep(0)
    sink.go.set()
    await batch.drain()
    assert sink.batches == [[1], [2]]
    assert batch.pending == 0


async def test_flushes_are_apart_unless_enough_waits(sink: Sink) -> None:
    sink.go.set()
    batch: Batch[int, int] = Batch(sink.flush, items=3, apart=3600)
    assert await batch.do(1) == 10  # the first one leaves at once
    waiting = await ask(batch, 2, 3)
    await asyncio.sleep(0)
    assert sink.batches == [[1]]
    assert batch.pending == 2
    assert await batch.do(4) == 40  # the third one makes it enough
    assert await asyncio.gather(*waiting) == [20, 30]
    assert sink.batches == [[1], [2, 3, 4]]
    assert batch._running
    batch._running.cancel()


async def test_one_caller_alone_never_waits(sink: Sink) -> None:
    sink.go.set()
    batch: Batch[int, int] = Batch(sink.flush, items=9, apart=3600, closed_loop=True)
    for item in (1, 2, 3):
        assert await batch.do(item) == 10 * item
    assert sink.batches == [[1], [2], [3]]
    assert batch._running
    batch._running.cancel()


async def test_callers_who_came_together_are_waited_for_until_they_stay_away(sink: Sink) -> None:
    batch: Batch[int, int] = Batch(sink.flush, items=9, apart=0.05, closed_loop=True)
    first = await ask(batch, 1)
    await sink.started.wait()
    together = await ask(batch, 2, 3, 4)
    sink.go.set()
    await asyncio.gather(*first, *together)
    assert sink.batches == [[1], [2, 3, 4]]
    two = await ask(batch, 5, 6)
    await asyncio.sleep(0)
    assert batch.pending == 2
    assert await batch.do(7) == 70  # all three are here again
    assert await asyncio.gather(*two) == [50, 60]
    assert await batch.do(8) == 80  # after a while: the others have not come
    assert sink.batches[2:] == [[5, 6, 7], [8]]
    for item in range(9, 9 + LATELY):
        await batch.do(item)
    assert batch._enough == 1


async def test_who_waits_for_the_next_flush_is_told_when_the_batch_ends(sink: Sink) -> None:
    sink.go.set()
    batch: Batch[int, int] = Batch(sink.flush, items=3, apart=3600)
    await batch.do(1)
    (late,) = await ask(batch, 2)
    assert batch._running
    batch._running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
