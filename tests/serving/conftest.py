"""A reward on a fake trunk, served: in the test's own process, and behind a real uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from starlette.testclient import TestClient

from tests.material import right_over_wrong
from trueline.errors import DataError
from trueline.models.trunk import Trunk
from trueline.protocols import Scorer
from trueline.records import Comparison, Prompt, Response, Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.linear import LinearReward
from trueline.serving.app import Service, configure, create_app
from trueline.serving.formats import Splitter
from trueline.testing import FakeTrunk

WORDS = ["good", "bad", "plain", "odd", "red", "blue", "one", "two", "three", "four"]


def texts(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    prompts = [f"question {rng.integers(40)}" for _ in range(count)]
    return prompts, [" ".join(rng.choice(WORDS, 5)) for _ in range(count)]


def sums_reward(trunk: Trunk) -> LinearReward:
    """A reward of the embedded trunk that likes right answers to sums."""
    pairs = right_over_wrong(12)
    return Bayesian().fit(trunk.read(pairs.responses), pairs, rng=np.random.default_rng(0))


@pytest.fixture(scope="session")
def reward() -> Scorer:
    """Likes "good"."""
    trunk = FakeTrunk(planted={"good": 3.0}, surprisals=True)
    responses = [Response(prompt=Prompt.of(p), text=t) for p, t in zip(*texts(80, 1), strict=True)]
    liked = [r for r in responses if "good" in r.text]
    others = [r for r in responses if "good" not in r.text]
    pairs = [
        Comparison(chosen=Response(prompt=b.prompt, text=a.text), rejected=b)
        for a, b in zip(liked, others, strict=False)
    ]
    read = trunk.read([r for pair in pairs for r in (pair.chosen, pair.rejected)])
    fitted = Bayesian().fit(read, pairs, rng=np.random.default_rng(0))
    return fitted.with_lower_bound(1.0).on(trunk)


class Moody:
    """A scorer with faults: refuses, fails on, leaves unscored or is slow at some words."""

    def __init__(self, inner: Scorer) -> None:
        self.inner, self.broken, self.delay_s, self.sizes = inner, False, 0.0, list[int]()

    def score(self, prompts: Any, responses: Any) -> Scores:
        self.sizes.append(len(responses))
        time.sleep(self.delay_s)
        if self.broken:
            raise RuntimeError("out of order")
        if any("refuse" in text for text in responses):
            raise DataError("a response must not say refuse")
        if any("crash" in text for text in responses):
            raise RuntimeError("index out of range\nin some kernel")
        scores = self.inner.score(prompts, responses)
        missing = np.array(["silent" in text for text in responses])
        reasons = {int(i): "it is silent" for i in np.flatnonzero(missing)}
        columns = {c: getattr(scores, c) for c in ("mean", "std", "lower", "novelty")}
        columns |= {"low": scores.mean - 1.0, "high": np.full(len(scores), np.inf)}
        return Scores(**columns, scored=scores.scored & ~missing, reasons=reasons)


@pytest.fixture
def moody(reward: Scorer) -> Moody:
    return Moody(reward)


def service(scorer: Scorer, **given: Any) -> Service:
    return Service(scorer=scorer, **{"splitter": Splitter(None), **given})


def client(scorer: Scorer, **given: Any) -> TestClient:
    """A client of the app itself; use it as a context, so that the scoring thread runs."""
    return TestClient(create_app(service(scorer, **given)), base_url="http://localhost")


@pytest.fixture
def live(reward: Scorer) -> Iterator[Any]:
    """The app behind a real uvicorn on a free port, in a thread."""
    place = socket.create_server(("127.0.0.1", 0))
    scorer = Moody(reward)
    served = service(scorer, body_bytes=200_000, items=64, chars=5_000)
    server = uvicorn.Server(configure(served, log_level="critical"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[place])))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = place.getsockname()[1]
    yield SimpleNamespace(port=port, scorer=scorer, service=served)
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive() and not served.batcher.alive
