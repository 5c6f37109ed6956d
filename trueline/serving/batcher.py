"""Join the items of concurrent requests into batches for one scoring thread.

    score(items) -> queue -> worker task -> thread: scorer.score(batch) -> futures

While the thread scores, requests gather; an item that stands twice in a batch is scored once. When
scoring a batch fails it is halved until the culprit stands alone. Input that the scorer refuses is
that request's error; an item it merely fails on is *unscored*, with the reason. If even `PROBE`
cannot be scored, the scorer is broken and the batch's requests are told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import WithJsonSchema

from trueline.errors import InputError, TruelineError
from trueline.policy.samples import ReadingScorer
from trueline.protocols import Scorer
from trueline.records import Outcome, Prompt, Score
from trueline.rewards.protocols import answered

__all__ = ["Batcher", "Item", "QueueFull", "ScorerBroken", "ServedScore"]

Item = tuple[Prompt, str]
"""A prompt and the response to it."""

MAX_ITEMS = 256
"""Of one batch; the trunk divides batches further, by tokens."""
PROBE: Item = (Prompt.of("1 + 1"), "2")


End = Annotated[float, WithJsonSchema({"type": ["number", "null"]})]
"""An end of an interval; JSON knows no infinity and says null."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedScore(Score):
    """A score, and what of its texts was too long to be read; None where the scorer cannot say."""

    rater_interval: tuple[End, End] | None = None
    """As in `Score`; an end that is null is infinite."""
    answer_cut: bool | None = None
    """The answer was read only up to the trunk's limit: what differs past it scores alike."""
    prompt_cut: bool | None = None
    """The prompt lost its beginning."""


Row = ServedScore | TruelineError


class ScorerBroken(TruelineError):
    """The scorer fails on everything."""


class QueueFull(TruelineError):
    """There is no room for a request now."""


class Batcher:
    """Scores what requests bring, in their order, in batches, on a thread of its own."""

    def __init__(self, scorer: Scorer, *, max_queue: int) -> None:
        self.scorer, self.max_queue = scorer, max_queue
        self.scored = self.unscored = 0
        self.trouble: str | None = None
        """Why the last batch could not be scored, if it could not."""
        self.alive = False
        """Whether requests are accepted."""
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[ServedScore]]] = asyncio.Queue()

    @property
    def queued(self) -> int:
        """Items accepted and not yet taken by the thread."""
        return self._queue.qsize()

    def probe(self) -> None:
        """Score one known item, which warms the scorer up and proves that it works."""
        self.scorer.score([PROBE[0]], [PROBE[1]])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Score within the block; at its end finish what was accepted."""
        with ThreadPoolExecutor(1, "scoring") as thread:
            worker = asyncio.create_task(self._work(thread))
            self.alive = True
            try:
                yield
            finally:
                self.alive = False
                await self._queue.join()
                worker.cancel()

    async def score(self, items: Sequence[Item]) -> list[ServedScore]:
        """Return the scores of one request's items in order; raise what one was refused for."""
        if not self.alive:
            raise ScorerBroken("the server must be up to score", got="one that is closing")
        if self.queued + len(items) > self.max_queue:
            raise QueueFull(
                f"the queue holds at most {self.max_queue} items",
                got=f"{self.queued} waiting and {len(items)} more",
                do="send it again later",
            )
        rows = [asyncio.get_running_loop().create_future() for _ in items]
        for item, row in zip(items, rows, strict=True):
            self._queue.put_nowait((item, row))
        try:
            return list(await asyncio.gather(*rows))
        finally:
            for row in rows:
                # After an error or a time-out nobody waits for the rest any more.
                row.cancel()

    async def _work(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            taken = [await self._queue.get()]
            while len(taken) < MAX_ITEMS and self.queued:
                taken.append(self._queue.get_nowait())
            items = list(dict.fromkeys(item for item, row in taken if not row.done()))
            rows = await loop.run_in_executor(thread, self._rows, items)
            known = dict(zip(items, rows, strict=True))
            for item, row in taken:
                self._queue.task_done()
                if item in known:
                    self._deliver(row, known[item])

    def _deliver(self, place: asyncio.Future[ServedScore], row: Row) -> None:
        if place.done():
            return
        if isinstance(row, TruelineError):
            place.set_exception(row)
            return
        self.scored += row.outcome is Outcome.SCORED
        self.unscored += row.outcome is Outcome.UNSCORED
        place.set_result(row)

    def _rows(self, items: list[Item]) -> list[Row]:
        """Return one row an item; runs on the scoring thread."""
        try:
            rows = self._halved(items) if items else []
        except ScorerBroken as error:
            self.trouble = str(error)
            return [error] * len(items)
        self.trouble = None
        return rows

    def _scores(self, items: list[Item]) -> Iterator[ServedScore]:
        prompts, texts = [prompt for prompt, _ in items], [text for _, text in items]
        if not isinstance(self.scorer, ReadingScorer):
            yield from (ServedScore(**asdict(s)) for s in self.scorer.score(prompts, texts))
            return
        answers = answered(prompts, texts)
        scores, read = self.scorer.read(answers)
        for score, at in zip(scores, read.rows([a.key for a in answers]), strict=True):
            answer_cut, prompt_cut = bool(read.truncated[at]), bool(read.prompt_cut[at])
            yield ServedScore(**asdict(score), answer_cut=answer_cut, prompt_cut=prompt_cut)

    def _halved(self, items: list[Item]) -> list[Row]:
        try:
            return list(self._scores(items))
        except InputError as error:
            if len(items) == 1:
                return [error]
        except Exception as error:
            if len(items) == 1:
                line = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                if items[0] == PROBE:
                    raise ScorerBroken("the scorer must work", got=line) from error
                self._halved([PROBE])
                why = f"the scorer failed on it ({line})"
                return [ServedScore(outcome=Outcome.UNSCORED, reason=why)]
        half = len(items) // 2
        return self._halved(items[:half]) + self._halved(items[half:])
