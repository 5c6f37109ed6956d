"""How far probabilities mean what they say: calibration error and reliability bins.

    ECE = sum_b (n_b / N) |mean probability in b - mean outcome in b|,   bins of equal count

Naeini et al. 2015; bins of equal count: Nguyen & O'Connor 2015 (1508.05154). Equal probabilities
always share a bin. Probabilities [N] lie in [0, 1], outcomes are 0, 1, or 0.5 for a tie. ECE is
never below 0 and so reads high on few rows; its interval reflects the bootstrap about the value,
which takes that bias out: a lower end of 0 means "perhaps calibrated".

>>> [(bin.predicted, bin.observed.value) for bin in reliability([0.2, 0.2, 0.9], [0, 1, 1], bins=2)]
[(0.2, 0.5), (0.9, 1.0)]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trueline.errors import DataError
from trueline.records import Estimate
from trueline.rng import Rng
from trueline.stats.resampling import Floats, bootstrap, floats, wilson

__all__ = ["Bin", "calibration_error", "reliability"]


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of like probability: what was predicted, and what came of it."""

    predicted: float
    observed: Estimate

    def as_dict(self) -> dict[str, float | int | None]:
        """Return it flat, as it stands in results: predicted, observed, lower, upper, n."""
        row = self.observed.as_dict()
        return {"predicted": self.predicted, "observed": row.pop("value"), **row}


def reliability(probs: ArrayLike, labels: ArrayLike, bins: int = 10) -> list[Bin]:
    """Return at most `bins` groups of like probability, in rising order, with Wilson intervals."""
    p, y = _checked(probs, labels)
    group = _groups(p, bins)
    rows = [group == g for g in np.unique(group)]
    return [Bin(float(p[r].mean()), wilson(float(y[r].sum()), int(r.sum()))) for r in rows]


def calibration_error(
    probs: ArrayLike,
    labels: ArrayLike,
    bins: int = 10,
    *,
    clusters: ArrayLike | None = None,
    rng: Rng,
) -> Estimate:
    """Return the expected calibration error."""

    def error(p: Floats, y: Floats) -> float:
        return float(np.abs(np.bincount(_groups(p, bins), weights=p - y)).sum() / len(p))

    raw = bootstrap(error, *_checked(probs, labels), clusters=clusters, rng=rng)
    if raw.value is None or raw.lower is None or raw.upper is None:
        return raw
    lower, upper = 2 * raw.value - raw.upper, 2 * raw.value - raw.lower
    return Estimate(raw.value, max(0.0, lower), min(1.0, max(raw.value, upper)), raw.n)


def _checked(probs: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    p, y = floats(probs), floats(labels)
    if len(p) != len(y) or ((p < 0) | (p > 1) | (y < 0) | (y > 1)).any():
        raise DataError(
            "probabilities and outcomes must be pairs of numbers between 0 and 1", got="others"
        )
    return p, y


def _groups(p: Floats, bins: int) -> NDArray[np.intp]:
    """Return bin numbers [N] of about equal count; equal probabilities are never parted."""
    ordered = np.sort(p)
    first = [ordered[math.ceil(i * len(p) / bins)] for i in range(1, min(bins, len(p)))]
    return np.searchsorted(np.unique(first), p, side="right")
