"""How well scores rank: area under the curve with ties, and what picking the best of n yields.

    AUC = P(score+ > score-) + P(score+ = score-) / 2                    (midranks)
    E[gold of the best of n] = sum_i w_i gold_(i),  w_i = C(i-1, n-1) / C(N, n)   (i by proxy)
    KL(best of n || base) <= log n - (n - 1) / n

Hanley & McNeil 1982; variance by placements, DeLong et al. 1988, and by clusters Obuchowski 1997
where randomness is not given; best-of-n from N samples, unbiased for every n <= N: Nakano et al.
2021 (2112.09332), Beirami et al. 2024 (2401.01879) for the KL, an equality only without ties. We
differ: equal proxies share the weight of their places, so that row order never decides. `proxy`
and `gold` are [B, N], scores and labels [N]. The variance of best-of-n explodes as n nears N: draw
some 4 n samples.

>>> print(auc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1]))
0.875 [0.228, 0.994] (n=4)
>>> best_of_n(np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 3.0, 6.0]]), 2)
array([5.])
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats
from scipy.special import gammaln, logsumexp

from trueline.errors import DataError, InputError
from trueline.records import Estimate
from trueline.stats.resampling import TAIL, bootstrap, codes, floats

__all__ = ["auc", "best_of_n", "kl_best_of_n"]

Floats = NDArray[np.float64]


def auc(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    rng: np.random.Generator | None = None,
    num_resamples: int = 1_000,
) -> Estimate:
    """Area under the curve of scores [N] for labels [N] of 0 and 1; None if one class is missing.

    The interval is closed-form (on the logit scale); with `rng` it is a bootstrap instead.
    """
    x, y = floats(scores), floats(labels)
    if len(x) != len(y):
        raise DataError("there must be one label a score", got=f"{len(y)} for {len(x)}")
    if not np.isin(y, (0, 1)).all():
        raise DataError("labels must be 0 or 1", got="other values", do="drop undecided rows")
    if len(np.unique(y)) < 2:
        return Estimate(None, None, None, len(x))
    if rng is not None:
        return bootstrap(_auc, x, y, clusters=clusters, rng=rng, num_resamples=num_resamples)
    return _placement_interval(
        x, y == 1, codes(np.arange(len(x)) if clusters is None else clusters, len(x))
    )


def best_of_n(
    proxy: Float[np.ndarray, "B N"], gold: Float[np.ndarray, "B N"], n: int
) -> Float[np.ndarray, " B"]:
    """Per prompt, the expected gold of the best by proxy of n samples drawn from the N without
    replacement; equal proxies are as likely to be picked."""
    score, value = np.asarray(proxy, np.float64), np.asarray(gold, np.float64)
    if score.ndim != 2 or score.shape != value.shape:
        raise DataError("proxy and gold must be [B, N]", got=f"{score.shape} and {value.shape}")
    if not np.isfinite(score).all() or not np.isfinite(value).all():
        raise DataError("proxy and gold must be finite", got="NaN or inf")
    num = score.shape[1]
    if not 1 <= n <= num:
        raise InputError(f"n must be one of 1..{num}, the samples there are", got=str(n))
    place = np.arange(1, num + 1, dtype=np.float64)
    log_w = np.full(num, -np.inf)
    log_w[n - 1 :] = _log_choose(place[n - 1 :] - 1, n - 1) - _log_choose(np.float64(num), n)
    # Cumulative weight of the places up to i; a group of equals gets its places' weight, shared.
    upto = np.concatenate([[0.0], np.exp(log_w - logsumexp(log_w)).cumsum()])
    highest = scipy_stats.rankdata(score, method="max", axis=1).astype(np.intp)
    lowest = scipy_stats.rankdata(score, method="min", axis=1).astype(np.intp)
    weight = (upto[highest] - upto[lowest - 1]) / (highest - lowest + 1)
    return np.asarray((weight * value).sum(1))


def kl_best_of_n(n: int) -> float:
    """Nats between the best of n and one sample; an upper bound where equals are possible."""
    if n < 1:
        raise InputError("n must be at least 1", got=str(n))
    return math.log(n) - (n - 1) / n


def _auc(x: Floats, y: Floats) -> float:
    positive = y == 1
    p = int(positive.sum())
    if p in (0, len(y)):
        return math.nan
    ranks = scipy_stats.rankdata(x)
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * (len(y) - p)))


def _placement_interval(
    x: Floats, positive: NDArray[np.bool_], index: NDArray[np.intp]
) -> Estimate:
    """Obuchowski 1997: placements summed by cluster; each row its own cluster gives DeLong."""
    value, n = _auc(x, positive.astype(np.float64)), len(x)
    above, below = x[positive], x[~positive]
    place = np.empty(n)
    place[positive] = _share_below(above, below)
    place[~positive] = 1 - _share_below(below, above)
    off = place - value
    c = int(index.max()) + 1
    up = np.bincount(index[positive], off[positive], minlength=c) / len(above)
    down = np.bincount(index[~positive], off[~positive], minlength=c) / len(below)
    num_up, num_down = len(np.unique(index[positive])), len(np.unique(index[~positive]))
    if min(num_up, num_down) < 2:
        return Estimate(value, None, None, n)
    variance = (
        num_up / (num_up - 1) * float(up @ up)
        + num_down / (num_down - 1) * float(down @ down)
        + 2 * c / (c - 1) * float(up @ down)
    )
    if not 0 < value < 1:
        # Placements have no spread here: what n rows cannot rule out (rule of three by class).
        least = 3 / min(num_up, num_down)
        return Estimate(value, max(0.0, value - least), min(1.0, value + least), n)
    z = float(scipy_stats.norm.isf(TAIL))
    spread = z * math.sqrt(max(variance, 0.0)) / (value * (1 - value))
    middle = math.log(value / (1 - value))
    lower, upper = (1 / (1 + math.exp(-(middle + s))) for s in (-spread, spread))
    return Estimate(value, lower, upper, n)


def _share_below(a: Floats, b: Floats) -> Floats:
    """For each of a, the share of b below it, equals counted half."""
    ordered = np.sort(b)
    return (np.searchsorted(ordered, a, "left") + np.searchsorted(ordered, a, "right")) / (
        2 * len(b)
    )


def _log_choose(n: Floats | np.float64, k: int) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
