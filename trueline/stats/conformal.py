"""Conformal calibration: how far an interval must reach to hold what comes, whatever the model.

    limit q = the ⌈(n + 1)(1 − α)⌉-th smallest of n nonconformity scores    (∞ if there are too few)
    P(s_new ≤ q) ≥ 1 − α, and ≤ 1 − α + 1/(n + 1) without ties

if the new score is exchangeable with the n: Vovk, Gammerman and Shafer 2005; Angelopoulos and
Bates 2021 (2107.07511). With clusters (comparisons of one prompt) a cluster weighs one, shared by
its rows, and the promise is for a random row of a new cluster (Lee, Barber and Willett 2023,
2306.06342). Nothing is promised of a slice: measure `coverage` slice by slice. We differ: a limit
below 0, which asks for less than a point, is set to 0.

What is observed is a verdict, not a margin: an interval [low, high] of the margin of chosen over
rejected *covers* it if it holds a margin that is not negative, and *decides* if it lies on one side
of 0.

>>> conformal_limit(np.arange(1.0, 20.0), 0.1), conformal_limit(np.ones(3), 0.1)
(18.0, inf)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from trueline.errors import DataError, InputError
from trueline.records import Estimate
from trueline.stats.resampling import accuracy, codes, floats

__all__ = ["Coverage", "conformal_limit", "coverage"]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Shares of the scored pairs `covered` and `decided`, of the decided ones that are `right`, and
    of all pairs of which a side is unscored (`abstained`)."""

    covered: Estimate
    decided: Estimate
    right: Estimate
    abstained: Estimate


def conformal_limit(scores: ArrayLike, alpha: float, *, clusters: ArrayLike | None = None) -> float:
    """Return the limit, at least 0, that a new score keeps to with probability 1 − alpha."""
    x = floats(scores)
    if not 0 < alpha < 1:
        raise InputError("alpha must lie between 0 and 1", got=str(alpha))
    index = codes(np.arange(len(x)) if clusters is None else clusters, len(x))
    sizes = np.bincount(index)
    order = np.argsort(x, kind="stable")
    reached = np.cumsum(1.0 / sizes[index[order]])
    # The new cluster's own weight lies at infinity; the slack is for sums of 1/size.
    enough = np.flatnonzero(reached >= (len(sizes) + 1) * (1.0 - alpha) - 1e-9)
    return max(0.0, float(x[order[enough[0]]])) if len(enough) else math.inf


def coverage(
    low: ArrayLike,
    high: ArrayLike,
    *,
    scored: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
) -> Coverage:
    """Return the coverage of intervals [N] of margins; rows not `scored` are abstentions."""
    lower, upper = np.asarray(low, np.float64), np.asarray(high, np.float64)
    known = np.ones(len(lower), bool) if scored is None else np.asarray(scored, bool)
    if not lower.shape == upper.shape == known.shape or (lower > upper)[known].any():
        raise DataError("intervals must be [N] pairs of low and high", got="other columns")
    groups = np.asarray(np.arange(len(lower)) if clusters is None else clusters)

    def share(values: np.ndarray, of: np.ndarray) -> Estimate:
        inside = None if clusters is None else groups[of]
        return accuracy(values[of].astype(np.float64), clusters=inside)

    decided = (lower > 0) | (upper < 0)
    return Coverage(
        covered=share(upper >= 0, known),
        decided=share(decided, known),
        right=share(lower > 0, known & decided),
        abstained=share(~known, np.ones(len(known), bool)),
    )
