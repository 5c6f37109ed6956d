"""Means, shares and differences with 95 % intervals, by clusters where rows are not independent.

    shares, and means within bounds   Wilson's score interval for n independent shares; for C
                                      clusters, or values between bounds, at t_{C-1} and the
                                      effective n = p (1 - p) / Var(p), or C if no variance was seen
    other means                       Student's t; with clusters a bootstrap of whole clusters
    bootstrap                         the share of resamples left out at each end is
                                      Phi(sqrt(C / (C - 1)) t_{C-1}(0.025)) for C clusters

Wilson 1927; the effective n of Korn & Graubard 1998 in Wilson's interval, as Franco et al. 2019
advise. Efron 1979; clusters after Field & Welsh 2007; the widening for few is the "expanded
percentile" of Hesterberg 2014 (1411.5279). Values are [N], clusters any labels [N], such as prompt
keys. Of shares near 1 in 4 clusters the score interval covers more than .92, where resampling
covers less than half (tests/words/test_stats.py). A bootstrap is too narrow below some 10 clusters,
and for statistics that are not smooth, such as a maximum. No interval: one row or cluster, or no
variance among values without bounds. An end beyond a bound is the bound.

>>> print(accuracy([1, 1, 0, 1]))
0.750 [0.301, 0.954] (n=4)
>>> print(mean([1.0, 2.0, 3.0], clusters=["a", "a", "b"], rng=np.random.default_rng(0)))
2.000 [1.500, 3.000] (n=3)
>>> print(accuracy([1, 1, 1, 1], clusters=["a", "b", "c", "d"]))
1.000 [0.283, 1.000] (n=4)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from trueline.errors import DataError, InputError
from trueline.records import Estimate
from trueline.rng import Rng

__all__ = ["accuracy", "bootstrap", "difference", "mean"]

Floats = NDArray[np.float64]
TAIL = 0.025
NUM_RESAMPLES = 2_000
_ROUNDING = 1e-12
CHUNK = 2_000_000
"""Numbers drawn at once: 16 MB."""


def mean(
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    rng: Rng | None = None,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """Return the mean of finite values [N], which cannot lie beyond the `bounds`.

    `rng` is needed with clusters unless both bounds are finite. An estimate of what cannot be
    negative (KL) may be: it is cut at the bound too.
    """
    x = floats(values)
    if np.isfinite(bounds).all():
        index = codes(np.arange(len(x)) if clusters is None else clusters, len(x))
        return _mean_between(x, index, *bounds)
    if clusters is not None:
        found = _clustered_mean(x, clusters, rng)
    elif len(x) < 2 or np.ptp(x) == 0:
        found = Estimate(float(x[0]) if len(x) else None, None, None, len(x))
    else:
        half = scipy_stats.t.isf(TAIL, len(x) - 1) * float(x.std(ddof=1)) / math.sqrt(len(x))
        found = Estimate(float(x.mean()), x.mean() - half, x.mean() + half, len(x))
    cut = [v and float(np.clip(v, *bounds)) for v in (found.value, found.lower, found.upper)]
    # One that lies wholly beyond a bound would have no width.
    ends = cut[1:] if cut[1] != cut[2] else [None, None]
    return Estimate(cut[0], ends[0], ends[1], len(x))


def accuracy(
    correct: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
) -> Estimate:
    """Return the share of right answers; each of [N] is 0, 1, or 0.5 for a tie."""
    x = floats(correct)
    if ((x < 0) | (x > 1)).any():
        raise DataError("correct must lie between 0 and 1", got=f"{x.min():g} to {x.max():g}")
    if clusters is not None:
        return mean(x, clusters=clusters, bounds=(0.0, 1.0))
    return wilson(float(x.sum()), len(x))


def difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    rng: Rng | None = None,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """Return the mean of a - b, row by row: both were measured on the same N things. The bounds
    are those of the difference: -1 and 1 for shares."""
    x, y = floats(a), floats(b)
    if len(x) != len(y):
        raise DataError("a paired difference needs equal lengths", got=f"{len(x)} and {len(y)}")
    return mean(x - y, clusters=clusters, rng=rng, bounds=bounds)


def bootstrap(
    statistic: Callable[..., float],
    *arrays: ArrayLike,
    clusters: ArrayLike | None = None,
    rng: Rng,
    num_resamples: int = 1_000,
) -> Estimate:
    """Return a statistic of arrays that share their rows [N, …]; rows or clusters are resampled.

    A statistic that cannot be computed on a resample (such as one class only) returns NaN there;
    the interval rests on the others, and is left out if they are fewer than half.
    """
    columns = [np.asarray(array) for array in arrays]
    n = len(columns[0])
    if any(len(column) != n for column in columns):
        raise DataError("bootstrapped arrays must share their rows", got="other lengths")
    value = float(statistic(*columns)) if n else math.nan
    if not math.isfinite(value):
        return Estimate(None, None, None, n)
    index = codes(np.arange(n) if clusters is None else clusters, n)
    order = np.argsort(index, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(index[order])) + 1)
    if len(members) < 2:
        return Estimate(value, None, None, n)
    replicates = np.empty(num_resamples)
    for i in range(num_resamples):
        drawn = rng.integers(len(members), size=len(members))
        rows = drawn if clusters is None else np.concatenate([members[j] for j in drawn])
        replicates[i] = statistic(*(column[rows] for column in columns))
    return _from_replicates(value, replicates, num_clusters=len(members), n=n)


def wilson(successes: float, n: int) -> Estimate:
    """Return a share with its score interval; conservative where ties count a half."""
    # By hand, since `binomtest` takes whole successes only.
    if n == 0:
        return Estimate(None, None, None, 0)
    p = successes / n
    return Estimate(p, *_score_interval(p, n, float(scipy_stats.norm.isf(TAIL))), n)


def _score_interval(p: float, n: float, z: float) -> tuple[float, float]:
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half))


def _mean_between(x: Floats, index: NDArray[np.intp], low: float, high: float) -> Estimate:
    """Return the mean of values between two bounds, with the score interval at its effective n."""
    n, sizes = len(x), np.bincount(index)
    c, middle = len(sizes), float(x.mean()) if len(x) else None
    if middle is None or c < 2:
        return Estimate(middle, None, None, n)
    p = (middle - low) / (high - low)
    apart = np.bincount(index, weights=(x - middle) / (high - low))
    variance = c / (c - 1) * float(apart @ apart) / n**2
    effective = p * (1 - p) / variance if variance > _ROUNDING**2 else float(c)
    ends = _score_interval(p, effective, float(scipy_stats.t.isf(TAIL, c - 1)))
    lower, upper = (low + (high - low) * end for end in ends)
    return Estimate(middle, min(middle, lower), max(middle, upper), n)


def _from_replicates(value: float, replicates: Floats, *, num_clusters: int, n: int) -> Estimate:
    """Return the expanded percentile interval of bootstrap replicates."""
    usable = replicates[np.isfinite(replicates)]
    if (
        num_clusters < 2
        or 2 * len(usable) < len(replicates)
        or np.ptp(usable) <= _ROUNDING * max(1.0, abs(value))
    ):
        return Estimate(value, None, None, n)
    wide = math.sqrt(num_clusters / (num_clusters - 1)) * scipy_stats.t.isf(TAIL, num_clusters - 1)
    tail = float(scipy_stats.norm.sf(wide))
    lower, upper = np.quantile(usable, [tail, 1 - tail])
    return Estimate(value, float(lower), float(upper), n)


def floats(values: ArrayLike) -> Floats:
    """Return values as finite numbers [N]."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise DataError("values must be one row of numbers [N]", got=f"shape {x.shape}")
    if not np.isfinite(x).all():
        raise DataError("values must be finite", got=f"{int((~np.isfinite(x)).sum())} NaN or inf")
    return x


