"""Joins the items of concurrent requests into batches for one scoring thread.

    event loop --score(items)--> queue of jobs --take()--> thread: scorer.score(batch) --> futures

The thread takes its next batch itself, so that it never waits for a busy event loop. A batch takes
up to `SLICE` items of each waiting job in turn until it is full: a small request is not held up by
a large one before it. Only after a batch that joined several requests does the thread wait up to
`GATHER_S` for more; a lone client never waits. An item that stands twice in a batch is scored once.

When scoring a batch fails it is halved until the culprit stands alone. Input that the scorer
refuses is that request's error; an item it merely fails on is *unscored*, with the reason. If
even `PROBE` cannot be scored, the scorer is broken and the batch's requests are told so.

>>> from trueline.rewards.rules import Regex
>>> batcher = Batcher(Regex(must=("2",)), max_queue=64); batcher.start()
>>> [row.mean for row in asyncio.run(batcher.score([PROBE, (PROBE[0], "3")]))]
[1.0, 0.0]
>>> batcher.close()
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trueline.errors import InputError, TruelineError
from trueline.protocols import Scorer
from trueline.records import Outcome, Prompt, Score

__all__ = ["Batcher", "Item", "QueueFull", "ScorerBroken", "Stats"]

Item = tuple[Prompt, str]
"""A prompt and the response to it."""

MAX_ITEMS, MAX_CHARS = 256, 1_000_000
"""Of one batch; the trunk divides it further, by tokens."""
SLICE = 32
GATHER_S = 0.002
PROBE: Item = (Prompt.of("1 + 1"), "2")


class ScorerBroken(TruelineError):
    """The scorer fails on everything."""


class QueueFull(TruelineError):
    """There is no room for a request now; `retry_s`: when there should be."""

    def __init__(self, must: str, *, got: str, retry_s: int) -> None:
        super().__init__(must, got=got, do=f"send it again in {retry_s} s")
        self.retry_s = retry_s


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


@dataclass(eq=False)
class _Job:
    """One request's items and what is known of them."""

    items: Sequence[Item]
    done: asyncio.Future[list[Score]]
    rows: list[Score | TruelineError | None] = field(init=False)
    taken: int = 0
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.rows, self.left = [None] * len(self.items), len(self.items)


