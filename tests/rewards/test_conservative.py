"""Caution only ever subtracts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rewards.material import planted, same
from trueline.errors import InputError
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rng import stream

WORLD = planted(80)
PLAIN = Bayesian().fit(WORLD.readings, WORLD.comparisons, rng=stream(0))


def test_no_caution_is_the_plain_head_exactly() -> None:
    none = Conservative(head=Bayesian(), k=0.0).fit(
        WORLD.readings, WORLD.comparisons, rng=stream(0)
    )
    ours = none.score(WORLD.readings)
    same(ours, PLAIN.score(WORLD.readings))
    np.testing.assert_array_equal(ours.lower, ours.mean)


@given(st.floats(0.0, 20.0), st.floats(0.0, 20.0))
def test_the_bound_is_never_above_the_mean_and_falls_with_caution(
    k: float, distance: float
) -> None:
    scores = PLAIN.with_lower_bound(k, distance).score(WORLD.readings)
    plain = PLAIN.score(WORLD.readings)
    np.testing.assert_array_equal(scores.mean, plain.mean)
    assert (scores.lower <= scores.mean).all()
    more = PLAIN.with_lower_bound(k + 1.0, distance + 1.0).score(WORLD.readings)
    assert (more.lower < scores.lower).all()


@pytest.mark.parametrize("wrong", [-1e-9, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["k", "distance"])
def test_a_bound_that_adds_is_refused(name: str, wrong: float) -> None:
    with pytest.raises(InputError, match="at least 0"):
        Conservative(**{name: wrong})


@pytest.mark.parametrize(("k", "distance"), [(2.0, 0.5), (0.5, 0.0)])
def test_distance_is_doubt_and_so_scaled_by_k(k: float, distance: float) -> None:
    head = Conservative(k=k, distance=distance)
    ours = head.fit(WORLD.readings, WORLD.comparisons, rng=stream(0)).score(WORLD.readings)
    far = PLAIN.spread * np.maximum(ours.novelty - 1.0, 0.0)
    np.testing.assert_allclose(ours.lower, ours.mean - k * (ours.std + distance * far))
