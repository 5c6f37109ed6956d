"""How probable the comparisons are under each prior, and the prior that makes them most probable.

    log Z(α) = log p(y | w*) − ½ Σ_b α_b |w*_b|² + ½ log |A| − ½ log |A + Dᵀ S D|  + log p(V)
    d log Z / d log α_b = ½ (γ_b − α_b |w*_b|² + Σ_i v_i s'_i d_i·Σ A_b w*),
    γ_b = F_b − α_b tr Σ_bb,     v_i = d_iᵀ Σ d_i,     s' = dS/d margin

Laplace evidence after MacKay 1992 (a block b of features shares one precision α_b; γ_b is the
number of its directions that the data have fixed). Blocks are a layer's pools and the surprisals,
so that the data say how much each is worth.

Where we differ: (1) MacKay's fixed point is only the first guess of a secant climb in log α with
step halving, so the evidence never falls; (2) V, the prior variance of a margin, has the
hyperprior log p(V) = −½ (log V / 2)² − V / 10. Its pull is a few nats. Without the first term a
handful of comparisons sends α to infinity, and the reward claims to be sure that all answers are
worth the same; without the second, labels that never contradict one another (or ε > 0, see
`laplace`) make the reward a step function, for which Laplace's method says nothing; (3) MacKay
leaves out that the curvature s moves with w*; with strong labels that puts α a sixth too high, so
the term stays in (in the weights form with the mean of v_i for each, which costs next to nothing).

Shapes: B blocks of differences [N, F_b]. With few comparisons everything happens on Gram matrices
[N, N], otherwise on weights [F]; the results are the same to rounding.
Fails where labels hold no signal: then V ends small, and the reward is close to constant.

>>> import numpy as np
>>> rows = np.random.default_rng(0).standard_normal((200, 3))
>>> weights = np.array([2.0, 0.0, 0.0])
>>> signs = np.sign(rows @ weights)[:, None]
>>> best = climb(MarginalLikelihood([rows[:, :1] * signs, rows[:, 1:] * signs]))
>>> bool(best.precisions[1] > 10 * best.precisions[0])
True
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, lapack

from trueline.rewards.laplace import Terms, dual_mode, primal_mode, pulled

__all__ = ["MarginalLikelihood", "Point", "climb"]

# Dual Newton steps cost N³/3 multiplications, primal ones N F²: this is where they cross.
DUAL_ABOVE = 0.9
MARGIN_VARIANCE = (1e-4, 1e4)
HYPERPRIOR_SD = 2.0
LARGE_VARIANCE = 5.0
MAX_STEP = 2.0
HOPE = 3.0
MAX_HALVINGS = 3


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
        return np.asarray(np.exp(self.log_precisions))


class MarginalLikelihood:
    """Evidence of B blocks of differences [N, F_b] (already scaled by the rater's temperature)."""

    def __init__(
        self,
        blocks: Sequence[np.ndarray],
        *,
        label_noise: float = 0.0,
        rows: np.ndarray | None = None,
    ) -> None:
        """`rows`: the blocks side by side, where there is such an array already."""
        self.blocks, self.label_noise = list(blocks), label_noise
        self.num_rows = len(self.blocks[0])
        self.widths = np.array([b.shape[1] for b in self.blocks])
        self.owner = np.repeat(np.arange(len(self.blocks)), self.widths)
        self.dual = bool(self.widths.sum() > DUAL_ABOVE * self.num_rows)
        # A block whose differences are all zero (a constant token) keeps a harmless unit scale.
        power = np.array([float(np.vdot(b, b)) / self.num_rows for b in self.blocks])
        self.power = np.where(power > 0, power, 1.0)
        self.bounds = [np.log(self.power / v) for v in reversed(MARGIN_VARIANCE)]
        if self.dual:
            self.grams = [b @ b.T for b in self.blocks]
        else:
            self.rows = np.hstack(self.blocks) if rows is None else rows

    def with_label_noise(self, label_noise: float) -> MarginalLikelihood:
        """The same differences under another share of random swaps; arrays are shared."""
        other = copy.copy(self)
        other.label_noise = label_noise
        return other

    def start(self) -> np.ndarray:
        """Log precisions at which the prior variance of a margin is 1."""
        return np.asarray(np.log(self.power * len(self.blocks)))

    def at(
        self, log_precisions: np.ndarray, *, start: np.ndarray | None = None, tol: float = 3e-3
    ) -> Point:
        """The evidence at these precisions; `start`: the mode of a point nearby."""
        x = np.clip(log_precisions, *self.bounds)
        found = (self._dual if self.dual else self._primal)(np.exp(x), start, tol)
        variance = self.power * np.exp(-x)
        total = variance.sum()
        log_v = np.log(total)
        pull = (log_v / HYPERPRIOR_SD**2 / total + 0.5 / LARGE_VARIANCE) * variance
        gradient = 0.5 * (found.fixed - found.energy + found.drift) + pull
        value = found.value - 0.5 * (log_v / HYPERPRIOR_SD) ** 2 - 0.5 * total / LARGE_VARIANCE
        return Point(x, value, gradient, found.fixed, found.mode, found.terms)

    def weights(self, point: Point) -> np.ndarray:
        """The mode as weights, [F]."""
        if not self.dual:
            return point.mode
        parts = zip(self.blocks, point.precisions, strict=True)
        return np.concatenate([block.T @ point.mode / alpha for block, alpha in parts])

    def _dual(self, alphas: np.ndarray, start: np.ndarray | None, tol: float) -> _Found:
        gram = np.asarray(sum(g / a for g, a in zip(self.grams, alphas, strict=True)))
        mode, terms, value, chol = dual_mode(
            gram, start=start, label_noise=self.label_noise, tol=tol
        )
        root = np.sqrt(terms.curvature)
        # Only the lower triangle of the inverse is filled; sums over it count twice off-diagonal.
        inverse = lapack.dpotri(chol, lower=1)[0]
        turn = terms.turn * (1.0 - np.diag(inverse)) / np.maximum(terms.curvature, 1e-300)
        inverse *= root[:, None] * root
        inverse.flat[:: self.num_rows + 1] *= 0.5
        fixed = np.array([2 * np.vdot(inverse, g) for g in self.grams]) / alphas
        shares = np.stack([g @ mode for g in self.grams]) / alphas[:, None]
        settled = root * cho_solve((chol, True), root * (gram @ turn), check_finite=False)
        return _Found(mode, terms, value, fixed, shares @ mode, shares @ (turn - settled))

    def _primal(self, alphas: np.ndarray, start: np.ndarray | None, tol: float) -> _Found:
        prior = alphas[self.owner]
        mode, terms, height, chol = primal_mode(
            self.rows, prior, start=start, label_noise=self.label_noise, tol=tol
        )
        inverse = lapack.dtrtri(chol, lower=1)[0]
        variance = np.einsum("ij,ij->j", inverse, inverse)
        value = float(height + 0.5 * np.log(prior).sum() - np.log(np.diag(chol)).sum())
        fixed = np.bincount(self.owner, 1.0 - prior * variance)
        margin_variance = fixed.sum() / max(terms.curvature.sum(), 1e-300)
        turn = pulled(self.rows, margin_variance * terms.turn)
        turned = cho_solve((chol, True), turn, check_finite=False)
        energy = np.bincount(self.owner, prior * mode**2)
        return _Found(
            mode, terms, value, fixed, energy, np.bincount(self.owner, prior * mode * turned)
        )


@dataclass(frozen=True)
class _Found:
    """The mode at given precisions; the last three are one number a block, [B]."""

    mode: np.ndarray
    terms: Terms
    value: float
    fixed: np.ndarray
    energy: np.ndarray
    """α_b |w*_b|²"""
    drift: np.ndarray
    """What the curvatures' own change with α_b adds to the gradient (twice)."""


def climb(
    evidence: MarginalLikelihood,
    start: Point | None = None,
    *,
    tol: float = 0.02,
    give_up_below: float = -np.inf,
    max_steps: int = 25,
) -> Point:
    """The precisions of (locally) largest evidence, to within about `tol` nats.

    `give_up_below`: stop early where not even a hopeful guess of the top is above this value.
    """
    here = evidence.at(evidence.start()) if start is None else start
    bend = _bend(here)
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
        moved = np.abs(step) > 1e-3
        slope = -(there.gradient - here.gradient) / np.where(moved, step, 1.0)
        guess = _bend(there)
        bend = np.where(moved & (slope > 0.2 * guess) & (slope < 5 * guess), slope, guess)
        here = there
        if gain < 0.1 * tol:
            break
    return here


def _bend(point: Point) -> np.ndarray:
    """MacKay's guess of minus the second derivative. A block on its way out has a gradient that
    falls like 1/α, so that the gradient itself is the scale there."""
    bend = np.maximum(0.5 * point.fixed, np.abs(point.gradient) / MAX_STEP)
    return np.asarray(bend + 1e-12)
