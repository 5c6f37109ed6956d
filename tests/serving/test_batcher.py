"""Joining requests: the same numbers, no one lost, one bad item alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from trueline.errors import DataError
from trueline.protocols import Scorer
from trueline.records import Outcome, Prompt
from trueline.serving import batcher as module
from trueline.serving.batcher import Batcher, QueueFull, ScorerBroken

from .conftest import Moody, client, texts


def running(scorer: Scorer, act: Callable[[Batcher], Awaitable[Any]], *, room: int = 10_000) -> Any:
    async def main() -> Any:
        batcher = Batcher(scorer, max_queue=room)
        async with batcher.running():
            result = await act(batcher)
        assert not batcher.alive and batcher.queued == 0
        with pytest.raises(ScorerBroken, match="closing"):
            await batcher.score(items(1))
        return result

    return asyncio.run(main())


def items(count: int, seed: int = 0) -> list[tuple[Prompt, str]]:
    return [(Prompt.of(p), t) for p, t in zip(*texts(count, seed), strict=True)]


@pytest.mark.parametrize("sizes", [[1] * 60, [7, 1, 300, 2, 64, 33], [0]])
def test_rows_are_those_of_scoring_directly(moody: Moody, sizes: list[int]) -> None:
    asked = [items(size, seed) for seed, size in enumerate(sizes)]

    async def act(batcher: Batcher) -> list[Any]:
        return await asyncio.gather(*(batcher.score(one) for one in asked))

    moody.delay_s = 0.005
    for one, rows in zip(asked, running(moody, act), strict=True):
        assert len(rows) == len(one)
        if one:
            direct = moody.inner.score([p for p, _ in one], [t for _, t in one])
            np.testing.assert_allclose([row.mean for row in rows], direct.mean, atol=1e-9)
    assert max(moody.sizes, default=0) <= module.MAX_ITEMS
    assert len(moody.sizes) <= len(sizes) / 2, "joined"


def test_one_bad_item_is_alone(moody: Moody) -> None:
    prompt = Prompt.of("q")

    async def act(batcher: Batcher) -> list[Any]:
        asked = [items(20), [(prompt, "refuse"), *items(2)], [(prompt, "crash"), *items(3)]]
        some = (batcher.score(one) for one in [*asked, items(30, 3)])
        return await asyncio.gather(*some, return_exceptions=True)

    first, refused, crashed, last = running(moody, act)
    assert isinstance(refused, DataError)
    assert [row.outcome for row in crashed] == [Outcome.UNSCORED] + [Outcome.SCORED] * 3
    assert crashed[0].mean is None
    assert crashed[0].reason == "the scorer failed on it (RuntimeError: index out of range)"
    assert all(row.outcome is Outcome.SCORED for row in [*first, *last])


def test_a_full_queue_refuses_and_empties(moody: Moody) -> None:
    async def act(batcher: Batcher) -> None:
        moody.delay_s = 0.05
        jobs = [asyncio.create_task(batcher.score(items(8)))]
        await asyncio.sleep(0.03)
        jobs += [asyncio.create_task(batcher.score(items(8, seed))) for seed in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="at most 32 items"):
            await batcher.score(items(32))
        assert [len(rows) for rows in await asyncio.gather(*jobs)] == [8] * 4
        assert len(await batcher.score(items(32))) == 32

    running(moody, act, room=32)


def test_closing_finishes_what_was_accepted(moody: Moody) -> None:
    async def act(batcher: Batcher) -> list[asyncio.Task[Any]]:
        moody.delay_s = 0.02
        jobs = [asyncio.create_task(batcher.score(items(100, seed))) for seed in range(20)]
        await asyncio.sleep(0)
        return jobs

    assert [len(job.result()) for job in running(moody, act)] == [100] * 20


def test_what_nobody_waits_for_is_dropped(moody: Moody) -> None:
    body = {"prompts": ["q"] * 900, "responses": [f"good {i}" for i in range(900)]}
    with client(moody, timeout_s=0.15) as http:
        moody.delay_s = 0.1
        reply = http.post("/score", json=body)
        assert reply.status_code == 503 and "0.15 s" in reply.json()["detail"]
        moody.delay_s = 0.0
        for _ in range(100):
            time.sleep(0.1)
            if http.get("/health").json()["queued"] == 0:
                break
        few = {"prompts": ["q"], "responses": ["good"]}
        assert http.post("/score", json=few).status_code == 200
    assert sum(moody.sizes) < 800


def test_http_says_full_and_broken(moody: Moody) -> None:
    one = {"prompt": "q", "response": "good"}
    with client(moody, queue=4) as http:
        full = http.post("/score", json={"prompts": ["q"] * 5, "responses": ["good"] * 5})
        moody.broken = True
        broken, health = http.post("/slime", json=one), http.get("/health")
        moody.broken = False
        assert http.post("/slime", json=one).status_code == 200
        assert http.get("/health").json()["ready"]
    assert full.status_code == 429 and int(full.headers["retry-after"]) >= 1
    assert broken.status_code == 503 and "out of order" in broken.json()["detail"]
    assert health.status_code == 503 and "out of order" in health.json()["trouble"]
