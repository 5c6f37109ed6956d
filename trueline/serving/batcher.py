"""Join the items of concurrent requests into batches for one scoring thread.

    score(items) -> heap -> worker task -> thread: scorer.score(batch) -> futures

While the thread scores, requests gather. The i-th `SLICE` items of a request that came while batch
b was scored wait for their turn b + i: a small request is not held up by a large one before it, and
none waits for ever. An item that stands twice in a batch is scored once.

When scoring a batch fails it is halved until the culprit stands alone. Input that the scorer
refuses is that request's error; an item it merely fails on is *unscored*, with the reason. If
even `PROBE` cannot be scored, the scorer is broken and the batch's requests are told so.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from trueline.errors import InputError, TruelineError
from trueline.protocols import Scorer
from trueline.records import Outcome, Prompt, Score

__all__ = ["Batcher", "Item", "QueueFull", "ScorerBroken", "Stats"]

Item = tuple[Prompt, str]
"""A prompt and the response to it."""
Row = Score | TruelineError

MAX_ITEMS, SLICE = 256, 32
"""Of one batch, and of one request in it; the trunk divides batches further, by tokens."""
PROBE: Item = (Prompt.of("1 + 1"), "2")


class ScorerBroken(TruelineError):
    """The scorer fails on everything."""


class QueueFull(TruelineError):
    """There is no room for a request now."""


@dataclass
class Stats:
    """Counts since the start."""

    batches: int = 0
    scored: int = 0
    unscored: int = 0
    failed: int = 0
    """Items that the scorer refused, or that met a broken one."""
    busy_s: float = 0.0
    """Time spent scoring."""
    trouble: str | None = None
    """Why the last batch could not be scored, if it could not."""


@dataclass(order=True)
class _Waiting:
    """One item of a request; items are scored in the order of turns, then of arrival."""

    turn: int
    arrival: int
    item: Item = field(compare=False)
    row: asyncio.Future[Score] = field(compare=False)


class Batcher:
    """Scores what requests bring, in batches, on a thread of its own."""

    def __init__(self, scorer: Scorer, *, max_queue: int) -> None:
        self.scorer, self.max_queue = scorer, max_queue
        self.stats = Stats()
        self.alive = False
        """Whether requests are accepted."""
        self._heap: list[_Waiting] = []
        self._arrivals = itertools.count()
        self._wake = asyncio.Event()

    @property
    def queued(self) -> int:
        """Items accepted and not yet taken by the thread."""
        return len(self._heap)

    def probe(self) -> None:
        """Score one known item, which warms the scorer up and proves that it works."""
        self.scorer.score([PROBE[0]], [PROBE[1]])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Score within the block; at its end finish what was accepted."""
        with ThreadPoolExecutor(1, "scoring") as thread:
            worker = asyncio.create_task(self._work(thread))
            # A worker that failed accepts nothing more; those who wait for it time out.
            worker.add_done_callback(lambda _: setattr(self, "alive", False))
            self.alive = True
            try:
                yield
            finally:
                self.alive = False
                self._wake.set()
                await worker

    async def score(self, items: Sequence[Item]) -> list[Score]:
        """Return the scores of one request's items in order; raise what one was refused for."""
        if not self.alive:
            raise ScorerBroken("the server must be up to score", got="one that is closing")
        if self.queued + len(items) > self.max_queue:
            raise QueueFull(
                f"the queue holds at most {self.max_queue} items",
                got=f"{self.queued} waiting and {len(items)} more",
                do="send it again later",
            )
        loop, turn = asyncio.get_running_loop(), self.stats.batches
        waiting = [
            _Waiting(turn + i // SLICE, next(self._arrivals), item, loop.create_future())
            for i, item in enumerate(items)
        ]
        for one in waiting:
            heapq.heappush(self._heap, one)
        self._wake.set()
        try:
            return list(await asyncio.gather(*(one.row for one in waiting)))
        finally:
            for one in waiting:
                # After an error or a time-out nobody waits for the rest any more.
                one.row.cancel()

    async def _work(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while self.alive or self._heap:
            batch = self._take()
            if not batch:
                self._wake.clear()
                if self.alive:
                    await self._wake.wait()
                continue
            items = list(dict.fromkeys(one.item for one in batch))
            started = time.perf_counter()
            rows = await loop.run_in_executor(thread, self._rows, items)
            self.stats.busy_s += time.perf_counter() - started
            self.stats.batches += 1
            known = dict(zip(items, rows, strict=True))
            for one in batch:
                self._deliver(one.row, known[one.item])

    def _take(self) -> list[_Waiting]:
        """Return the items of the next batch; what nobody waits for is dropped."""
        batch: list[_Waiting] = []
        while self._heap and len(batch) < MAX_ITEMS:
            one = heapq.heappop(self._heap)
            if not one.row.done():
                batch.append(one)
        return batch

    def _deliver(self, place: asyncio.Future[Score], row: Row) -> None:
        if isinstance(row, TruelineError):
            self.stats.failed += 1
            if not place.done():
                place.set_exception(row)
            return
        self.stats.scored += row.outcome is Outcome.SCORED
        self.stats.unscored += row.outcome is Outcome.UNSCORED
        if not place.done():
            place.set_result(row)

    def _rows(self, items: list[Item]) -> list[Row]:
        """Return one row an item; runs on the scoring thread."""
        try:
            rows = self._halved(items)
        except ScorerBroken as error:
            self.stats.trouble = str(error)
            return [error] * len(items)
        self.stats.trouble = None
        return rows

    def _halved(self, items: list[Item]) -> list[Row]:
        """Score the items; halve what fails."""
        try:
            scores = self.scorer.score([p for p, _ in items], [text for _, text in items])
            if len(scores) != len(items):
                got = f"{len(scores)} for {len(items)}"
                raise ScorerBroken("a scorer must give one score an item", got=got)
            return list(scores)
        except InputError as error:
            if len(items) == 1:
                return [error]
        except Exception as error:
            if len(items) == 1:
                line = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                if items[0] == PROBE:
                    raise ScorerBroken("the scorer must work", got=line) from error
                self._halved([PROBE])
                return [Score(outcome=Outcome.UNSCORED, reason=f"the scorer failed on it ({line})")]
        half = len(items) // 2
        return self._halved(items[:half]) + self._halved(items[half:])
