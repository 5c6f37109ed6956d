"""The length-controlled win rate against scikit-learn, and where it cannot be known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from trueline.stats import length_controlled

RNG = np.random.default_rng


def drawn(seed: int, num: int, theta: float, phi: float, shift: float) -> tuple[np.ndarray, ...]:
    """Wins that length explains in part, of a policy that says `shift` spreads more."""
    rng = RNG(seed)
    longer = 30 * (rng.standard_normal(num) + shift)
    chance = 1 / (1 + np.exp(-theta - phi * np.tanh(longer / longer.std())))
    return (rng.random(num) < chance).astype(float), longer


def test_it_is_the_logistic_regression_read_off_at_equal_length() -> None:
    wins, longer = drawn(0, 300, 0.3, 1.0, 0.5)
    x = np.tanh(longer / longer.std())[:, None]
    theirs = LogisticRegression(C=1e12, tol=1e-12).fit(x, wins).predict_proba([[0.0]])[0, 1]
    assert length_controlled(wins, longer, rng=RNG(0)).value == pytest.approx(theirs, abs=1e-5)


def test_a_policy_that_is_only_longer_wins_nothing() -> None:
    found = [length_controlled(*drawn(seed, 400, 0.0, 1.5, 1.0), rng=RNG(0)) for seed in range(8)]
    plain = [drawn(seed, 400, 0.0, 1.5, 1.0)[0].mean() for seed in range(8)]
    assert np.mean(plain) > 0.65
    assert np.mean([e.value for e in found]) == pytest.approx(0.5, abs=0.04)
    assert sum(e.lower <= 0.5 <= e.upper for e in found) >= 7


def test_the_sides_are_alike_and_draws_are_half() -> None:
    wins, longer = drawn(1, 120, 0.4, 0.8, 0.0)
    wins[:20] = 0.5
    one = length_controlled(wins, longer, rng=RNG(0))
    other = length_controlled(1 - wins, -longer, rng=RNG(0))
    assert one.value == pytest.approx(1 - other.value)
    assert one.lower == pytest.approx(1 - other.upper, abs=0.02)
    tokens = length_controlled(wins, longer * 7, rng=RNG(0))
    assert tokens.value == pytest.approx(one.value), "the unit of length is nobody's business"


@pytest.mark.parametrize(
    ("wins", "longer"),
    [
        ([1, 1, 1, 1], [1, -2, 3, -4]),
        ([1, 1, 0, 0], [3, 2, -1, -2]),
        ([1, 0, 1, 0], [5, 5, 5, 5]),
        ([], []),
    ],
    ids=["all won", "length tells all", "always longer by as much", "nothing"],
)
def test_what_cannot_be_fitted_is_not_measured(wins: list[float], longer: list[float]) -> None:
    assert length_controlled(wins, longer, rng=RNG(0)).value is None
