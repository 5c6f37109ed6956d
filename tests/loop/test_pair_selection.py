"""Which pairs are asked about: the informative ones, and not just any."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from trueline.loop.pair_selection import expected_information, informative_pairs
from trueline.records import Prompt, Response


def answers(num_prompts: int, num_samples: int) -> list[list[Response]]:
    prompts = [Prompt.of(f"prompt {i}") for i in range(num_prompts)]
    return [[Response(prompt=p, text=f"{k}") for k in range(num_samples)] for p in prompts]


class Known:
    """A reward that is sure of every pair but those with answer "0"; it cannot score answer "3"."""

    def __init__(self, rows: Sequence[Sequence[Response]]) -> None:
        self.texts = [r.text for row in rows for r in row]
        keys = [r.key for row in rows for r in row]
        self.readings: Any = SimpleNamespace(
            rows=lambda asked: np.array(list(map(keys.index, asked)))
        )

    def margin(
        self, _: Any, first: np.ndarray, second: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        pairs = [{self.texts[i], self.texts[j]} for i, j in zip(first, second, strict=True)]
        std = np.array([np.nan if "3" in p else 2.0 if "0" in p else 0.01 for p in pairs])
        return np.where(np.isnan(std), np.nan, 1.0), std


def chosen(
    rows: list[list[Response]], reward: Any, num_pairs: int, seed: int = 0
) -> list[set[str]]:
    readings = None if reward is None else reward.readings
    rng = np.random.default_rng(seed)
    cases = informative_pairs(rows, readings, reward, num_pairs, rng=rng)
    assert len({c.prompt.key for c in cases}) == len(cases), "one pair a prompt"
    return [{r.text for r in c.responses} for c in cases]


def test_the_pair_that_tells_most_is_asked_about():
    """Fails where the choice is made at random: of three pairs a prompt two hold answer "0"."""
    rows = answers(40, 3)
    assert all("0" in pair for pair in chosen(rows, Known(rows), 40))
    without = chosen(rows, None, 40)
    assert 5 < sum("0" in pair for pair in without) < 40, "nothing is known without a reward"
    assert without != chosen(rows, None, 40, seed=1)


def test_the_prompts_that_tell_most_come_first_what_cannot_be_scored_before_all():
    rows = [row[1:] if i % 2 else row for i, row in enumerate(answers(40, 3))]
    assert all("0" in pair for pair in chosen(rows, Known(rows), 20))
    rows = answers(20, 4)
    assert all("3" in pair for pair in chosen(rows, Known(rows), 20))
    assert chosen([[row[0], row[0]] for row in answers(5, 1)], None, 5) == [], "equal answers"


def test_expected_information_against_a_large_sample():
    rng = np.random.default_rng(0)
    mean, std = np.array([0.0, 0.0, 1.0, 4.0, -1.0]), np.array([0.1, 2.0, 1.0, 0.5, 3.0])
    p = expit(mean + std * rng.standard_normal((400_000, 5)))

    def h(q: np.ndarray) -> np.ndarray:
        return -q * np.log(q) - (1 - q) * np.log1p(-q)

    assert np.allclose(expected_information(mean, std), h(p.mean(0)) - h(p).mean(0), atol=2e-3)
    assert expected_information(np.array([0.0, 3.0]), np.zeros(2)) == pytest.approx(0.0, abs=1e-12)
