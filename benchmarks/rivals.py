"""Other people's answers to over-optimisation, each with the grid it is tuned on.

    point        r                            one fit on all pairs
    WCO-20       min_m r_m                    20 bootstrap members; Coste et al. 2023, 2310.02743
    UWO-20       mean_m r_m - c var_m r_m     the same
    mahalanobis  r - c s distance             s: sd of the training rewards; distance:
                                              sqrt(z' C^-1 z) over its training median, C shrunk
    winsorised   r on features clipped at c

r is a Bradley-Terry point estimate with a Gaussian prior on standardised features. All choose the
prior's precision with their own strength c. With c = 0, one member, or no clip, each is the point
estimate exactly.

    minimise over each column w:  sum_i count_i log(1 + exp(-d_i.w)) + precision / 2 |w|^2

Shapes: M pairs, N rows, F features, K members.

>>> rows = np.array([[1.0], [1.0], [-1.0], [1.0]])
>>> fit_members(rows, np.ones((4, 1)), (1.0,))[1.0].round(2)
array([[0.58]])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.covariance import LedoitWolf

__all__ = ["PRECISIONS", "STRENGTHS", "Rival", "bootstrap_counts", "fit_members"]

PRECISIONS = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)
NUM_MEMBERS = 20
STRENGTHS: dict[str, tuple[float, ...]] = {
    "point": (0.0,),
    "WCO-20": (0.0,),
    "UWO-20": (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    "mahalanobis": (0.0, 0.1, 0.3, 0.8, 1.6, 3.2, 6.4),
    "winsorised": (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, np.inf),
}
"""What each rival is tuned over, times PRECISIONS."""


def bootstrap_counts(num_pairs: int, num_members: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each member sees each pair, [M, K]; member 0 sees every pair once."""
    drawn = rng.multinomial(num_pairs, np.full(num_pairs, 1 / num_pairs), size=num_members).T
    drawn[:, 0] = 1
    return drawn.astype(np.float64)


def fit_members(
    rows: np.ndarray, counts: np.ndarray, precisions: Sequence[float]
) -> dict[float, np.ndarray]:
    """Return weights [F, K] at each precision, from differences [M, F] and counts [M, K].

    All columns go through one L-BFGS in coordinates in which the curvature at w = 0 is the
    identity: some forty steps, each two products with the matrix.
    """
    num_members = counts.shape[1]
    values, basis = np.linalg.eigh(rows.T @ rows / 4)
    rotated = rows @ basis
    alphas = np.repeat(np.asarray(precisions), num_members)
    scale = 1 / np.sqrt(np.maximum(values, 0.0)[:, None] + alphas)
    seen = np.tile(counts, len(precisions))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = scale * flat.reshape(scale.shape)
        wrong = expit(-(rotated @ weights))
        # log(1 + exp(-m)) = -log(1 - wrong); margins this large do not happen with a prior.
        height = -(seen * np.log1p(-np.minimum(wrong, 1 - 1e-16))).sum()
        slope = scale * (alphas * weights - rotated.T @ (seen * wrong))
        return float(height + 0.5 * (alphas * weights**2).sum()), slope.ravel()

    options = {"maxiter": 300, "maxcor": 20, "ftol": 1e-12, "gtol": 1e-4}
    solved = minimize(loss, np.zeros(scale.size), jac=True, method="L-BFGS-B", options=options)
    weights = basis @ (scale * solved.x.reshape(scale.shape))
    return dict(zip(precisions, np.split(weights, len(precisions), axis=1), strict=True))


@dataclass
class Rival:
    """All rivals on one draw: training rows [N, F], the pairs' row numbers, and pools to score."""

    train: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    pools: list[np.ndarray]
    rng: np.random.Generator

    def __post_init__(self) -> None:
        center, scale = self.train.mean(0), self.train.std(0)
        self.train = (self.train - center) / scale
        self.pools = [(pool - center) / scale for pool in self.pools]
        self._counts = bootstrap_counts(len(self.chosen), NUM_MEMBERS, self.rng)
        self._weights: dict[tuple[float, int], dict[float, np.ndarray]] = {}
        covariance = LedoitWolf(assume_centered=True).fit(self.train)
        median = np.median(covariance.mahalanobis(self.train))
        self._distances = [np.sqrt(covariance.mahalanobis(p) / median) for p in self.pools]

    def _members(self, clip: float, num: int, precision: float) -> np.ndarray:
        """Return weights [F, num], fitted for all precisions when first asked for."""
        if (clip, num) not in self._weights:
            rows = np.clip(self.train, -clip, clip)
            diff = rows[self.chosen] - rows[self.rejected]
            self._weights[clip, num] = fit_members(diff, self._counts[:, :num], PRECISIONS)
        return self._weights[clip, num][precision]

    def rewards(self, name: str, precision: float, strength: float) -> list[np.ndarray]:
        """Return the rewards of each pool's rows by the rival `name` under this setting."""
        clip = strength if name == "winsorised" else np.inf
        members = self._members(clip, NUM_MEMBERS if "-20" in name else 1, precision)
        middle = (np.clip(self.train, -clip, clip) @ members).mean(0)
        rewards = [np.clip(pool, -clip, clip) @ members - middle for pool in self.pools]
        if name == "WCO-20":
            return [r.min(1) for r in rewards]
        if name == "UWO-20":
            return [r.mean(1) - strength * r.var(1) for r in rewards]
        if name == "mahalanobis":
            spread = float((self.train @ members[:, 0]).std())
            both = zip(rewards, self._distances, strict=True)
            return [r[:, 0] - strength * spread * distance for r, distance in both]
        return [r[:, 0] for r in rewards]

    @staticmethod
    def settings(name: str) -> list[tuple[float, float]]:
        """Return the grid of precision and strength that a rival is tuned on."""
        return list(product(PRECISIONS, STRENGTHS[name]))
