"""How probable the comparisons are under each prior, and the prior that makes them most probable.

    log Z(α) = log p(y | w*) − ½ Σ_b α_b |w*_b|² + ½ log |A| − ½ log |A + Dᵀ S D|  + log p(V)
    d log Z / d log α_b = ½ (γ_b − α_b |w*_b|² + Σ_i v_i s'_i d_i·Σ A_b w*),
    γ_b = F_b − α_b tr Σ_bb,     v_i = d_iᵀ Σ d_i,     s' = dS/d margin

Laplace evidence after MacKay 1992 (a block b of features shares one precision α_b; γ_b is the
number of its directions that the data have fixed). Blocks are a layer's pools and the surprisals.

Where we differ: (1) MacKay's fixed point is only the first guess of a secant climb in log α with
step halving, so the evidence never falls; (2) V, the prior variance of a margin, has the
hyperprior log p(V) = −½ (log V / 2)² − V / 10: without it a handful of comparisons sends α to
infinity, and labels that never contradict one another send it to 0; (3) MacKay leaves out that the
curvature s moves with w*, which with strong labels puts α a sixth too high; the term stays in (in
the weights form with the mean of v_i).

Shapes: B blocks of differences [N, F_b]. Where F > N everything happens on Gram matrices [N, N],
otherwise on weights [F]; the results are the same to rounding.
Fails where labels hold no signal: then V ends small, and the reward is close to constant.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, lapack

from trueline.rewards.laplace import Belief, Mode, Terms, belief_of, dual_mode, primal_mode

__all__ = ["MarginalLikelihood", "Point", "climb"]

MARGIN_VARIANCE = (1e-4, 1e4)
"""Bounds of a block's share of V."""
HYPERPRIOR_SD = 2.0
LARGE_VARIANCE = 5.0
MAX_STEP = 2.0
MAX_HALVINGS = 3
HOPE = 3.0
"""In log α: how far the top may be, at most, along the gradient."""


@dataclass(frozen=True)
class Point:
    """The evidence at one choice of precisions, and the mode there."""

    log_precisions: np.ndarray
    """Natural logarithms, [B]."""
    value: float
    """Log evidence, hyperprior included, in nats."""
    gradient: np.ndarray
    """In the log precisions, [B]."""
    fixed: np.ndarray
    """γ_b: directions of each block that the data have fixed, [B]."""
    mode: np.ndarray
    """Weights [F], or dual weights [N] where the Gram form was used."""
    terms: Terms

    @property
    def precisions(self) -> np.ndarray:
        """α, [B]."""
        return np.asarray(np.exp(self.log_precisions))


