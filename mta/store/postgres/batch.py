"""Natural batching: items that arrive during a flush are flushed together afterwards.

When no flush has run lately, an item leaves at once. The busier the service, the larger the batches and the cheaper
each item.

Invariants: no item is lost, or held back longer than the flush before it and the pause behind that, and every waiter is
answered; the cancellation of one waiter does not affect the others.

Limitations: a slow flush delays everything that arrived after it, up to the deadline it is given.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from mta.observe.log import get_logger

log = get_logger()

Item = TypeVar("Item")
Result = TypeVar("Result")

LATELY = 8  # flushes

Waiting = tuple[Item, int, float, asyncio.Future[Result]]  # its weight, the loop time at which it came
Flush = Callable[[list[Item], float], Awaitable[Sequence[Result | Exception]]]


class Batch(Generic[Item, Result]):
    """Calls ``flush(items, since)`` for as many as wait, at most ``items`` of them weighing at most ``weight``.

    ``since``: loop time at which the oldest of them came. It returns one result or exception for each item, in order,
    or raises for all. ``weigh``: an item's weight; one that is heavier than the limit goes alone.
    ``abandoned(item, result)`` is told of a success whose waiter was cancelled while the flush was on its way; an
    item whose waiter was cancelled before is dropped, unless ``keeps`` says that it must be flushed all the same.
    ``apart``: seconds between the beginnings of two flushes, at least, unless as many ``items`` wait as one takes.
    ``closed_loop``: callers come again only once they are answered, so that nobody else need be waited for when as many
    are there as lately came together: one caller alone never waits, many wait for each other.
    """

    def __init__(
        self,
        flush: Flush[Item, Result],
        *,
        items: int,
        weight: int = 0,
        weigh: Callable[[Item], int] = lambda _: 0,
        abandoned: Callable[[Item, Result], None] = lambda _item, _result: None,
        keeps: bool = False,
        apart: float = 0.0,
        closed_loop: bool = False,
    ) -> None:
        self._flush, self._apart, self._closed_loop = flush, apart, closed_loop
        self._max_items, self._max_weight, self._weigh = items, weight, weigh
        self._abandoned, self._keeps = abandoned, keeps
        self._queue: deque[Waiting[Item, Result]] = deque()
        self._flying = 0
        self._running: asyncio.Task[None] | None = None
        self._full = asyncio.Event()
        self._sizes: deque[int] = deque((1,), LATELY)  # of the last flushes

    @property
    def pending(self) -> int:
        """Items waiting or on their way."""
        return len(self._queue) + self._flying

    async def do(self, item: Item) -> Result:
        """The result for ``item``, once a flush has taken it. Raises what the flush says."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        self._queue.append((item, self._weigh(item), loop.time(), answer))
        if len(self._queue) >= self._enough:
            self._full.set()
        if self._running is None:
            self._running = loop.create_task(self._run())
        return await answer

    @property
    def _enough(self) -> int:
        """Items that need not wait for more."""
        return max(self._sizes) if self._closed_loop else self._max_items

    async def drain(self) -> None:
        """Wait until nothing is pending."""
        while self._running is not None:
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while taken := self._take():
                self._flying, began = len(taken), clock()
                self._sizes.append(len(taken))
                try:
                    results = await self._flush([item for item, *_ in taken], taken[0][2])
                    assert len(results) == len(taken)
                except Exception as error:
                    results = [error] * len(taken)
                except asyncio.CancelledError:  # the service ends: nobody waits in vain
                    for *_, answer in (*taken, *self._queue):
                        answer.cancel()
                    raise
                finally:
                    self._flying = 0
                for (item, *_, answer), result in zip(taken, results, strict=True):
                    self._tell(item, answer, result)
                if self._apart:
                    await self._pause(began + self._apart)
        finally:
            self._running = None

    async def _pause(self, until: float) -> None:
        """Wait until then, or until there is enough for a flush."""
        self._full.clear()
        try:
            async with asyncio.timeout_at(until):
                if len(self._queue) < self._enough:
                    await self._full.wait()
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            for *_, answer in self._queue:
                answer.cancel()
            raise

    def _take(self) -> list[Waiting[Item, Result]]:
        """The next batch, in order of arrival."""
        taken: list[Waiting[Item, Result]] = []
        weight = 0
        while self._queue and len(taken) < self._max_items:
            _, heavy, _, answer = self._queue[0]
            if answer.cancelled() and not self._keeps:
                self._queue.popleft()
                continue
            weight += heavy
            if taken and weight > self._max_weight > 0:
                break
            taken.append(self._queue.popleft())
        return taken

    def _tell(self, item: Item, answer: asyncio.Future[Result], result: Result | Exception) -> None:
        if isinstance(result, Exception):
            if not answer.done():
                answer.set_exception(_own(result))
        elif not answer.done():
            answer.set_result(result)
        else:
            try:
                self._abandoned(item, result)
            except Exception:
                log.exception("abandoned result could not be handled")


def _own(error: Exception) -> Exception:
    """A copy for one waiter: a shared exception would collect the tracebacks of them all."""
    try:
        return copy.copy(error)
    except Exception:  # its class takes other arguments than it shows
        return error
