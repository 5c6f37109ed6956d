"""How far each rater can be relied on: a temperature on the margins of their comparisons.

    p(chosen ≻ rejected | w, rater r) = σ(τ_r d·w),    log τ_r ~ N(0, 0.5²)

τ_r maximises the leave-one-out likelihood of r's comparisons, so that a rater is not called
reliable for rows the fit has bent to. The left-out margin is the closed form of Laplace's method
(Opper and Winther 2000; Vehtari et al. 1412.7461, "LA-LOO"):

    f₋ᵢ = fᵢ − vᵢ gᵢ / (1 − vᵢ sᵢ)     v: posterior variance of the margin, g, s: slope, curvature

Where we differ: temperatures, not per-rater weights, so that all raters share one reward; their
mean is 1 (geometric, by comparisons), because their scale is the reward's. Only with at least two
raters of at least 20 comparisons each; the others keep 1.

Fails for a rater who is worse than chance: τ stays positive, and they are only turned down.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_expit

from trueline.rewards.laplace import Terms

__all__ = ["MIN_COMPARISONS", "left_out_margins", "temperatures"]

MIN_COMPARISONS = 20
LOG_SD = 0.5


def left_out_margins(margins: np.ndarray, variance: np.ndarray, terms: Terms) -> np.ndarray:
    """Margin of each comparison under the posterior of all the others, [N]."""
    leverage = np.minimum(variance * terms.curvature, 0.999)
    return np.asarray(margins - variance * terms.slope / (1.0 - leverage))


def temperatures(margins: np.ndarray, raters: Sequence[str]) -> dict[str, float]:
    """Reliability of each rater from left-out margins at temperature 1, [N]; {} if not asked for.

    >>> agreed = np.concatenate([np.full(90, 2.0), np.full(10, -2.0)])
    >>> noisy = np.concatenate([np.full(60, 2.0), np.full(40, -2.0)])
    >>> found = temperatures(np.concatenate([agreed, noisy]), ["ann"] * 100 + ["bob"] * 100)
    >>> found["ann"] > 1 > found["bob"]
    True
    """
    names = np.asarray(raters)
    counts = {str(name): int((names == name).sum()) for name in np.unique(names)}
    known = {name: n for name, n in counts.items() if n >= MIN_COMPARISONS}
    if len(known) < 2:
        return {}
    logs = {name: _log_temperature(margins[names == name]) for name in known}
    center = sum(logs[name] * n for name, n in known.items()) / sum(known.values())
    return {name: float(np.exp(log - center)) for name, log in logs.items()}


def _log_temperature(margins: np.ndarray) -> float:
    def loss(log: float) -> float:
        return float(0.5 * (log / LOG_SD) ** 2 - log_expit(np.exp(log) * margins).sum())

    return float(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x)