class MarginalLikelihood:
    """Evidence of differences [N, F]."""

    def __init__(
        self,
        rows: np.ndarray,
        owner: np.ndarray,
        label_noise: float = 0.0,
        offset: np.ndarray | float = 0.0,
    ) -> None:
        """Prepare for many precisions; `owner` [F]: the number of each column's block, sorted;
        `offset` [N]: what another reward says of the margins already."""
        self.rows, self.owner, self.label_noise, self.offset = rows, owner, label_noise, offset
        edges = np.flatnonzero(np.diff(owner)) + 1
        self.blocks = np.split(rows, edges, axis=1)
        self.dual = rows.shape[1] > rows.shape[0]
        # A block whose differences are all zero (a constant token) keeps a harmless unit scale.
        power = np.array([np.einsum("nf,nf->", b, b) / len(rows) for b in self.blocks])
        self.power = np.where(power > 0, power, 1.0)
        """Mean square of a difference in each block, [B]."""
        self.bounds = [np.log(self.power / v) for v in reversed(MARGIN_VARIANCE)]
        if self.dual:
            self.grams = [b @ b.T for b in self.blocks]

    def with_label_noise(self, label_noise: float) -> MarginalLikelihood:
        """Return the evidence of the same rows under another label noise."""
        other = copy(self)
        other.label_noise = label_noise
        return other

    def start(self) -> np.ndarray:
        """Return the log precisions at which the prior variance of a margin is 1."""
        return np.asarray(np.log(self.power * len(self.blocks)))

    def at(
        self, log_precisions: np.ndarray, *, start: np.ndarray | None = None, tol: float = 3e-3
    ) -> Point:
        """Return the evidence at these precisions; `start`: the mode of a point nearby."""
        x = np.clip(log_precisions, *self.bounds)
        mode, value, fixed, energy, drift = (self._dual if self.dual else self._primal)(
            np.exp(x), start, tol
        )
        variance = self.power * np.exp(-x)
        total = variance.sum()
        log_v = np.log(total)
        pull = (log_v / HYPERPRIOR_SD**2 / total + 0.5 / LARGE_VARIANCE) * variance
        gradient = 0.5 * (fixed - energy + drift) + pull
        value += -0.5 * (log_v / HYPERPRIOR_SD) ** 2 - 0.5 * total / LARGE_VARIANCE
        return Point(x, value, gradient, fixed, mode.weights, mode.terms)

    def posterior(self, point: Point) -> tuple[np.ndarray, Belief]:
        """Return the mode as weights, [F], and the belief around it."""
        prior = point.precisions[self.owner]
        weights = point.mode @ self.rows / prior if self.dual else point.mode
        return weights, belief_of(prior, self.rows, point.terms.curvature)

    def _dual(self, alphas: np.ndarray, start: np.ndarray | None, tol: float) -> _Parts:
        gram = np.asarray(sum(g / a for g, a in zip(self.grams, alphas, strict=True)))
        how: Any = {"start": start, "label_noise": self.label_noise, "offset": self.offset}
        mode = dual_mode(gram, **how, tol=tol)
        curvature = mode.terms.curvature
        root = np.sqrt(curvature)
        # Only the lower triangle of the inverse is filled; sums over it count twice off-diagonal.
        inverse = lapack.dpotri(mode.chol, lower=1)[0]
        variance = (1.0 - np.diag(inverse)) / np.maximum(curvature, 1e-300)
        bend = mode.terms.bend * variance
        inverse *= root[:, None] * root
        inverse.flat[:: len(gram) + 1] *= 0.5
        fixed = np.array([2 * np.vdot(inverse, g) for g in self.grams]) / alphas
        shares = np.stack([g @ mode.weights for g in self.grams]) / alphas[:, None]
        settled = root * cho_solve((mode.chol, True), root * (gram @ bend), check_finite=False)
        value = mode.height - float(np.log(np.diag(mode.chol)).sum())
        return mode, value, fixed, shares @ mode.weights, shares @ (bend - settled)

    def _primal(self, alphas: np.ndarray, start: np.ndarray | None, tol: float) -> _Parts:
        prior = alphas[self.owner]
        how: Any = {"start": start, "label_noise": self.label_noise, "offset": self.offset}
        mode = primal_mode(self.rows, prior, **how, tol=tol)
        inverse = lapack.dtrtri(mode.chol, lower=1)[0]
        variance = np.einsum("ij,ij->j", inverse, inverse)
        fixed = np.bincount(self.owner, 1.0 - prior * variance)
        margin_variance = fixed.sum() / max(mode.terms.curvature.sum(), 1e-300)
        bend = (margin_variance * mode.terms.bend) @ self.rows
        drift = prior * mode.weights * cho_solve((mode.chol, True), bend, check_finite=False)
        energy = np.bincount(self.owner, prior * mode.weights**2)
        log_volume = 0.5 * np.log(prior).sum() - np.log(np.diag(mode.chol)).sum()
        value = mode.height + float(log_volume)
        return mode, value, fixed, energy, np.bincount(self.owner, drift)


_Parts = tuple[Mode, float, np.ndarray, np.ndarray, np.ndarray]
"""Mode, log evidence without hyperprior, and by block [B]: γ_b, α_b |w*_b|², and what the
curvatures' own change with α_b adds to the gradient (twice)."""


def climb(
    evidence: MarginalLikelihood,
    start: Point | None = None,
    *,
    tol: float = 0.02,
    give_up_below: float = -np.inf,
    max_steps: int = 25,
) -> Point:
    """Return the precisions of (locally) largest evidence, to within about `tol` nats.

    `give_up_below`: stop early where not even a hopeful guess of the top is above this value.
    """
    here = evidence.at(evidence.start()) if start is None else start
    bend = _second_derivative(here)
    for _ in range(max_steps):
        step = np.clip(here.gradient / bend, -MAX_STEP, MAX_STEP)
        step = np.clip(here.log_precisions + step, *evidence.bounds) - here.log_precisions
        if np.abs(here.gradient * step).sum() < tol:
            break
        if here.value + HOPE * np.abs(here.gradient).sum() < give_up_below:
            break
        there = evidence.at(here.log_precisions + step, start=here.mode)
        for _ in range(MAX_HALVINGS):
            if there.value > here.value - 1e-2:
                break
            step = step / 3
            there = evidence.at(here.log_precisions + step, start=here.mode)
        if there.value < here.value:
            break
        gain = there.value - here.value
        # The secant's guess where it is plausible, MacKay's elsewhere.
        moved, guess = np.abs(step) > 1e-3, _second_derivative(there)
        slope = -(there.gradient - here.gradient) / np.where(moved, step, 1.0)
        bend = np.where(moved & (slope > 0.2 * guess) & (slope < 5 * guess), slope, guess)
        here = there
        if gain < 0.1 * tol:
            break
    return here


def _second_derivative(point: Point) -> np.ndarray:
    """Return MacKay's guess of minus the second derivative, [B]. A block on its way out has a
    gradient that falls like 1/α, so that the gradient itself is the scale there."""
    bend = np.maximum(0.5 * point.fixed, np.abs(point.gradient) / MAX_STEP)
    return np.asarray(bend + 1e-12)
