"""The betting test keeps its level whenever one stops; the confidence sequence is its dual."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.errors import InputError
from trueline.stats import BettingTest, confidence_sequence

bounded = st.lists(st.floats(0, 1), min_size=1, max_size=60)


def fed(xs: list[float], m: float = 0.5, **options: object) -> BettingTest:
    test = BettingTest(m, **options)  # type: ignore[arg-type]
    for x in xs:
        test.update(x)
    return test


@given(bounded, st.floats(0.05, 0.95))
def test_capital_is_the_average_of_products(xs: list[float], m: float) -> None:
    fractions = (0.1, 0.5, 0.9)
    products = [np.prod([1 + f / m * (x - m) for x in xs]) for f in fractions]
    test = fed(xs, m, fractions=fractions)
    assert test.log_e == pytest.approx(math.log(np.mean(products)), abs=1e-9)


def test_a_fair_bet_gains_nothing_on_average() -> None:
    """Over all 2^10 equally likely sequences of a fair coin the mean e-value is exactly 1."""
    sequences = [[float(i >> k & 1) for k in range(10)] for i in range(1024)]
    assert np.mean([math.exp(fed(xs).log_e) for xs in sequences]) == pytest.approx(1.0)


def test_long_streams_neither_overflow_nor_get_stuck() -> None:
    test = fed([0.0] * 5_000)
    assert test.log_e == pytest.approx(5_000 * math.log(0.9) + math.log(0.25), rel=1e-6)
    for _ in range(20_000):
        test.update(1.0)
    assert 0 < test.log_e < math.inf
    assert fed([1.0] * 5_000).log_e == pytest.approx(5_000 * math.log(1.8) + math.log(0.25))


def test_dependent_null_streams_rarely_reach_the_threshold(rng: np.random.Generator) -> None:
    """A mean of at most m given the past, whatever the past: e.g. m itself after every loss, in
    coins, in coarse and in fine values."""
    rejected, num, m = 0, 3_000, 0.3
    for i in range(num):
        test, last, highest = BettingTest(m), 1.0, 0.0
        for u in rng.random(100):
            p = m if last < m else m * (0.7 if i % 2 else 1.0)
            last = float(u < p) if i % 3 else min(1.0, u * 2 * p)
            test.update(last)
            highest = max(highest, test.log_e)
        rejected += highest >= math.log(1 / 0.05)
    assert rejected / num <= 0.05


@pytest.mark.parametrize("p", [0.05, 0.85])
def test_the_sequence_covers_at_all_times_at_once(p: float, rng: np.random.Generator) -> None:
    """Stopping when the interval looks worst is covered by looking at every moment."""
    num, missed = 250, 0
    for _ in range(num):
        # One in three is a draw, worth a half.
        coin = (rng.random(150) < p).astype(float)
        xs, truth = np.where(rng.random(150) < 0.3, 0.5, coin), 0.7 * p + 0.15
        lower, upper = confidence_sequence(xs, 0.1, resolution=100)
        missed += bool((lower > truth).any() or (upper < truth).any())
    # 0.1 + 3 standard errors of 250 runs; betting is conservative, so this is loose.
    assert missed / num <= 0.1 + 3 * math.sqrt(0.09 / num)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.0]), min_size=1, max_size=60))
def test_the_sequence_is_the_dual_of_the_test(xs: list[float]) -> None:
    lower, _ = confidence_sequence(xs, 0.1, resolution=100)
    for m in (0.2, 0.5, 0.7):
        highest = max(fed(xs[: n + 1], m).log_e for n in range(len(xs)))
        assert (highest >= math.log(2 / 0.1)) == (lower[-1] >= m - 1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: BettingTest().update(float("nan")),
        lambda: BettingTest(0.0),
        lambda: BettingTest(0.5, fractions=(1.0,)),
        lambda: confidence_sequence([0.5, 2.0]),
        lambda: confidence_sequence([0.5], alpha=0.0),
    ],
)
def test_what_lies_outside_0_to_1_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        wrong()
    assert confidence_sequence([])[0].shape == (0,), "nothing observed gives no ends"