class Batcher:
    """Scores what requests bring, in batches, on a thread of its own."""

    def __init__(self, scorer: Scorer, *, max_queue: int) -> None:
        self.scorer, self.max_queue = scorer, max_queue
        self.stats = Stats()
        self.queued = 0
        """Items accepted and not yet taken by the thread."""
        self._jobs: deque[_Job] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._crowded = False
        self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it scores."""
        return self._thread.is_alive() and not self._closing

    def start(self) -> None:
        """Score the probe, which warms the scorer up and proves that it works; then begin."""
        if self.alive:
            return
        self.scorer.score([PROBE[0]], [PROBE[1]])
        self._thread.start()

    def close(self) -> None:
        """Finish what was accepted, then stop the thread."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()

    async def score(self, items: Sequence[Item]) -> list[Score]:
        """Scores of one request's items, in order; raises what one of them was refused for."""
        loop = asyncio.get_running_loop()
        job = _Job(items, loop.create_future())
        if not items:
            return []
        with self._ready:
            if not self.alive:
                raise ScorerBroken("the server must be up to score", got="one that is closing")
            if self.queued + len(items) > self.max_queue:
                raise QueueFull(
                    f"the queue holds at most {self.max_queue} items",
                    got=f"{self.queued} waiting and {len(items)} more",
                    retry_s=self._wait_s(),
                )
            self.queued += len(items)
            self._jobs.append(job)
            self._ready.notify()
        try:
            return await job.done
        except asyncio.CancelledError:
            self._forget(job)
            raise

    def _forget(self, job: _Job) -> None:
        """Drop what nobody waits for any more (a time-out)."""
        with self._ready:
            if job in self._jobs:
                self._jobs.remove(job)
                self.queued -= len(job.items) - job.taken

    def _wait_s(self) -> int:
        """Seconds until the queue should be empty."""
        done = self.stats.scored + self.stats.unscored
        rate = done / self.stats.busy_s if done else 100.0
        return int(min(60, 1 + self.queued / rate))

    def _work(self) -> None:
        batch: list[tuple[_Job, int]] = []
        try:
            while batch := self._take():
                self._settle(batch)
        except BaseException as error:
            # A fault of this file: nobody may wait for ever, and the health page must say it.
            with self._ready:
                self._closing, self.stats.trouble = True, repr(error)
                stuck = [*self._jobs, *(job for job, _ in batch)]
            for job in stuck:
                job.rows = [ScorerBroken("the scoring thread must live", got=repr(error))]
            self._deliver(stuck)
            raise

    def _take(self) -> list[tuple[_Job, int]]:
        """The next batch as (job, item's number); empty when it is time to stop."""
        batch: list[tuple[_Job, int]] = []
        with self._ready:
            while not self._jobs and not self._closing:
                self._ready.wait()
            if self._crowded and not self._closing:
                until = time.monotonic() + GATHER_S
                while self.queued < MAX_ITEMS and (left := until - time.monotonic()) > 0:
                    self._ready.wait(left)
            chars = 0
            while self._jobs and len(batch) < MAX_ITEMS and chars < MAX_CHARS:
                job = self._jobs.popleft()
                stop = min(len(job.items), job.taken + SLICE, job.taken + MAX_ITEMS - len(batch))
                while job.taken < stop and chars < MAX_CHARS:
                    prompt, response = job.items[job.taken]
                    chars += len(response) + sum(len(turn.content) for turn in prompt.messages)
                    batch.append((job, job.taken))
                    job.taken += 1
                if job.taken < len(job.items):
                    self._jobs.append(job)
            self.queued -= len(batch)
            self._crowded = len({id(job) for job, _ in batch}) > 1
        return batch

    def _settle(self, batch: list[tuple[_Job, int]]) -> None:
        """Score a batch and answer the requests that are complete with it."""
        places: dict[Item, list[tuple[_Job, int]]] = {}
        for job, i in batch:
            places.setdefault(job.items[i], []).append((job, i))
        started = time.perf_counter()
        try:
            found = self._score(list(places))
            self.stats.trouble = None
        except ScorerBroken as error:
            found, self.stats.trouble = [error] * len(places), str(error)
        self.stats.busy_s += time.perf_counter() - started
        self.stats.batches += 1
        finished = []
        for row, where in zip(found, places.values(), strict=True):
            for job, i in where:
                job.rows[i] = row
                job.left -= 1
                if isinstance(row, TruelineError):
                    self.stats.failed += 1
                elif row.outcome is Outcome.SCORED:
                    self.stats.scored += 1
                else:
                    self.stats.unscored += 1
                if not job.left:
                    finished.append(job)
        self._deliver(finished)

    def _score(self, items: list[Item]) -> list[Score | TruelineError]:
        """One row an item; halves what fails."""
        try:
            scores = self.scorer.score([p for p, _ in items], [text for _, text in items])
            if len(scores) != len(items):
                raise ScorerBroken(
                    "a scorer must give one score an item", got=f"{len(scores)} for {len(items)}"
                )
            return list(scores)
        except InputError as error:
            if len(items) == 1:
                return [error]
        except Exception as error:
            if len(items) == 1:
                line = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                if items[0] == PROBE:
                    raise ScorerBroken("the scorer must work", got=line) from error
                self._score([PROBE])
                return [Score(outcome=Outcome.UNSCORED, reason=f"the scorer failed on it ({line})")]
        half = len(items) // 2
        return self._score(items[:half]) + self._score(items[half:])

    def _deliver(self, jobs: Sequence[_Job]) -> None:
        """Tell the event loop, once for all of them."""
        if jobs:
            jobs[0].done.get_loop().call_soon_threadsafe(_resolve, jobs)


def _resolve(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.done.done():
            continue
        errors = [row for row in job.rows if isinstance(row, TruelineError)]
        if errors:
            job.done.set_exception(errors[0])
        else:
            rows: list[Any] = job.rows
            job.done.set_result(rows)