def codes(clusters: ArrayLike, n: int) -> NDArray[np.intp]:
    """Return cluster labels [N] as numbers 0..C-1 in order of appearance: names do not matter."""
    labels = list(clusters) if isinstance(clusters, Sequence) else np.asarray(clusters).tolist()
    if len(labels) != n:
        raise DataError("there must be one cluster label a row", got=f"{len(labels)} for {n} rows")
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.intp)


def _clustered_mean(x: Floats, clusters: ArrayLike, rng: Rng | None) -> Estimate:
    if rng is None:
        raise InputError("an interval by clusters needs randomness", got="no rng", do="pass rng=")
    if not len(x):
        return Estimate(None, None, None, 0)
    index = codes(clusters, len(x))
    sizes = np.bincount(index).astype(np.float64)
    sums = np.bincount(index, weights=x)
    c = len(sizes)
    replicates = []
    for start in range(0, NUM_RESAMPLES, batch := max(1, CHUNK // c)):
        rows = min(batch, NUM_RESAMPLES - start)
        drawn = rng.multinomial(c, np.full(c, 1 / c), size=rows).astype(np.float64)
        replicates.append((drawn @ sums) / (drawn @ sizes))
    return _from_replicates(float(x.mean()), np.concatenate(replicates), num_clusters=c, n=len(x))
