"""Estimate what picking the best of n yields.

    E[gold of the best of n] = sum_i w_i gold_(i),  w_i = C(i-1, n-1) / C(N, n)   (i by proxy)

Unbiased from N samples for every n <= N: Nakano et al. 2021 (2112.09332). We differ: equal proxies
share the weight of their places, so that row order never decides. The variance explodes as n nears
N: draw some 4 n samples.

>>> best_of_n(np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 3.0, 6.0]]), 2)
array([5.])
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats as scipy_stats
from scipy.special import betaln

from trueline.errors import DataError, InputError
from trueline.stats.resampling import Floats

__all__ = ["best_of_n"]


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
