"""Estimate what picking the best of n yields, and which policy wins at equal length.

    E[gold of the best of n] = sum_i w_i gold_(i),  w_i = C(i-1, n-1) / C(N, n)   (i by proxy)
    P(win) = sigma(theta + phi tanh(d / std d)),    d = length of ours - length of theirs
    length-controlled win rate = sigma(theta)

Best of n: unbiased from N samples for every n <= N (Nakano et al. 2021, 2112.09332). We differ:
equal proxies share the weight of their places, so that row order never decides. The variance
explodes as n nears N: draw some 4 n samples.

Length: Dubois et al. 2024 (2404.04475). We differ: (1) no term for the difficulty of each prompt,
which takes many policies to fit; (2) no ridge, so that what cannot be fitted (one side wins
everything, or length tells win from loss) is not measured, instead of a number the ridge made; (3)
the interval resamples pairs. Where lengths never overlap zero difference theta is an extrapolation,
and its interval says so.

>>> best_of_n(np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 3.0, 6.0]]), 2)
array([5.])
>>> wins, longer = [1, 1, 1, 0, 0, 1, 0, 0], [9, 8, 7, 1, -7, -8, -9, -1]
>>> print(length_controlled(wins, longer, rng=np.random.default_rng(0)).value)
0.5
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import stats as scipy_stats
from scipy.special import betaln

from trueline.errors import DataError, InputError
from trueline.records import Estimate
from trueline.rng import Rng
from trueline.stats.resampling import Floats, bootstrap, floats

__all__ = ["best_of_n", "length_controlled"]

_STEPS, _LARGEST = 50, 20.0


def best_of_n(
    proxy: Float[np.ndarray, "B N"], gold: Float[np.ndarray, "B N"], n: int
) -> Float[np.ndarray, " B"]:
    """Return, per prompt, the expected gold of the best by proxy of n samples drawn from the N
    without replacement."""
    score, num = np.asarray(proxy, np.float64), np.shape(proxy)[1]
    if not np.isfinite(score).all():
        raise DataError("proxies must be finite", got="NaN or inf")
    if not 1 <= n <= num:
        raise InputError(f"n must be one of 1..{num}, the samples there are", got=str(n))
    # P(the best stands at one of the first i places) = C(i, n) / C(N, n); equals share theirs.
    upto, place = np.zeros(num + 1), np.arange(n, num + 1)
    upto[n:] = np.exp(_log_choose(place, n) - _log_choose(place[-1:], n))
    highest = scipy_stats.rankdata(score, method="max", axis=1).astype(np.intp)
    lowest = scipy_stats.rankdata(score, method="min", axis=1).astype(np.intp)
    weight: Floats = (upto[highest] - upto[lowest - 1]) / (highest - lowest + 1)
    return np.asarray((weight * gold).sum(1))


def _log_choose(n: np.ndarray, k: int) -> Floats:
    return np.asarray(-np.log(n + 1) - betaln(n - k + 1, k + 1))


def length_controlled(wins: ArrayLike, length_difference: ArrayLike, *, rng: Rng) -> Estimate:
    """Return the win rate at equal length of wins [N] (0, 0.5 or 1); lengths are ours less theirs,
    in any unit."""
    return bootstrap(_at_equal_length, floats(wins), floats(length_difference), rng=rng)


def _at_equal_length(won: Floats, longer: Floats) -> float:
    """Return sigma(theta), by Newton's method; NaN where the likelihood has no maximum."""
    spread = float(longer.std())
    if spread == 0:
        return math.nan if longer.any() else float(won.mean())
    x = np.stack([np.ones_like(won), np.tanh(longer / spread)], 1)
    weights = np.zeros(2)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-x @ weights))
        curvature = (x * (p * (1 - p))[:, None]).T @ x
        try:
            step = np.linalg.solve(curvature, x.T @ (won - p))
        except np.linalg.LinAlgError:
            return math.nan
        weights = weights + step
        if not np.abs(weights).max() < _LARGEST:
            return math.nan
        if np.abs(step).max() < 1e-10:
            return float(1 / (1 + math.exp(-weights[0])))
    return math.nan
