"""Estimate the win rate that would be left if both answers were equally long.

    P(win) = sigma(theta + phi tanh(d / std d)),   d = length of ours - length of theirs
    length-controlled win rate = sigma(theta)

Dubois et al. 2024 (arXiv 2404.04475). We differ: (1) no term for the difficulty of each prompt,
which takes many policies to fit; (2) no ridge, so that what cannot be fitted (one side wins
everything, or length tells win from loss) is not measured, instead of a number the ridge made;
(3) the interval resamples pairs. Where lengths never overlap zero difference theta is an
extrapolation, and its interval says so.

>>> wins, longer = [1, 1, 1, 0, 0, 1, 0, 0], [9, 8, 7, 1, -7, -8, -9, -1]
>>> print(length_controlled(wins, longer, rng=np.random.default_rng(0)).value)
0.5
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from trueline.records import Estimate
from trueline.stats.resampling import Floats, bootstrap, floats

__all__ = ["length_controlled"]

_STEPS, _LARGEST = 50, 20.0


def length_controlled(
    wins: ArrayLike, length_difference: ArrayLike, *, rng: np.random.Generator
) -> Estimate:
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
