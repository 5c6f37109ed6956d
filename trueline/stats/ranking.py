"""How well scores rank: area under the curve with ties, and what picking the best of n yields.

    AUC = P(score+ > score-) + P(score+ = score-) / 2                    (midranks)
    E[gold of the best of n] = sum_i w_i gold_(i),  w_i = C(i-1, n-1) / C(N, n)   (i by proxy)
    KL(best of n || base) <= log n - (n - 1) / n

Variance of the AUC by placements: DeLong et al. 1988, by clusters Obuchowski 1997. Best of n from N
samples is unbiased for every n <= N: Nakano et al. 2021 (2112.09332); its KL, an equality only
without ties: Beirami et al. 2024 (2401.01879). We differ: equal proxies share the weight of their
places, so that row order never decides. The variance of best-of-n explodes as n nears N: draw some
4 n samples.

>>> print(auc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1]))
0.875 [0.228, 0.994] (n=4)
>>> best_of_n(np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 3.0, 6.0]]), 2)
array([5.])
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
from trueline.stats.resampling import TAIL, Floats, codes, floats

__all__ = ["auc", "best_of_n", "kl_best_of_n"]


def auc(scores: ArrayLike, labels: ArrayLike, *, clusters: ArrayLike | None = None) -> Estimate:
    """Return the area under the curve of scores [N] for labels [N] of 0 and 1.

    The interval is closed-form, on the logit scale; the value is None if one class is missing.
    """
    x, y = floats(scores), floats(labels)
    if len(x) != len(y):
        raise DataError("there must be one label a score", got=f"{len(y)} for {len(x)}")
    if not np.isin(y, (0, 1)).all():
        raise DataError("labels must be 0 or 1", got="other values", do="drop undecided rows")
    if len(np.unique(y)) < 2:
        return Estimate(None, None, None, len(x))
    # A row's placement is the share of the other class that it is ranked right of, ties half.
    placement, sizes = np.empty(len(x)), (np.sum(y == 0), np.sum(y == 1))
    for label in (0, 1):
        own = y == label
        below = scipy_stats.rankdata(x)[own] - scipy_stats.rankdata(x[own])
        share_below = below / sizes[1 - label]
        placement[own] = share_below if label else 1 - share_below
    value = float(placement[y == 1].mean())
    index = codes(np.arange(len(x)) if clusters is None else clusters, len(x))
    # Obuchowski: placements summed by cluster; each row its own cluster gives DeLong.
    off = [
        np.bincount(index, (placement - value) * (y == label)) / sizes[label] for label in (0, 1)
    ]
    counts = [len(np.unique(index[y == label])) for label in (0, 1)]
    if min(counts) < 2:
        return Estimate(value, None, None, len(x))
    if not 0 < value < 1:
        # Placements have no spread here: what n rows cannot rule out (rule of three by class).
        least = 3 / min(counts)
        return Estimate(value, max(0.0, value - least), min(1.0, value + least), len(x))
    variance = sum(c / (c - 1) * float(o @ o) for c, o in zip(counts, off, strict=True))
    variance += 2 * len(off[0]) / (len(off[0]) - 1) * float(off[0] @ off[1])
    spread = float(scipy_stats.norm.isf(TAIL)) * math.sqrt(max(variance, 0.0))
    middle, half = math.log(value / (1 - value)), spread / (value * (1 - value))
    lower, upper = (1 / (1 + math.exp(-(middle + s))) for s in (-half, half))
    return Estimate(value, lower, upper, len(x))


def best_of_n(
    proxy: Float[np.ndarray, "B N"], gold: Float[np.ndarray, "B N"], n: int
) -> Float[np.ndarray, " B"]:
    """Return, per prompt, the expected gold of the best by proxy of n samples.

    The n are drawn from the N without replacement; equal proxies are as likely to be picked.
    """
    score, value = np.asarray(proxy, np.float64), np.asarray(gold, np.float64)
    if score.ndim != 2 or score.shape != value.shape:
        raise DataError("proxy and gold must be [B, N]", got=f"{score.shape} and {value.shape}")
    if not np.isfinite(score).all() or not np.isfinite(value).all():
        raise DataError("proxy and gold must be finite", got="NaN or inf")
    num = score.shape[1]
    if not 1 <= n <= num:
        raise InputError(f"n must be one of 1..{num}, the samples there are", got=str(n))
    # P(the best stands at one of the first i places) = C(i, n) / C(N, n); equals share theirs.
    upto, place = np.zeros(num + 1), np.arange(n, num + 1)
    upto[n:] = np.exp(_log_choose(place, n) - _log_choose(place[-1:], n))
    highest = scipy_stats.rankdata(score, method="max", axis=1).astype(np.intp)
    lowest = scipy_stats.rankdata(score, method="min", axis=1).astype(np.intp)
    weight: Floats = (upto[highest] - upto[lowest - 1]) / (highest - lowest + 1)
    return np.asarray((weight * value).sum(1))


def _log_choose(n: np.ndarray, k: int) -> Floats:
    return np.asarray(-np.log(n + 1) - betaln(n - k + 1, k + 1))


def kl_best_of_n(n: int) -> float:
    """Return the nats between the best of n and one sample; an upper bound if equals can be."""
    if n < 1:
        raise InputError("n must be at least 1", got=str(n))
    return math.log(n) - (n - 1) / n
