"""Which pairs are asked about."""

import numpy as np
from scipy.special import expit

from trueline.loop.pair_selection import expected_information


def test_expected_information_against_a_large_sample():
    rng = np.random.default_rng(0)
    mean, std = np.array([0.0, 0.0, 1.0, 4.0, -1.0]), np.array([0.1, 2.0, 1.0, 0.5, 3.0])
    p = expit(mean + std * rng.standard_normal((400_000, 5)))

    def h(q: np.ndarray) -> np.ndarray:
        return -q * np.log(q) - (1 - q) * np.log1p(-q)

    exact = h(p.mean(0)) - h(p).mean(0)
    assert np.allclose(expected_information(mean, std), exact, atol=2e-3)


def test_what_is_certain_tells_nothing_and_doubt_tells_more():
    sure = expected_information(np.array([0.0, 3.0]), np.zeros(2))
    assert np.allclose(sure, 0.0, atol=1e-12)
    rising = expected_information(np.zeros(4), np.array([0.1, 0.5, 1.0, 3.0]))
    assert (np.diff(rising) > 0).all()
