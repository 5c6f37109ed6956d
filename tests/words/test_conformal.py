"""Conformal limits: the promise on exchangeable draws, and what coverage counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.errors import DataError, InputError
from trueline.stats import conformal_limit, coverage


@pytest.mark.parametrize(("n", "alpha"), [(19, 0.1), (100, 0.1), (333, 0.05), (40, 0.3)])
def test_a_new_draw_stays_below_the_limit_as_promised(n: int, alpha: float) -> None:
    """4,000 exchangeable draws of n + 1 each: 1 − α ≤ coverage ≤ 1 − α + 1/(n + 1)."""
    draws = np.random.default_rng(n).exponential(size=(4_000, n + 1))
    held = np.mean([row[-1] <= conformal_limit(row[:-1], alpha) for row in draws])
    noise = 3.3 * math.sqrt(alpha * (1 - alpha) / len(draws))
    assert 1 - alpha - noise <= held <= 1 - alpha + 1 / (n + 1) + noise


def test_with_clusters_a_random_row_of_a_new_cluster_stays_below() -> None:
    """Clusters of unequal size that share a level; rows taken as exchangeable would miss more."""
    rng, held, naive = np.random.default_rng(3), [], []
    for _ in range(1_500):
        # Large clusters have low scores: by rows they drown the small ones.
        sizes = rng.choice([1, 20], size=31, p=[0.7, 0.3])
        levels = rng.exponential(size=31) * np.where(sizes == 1, 3.0, 1.0)
        names = np.repeat(np.arange(31), sizes)
        scores = levels[names] + 0.1 * rng.random(len(names))
        old = names < 30
        new = scores[-1]
        held.append(new <= conformal_limit(scores[old], 0.2, clusters=names[old]))
        naive.append(new <= conformal_limit(scores[old], 0.2))
    assert np.mean(held) >= 0.8 - 0.03
    assert np.mean(naive) < 0.75


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_clusters_of_one_row_change_nothing(scores: list[float], alpha: float) -> None:
    place = math.ceil((len(scores) + 1) * (1 - alpha) - 1e-9)
    expected = sorted(scores)[place - 1] if place <= len(scores) else math.inf
    assert conformal_limit(scores, alpha) == expected
    assert conformal_limit(scores, alpha, clusters=list(range(len(scores)))) == expected


def test_a_model_that_is_right_often_enough_needs_no_width() -> None:
    assert conformal_limit(-np.arange(1.0, 100.0), 0.1) == 0.0


def test_coverage_counts_covered_decided_right_and_abstained() -> None:
    found = coverage([1, -1, -3, -9], [2, 1, -2, -8], scored=[True, True, True, False])
    assert found.covered.value == pytest.approx(2 / 3)
    assert found.decided.value == pytest.approx(2 / 3)
    assert found.right.value == 0.5
    assert found.abstained.value == 0.25
    nothing = coverage([0.0], [1.0], scored=[False])
    assert nothing.covered.value is None and nothing.abstained.value == 1.0


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="alpha"):
        conformal_limit([1.0], 1.0)
    with pytest.raises(DataError, match="low and high"):
        coverage([1.0], [0.0])
