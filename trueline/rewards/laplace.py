"""A Gaussian belief about a linear reward's weights, and the Bradley–Terry terms that shape it.

    p(chosen ≻ rejected | w) = ε + (1 − 2ε) σ(d·w),    d = z(chosen) − z(rejected)
    belief: N(mean, Σ);   comparisons D [N, F] turn it into N(mean + Σ Dᵀa, (Σ⁻¹ + Dᵀ S D)⁻¹)

where `a` is the gradient and S the Fisher curvature of the log-likelihood at the mode. Bradley
and Terry 1952; Laplace's method as in MacKay 1992; the stable dual form is algorithm 3.1 of
Rasmussen and Williams 2006.

Where we differ: (1) the covariance has two forms behind one face, `Dense` (Cholesky factor of the
precision, for F ≤ N) and `LowRank` (diagonal prior minus a factor, for F > N), so neither an F × F
nor an N × N matrix is built where it would be the larger; (2) with ε > 0 the Fisher curvature
stands in for the Hessian, which could be indefinite; its steps are short, so each factor serves as
the preconditioner of a few conjugate-gradient steps;
(3) rows may come in float32 (large tables): products with them are summed in float64, in parts.

Shapes: N comparisons or rows, F features. Unit: the reward is in nats of log-odds.
Fails when features are not standardised: one prior precision a block then means nothing.

>>> import numpy as np
>>> belief = LowRank(np.full(2, 4.0), np.zeros((2, 0)))      # prior N(0, 1/4)
>>> belief.var(np.eye(2))
array([0.25, 0.25])
>>> belief.observe(np.eye(2)[:1], np.array([4.0])).var(np.eye(2))
array([0.125, 0.25 ])
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, lapack, solve_triangular
from scipy.special import expit, log_expit

__all__ = [
    "SLICE",
    "Belief",
    "Dense",
    "LowRank",
    "Terms",
    "belief_of",
    "bradley_terry",
    "curved",
    "dual_mode",
    "margins_of",
    "primal_mode",
    "pulled",
]

MAX_NEWTON = 60
MAX_CONJUGATE = 12
SLICE = 8192
"""Rows that are worked on at a time where a table could be large."""


@dataclass(frozen=True)
class Terms:
    """Log-likelihood, its gradient in the margin, Fisher curvature and the curvature's own
    derivative: each float64 [N]."""

    loglik: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray
    turn: np.ndarray


def bradley_terry(margins: np.ndarray, label_noise: float = 0.0) -> Terms:
    """Return the Bradley–Terry terms at margins [N]; `label_noise`: share of random swaps."""
    right, wrong = expit(margins), expit(-margins)
    if label_noise == 0.0:
        return Terms(log_expit(margins), wrong, right * wrong, right * wrong * (wrong - right))
    prob, change = (
        label_noise + (1 - 2 * label_noise) * right,
        (1 - 2 * label_noise) * right * wrong,
    )
    spread = prob * (1 - prob)
    curvature = change**2 / spread
    turn = curvature * (2 * (wrong - right) - change * (1 - 2 * prob) / spread)
    return Terms(np.log(prob), change / prob, curvature, turn)


@dataclass(frozen=True)
class Dense:
    """Covariance (L Lᵀ)⁻¹ by the lower Cholesky factor L [F, F] of the precision."""

    chol: np.ndarray

    def var(self, rows: np.ndarray) -> np.ndarray:
        """xᵀ Σ x of each row of [N, F]."""
        half = solve_triangular(self.chol, rows.T, lower=True, check_finite=False)
        return np.asarray(np.einsum("fn,fn->n", half, half))

    def times(self, rows: np.ndarray) -> np.ndarray:
        """Σ rowsᵀ, [F, N]."""
        return np.asarray(cho_solve((self.chol, True), rows.T, check_finite=False))

    def observe(self, rows: np.ndarray, curvature: np.ndarray) -> Dense:
        """The belief after measurements along `rows` of precision `curvature`."""
        half = np.concatenate([self.chol.T, rows * np.sqrt(curvature)[:, None]])
        return Dense(_factor(half.T @ half))

    def diagonal(self) -> np.ndarray:
        """Variance of each weight, [F]."""
        inverse = lapack.dtrtri(self.chol, lower=1)[0]
        return np.asarray(np.einsum("ij,ij->j", inverse, inverse))


@dataclass(frozen=True)
class LowRank:
    """Covariance diag(1/prior) − factor factorᵀ; prior precisions [F], factor [F, R]."""

    prior: np.ndarray
    factor: np.ndarray

    def var(self, rows: np.ndarray) -> np.ndarray:
        """xᵀ Σ x of each row of [N, F]."""
        known = rows @ self.factor
        total = np.einsum("nf,nf,f->n", rows, rows, 1.0 / self.prior)
        return np.asarray(np.maximum(total - np.einsum("nr,nr->n", known, known), 0.0))

    def times(self, rows: np.ndarray) -> np.ndarray:
        """Σ rowsᵀ, [F, N]."""
        return np.asarray(rows.T / self.prior[:, None] - self.factor @ (rows @ self.factor).T)

    def observe(self, rows: np.ndarray, curvature: np.ndarray) -> LowRank:
        """The belief after measurements along `rows` of precision `curvature`."""
        spread, root = self.times(rows), np.sqrt(curvature)
        chol = _factor(_scaled(rows @ spread, root))
        new = solve_triangular(chol, (spread * root).T, lower=True, check_finite=False).T
        return LowRank(self.prior, np.concatenate([self.factor, new], axis=1))

    def diagonal(self) -> np.ndarray:
        """Variance of each weight, [F]."""
        return np.asarray(1.0 / self.prior - np.einsum("fr,fr->f", self.factor, self.factor))


Belief = Dense | LowRank


def belief_of(prior: np.ndarray, rows: np.ndarray, curvature: np.ndarray) -> Belief:
    """N(0, diag(1/prior)) after measurements along `rows`, in whichever form is the smaller."""
    num_rows, width = rows.shape
    if width > num_rows:
        return LowRank(prior, np.zeros((width, 0))).observe(rows, curvature)
    precision = curved(rows, curvature)
    precision.flat[:: width + 1] += prior
    return Dense(_factor(precision))


def margins_of(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """rows · weights in float64, [N]; rows in float32 (large tables) are widened in parts."""
    return np.concatenate([part @ weights for part in _widened(rows)])


def pulled(rows: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """rowsᵀ slope in float64, [F]."""
    total, start = np.zeros(rows.shape[1]), 0
    for part in _widened(rows):
        total += part.T @ slope[start : start + len(part)]
        start += len(part)
    return total


def curved(rows: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """rowsᵀ diag(curvature) rows, [F, F]: products in the rows' own precision, sums in float64."""
    root, width = np.sqrt(curvature).astype(rows.dtype), rows.shape[1]
    if rows.dtype == np.float64:
        half = rows * root[:, None]
        return np.asarray(half.T @ half)
    total = np.zeros((width, width))
    for start in range(0, len(rows), SLICE):
        half = rows[start : start + SLICE] * root[start : start + SLICE, None]
        total += half.T @ half
    return total


def _widened(rows: np.ndarray) -> Iterator[np.ndarray]:
    if rows.dtype == np.float64:
        yield rows
        return
    for start in range(0, len(rows), SLICE):
        yield rows[start : start + SLICE].astype(np.float64)


def dual_mode(
    gram: np.ndarray,
    *,
    offset: np.ndarray | float = 0.0,
    start: np.ndarray | None = None,
    label_noise: float = 0.0,
    tol: float = 1e-12,
) -> tuple[np.ndarray, Terms, float, np.ndarray]:
    """The mode from the Gram matrix D Σ Dᵀ [N, N] alone, by Newton steps with halving.

    Returns the dual weights a (weights move by Σ Dᵀ a), the terms there, the log evidence, and
    the Cholesky factor of I + S^½ gram S^½. `offset`: margins of the belief's mean.
    """
    dual = np.zeros(len(gram)) if start is None else start
    gain = gram @ dual
    terms = bradley_terry(offset + gain, label_noise)
    height = terms.loglik.sum() - 0.5 * dual @ gain
    for _ in range(MAX_NEWTON):
        root = np.sqrt(terms.curvature)
        chol = _factor(_scaled(gram, root))
        aim = terms.curvature * gain + terms.slope
        inner = cho_solve((chol, True), root * (gram @ aim), check_finite=False)
        move = aim - root * inner - dual
        lift = gram @ move
        if (terms.slope - dual) @ lift < tol:
            break
        size, old = 1.0, height
        while True:
            new_dual, new_gain = dual + size * move, gain + size * lift
            terms = bradley_terry(offset + new_gain, label_noise)
            height = terms.loglik.sum() - 0.5 * new_dual @ new_gain
            if height >= old - 1e-9 or size < 1e-6:
                break
            size /= 2
        dual, gain = new_dual, new_gain
    return dual, terms, float(height - np.log(np.diag(chol)).sum()), chol


def primal_mode(
    rows: np.ndarray,
    prior: np.ndarray,
    *,
    start: np.ndarray | None = None,
    label_noise: float = 0.0,
    tol: float = 1e-12,
) -> tuple[np.ndarray, Terms, float, np.ndarray]:
    """The mode of the weights under N(0, diag(1/prior)), by Newton steps with halving.

    Returns the weights [F], the terms there, the log posterior (unnormalised), and the Cholesky
    factor of the posterior precision.
    """
    weights = np.zeros(rows.shape[1]) if start is None else start
    for _ in range(MAX_NEWTON):
        margins = margins_of(rows, weights)
        terms = bradley_terry(margins, label_noise)
        precision = curved(rows, terms.curvature)
        precision.flat[:: len(prior) + 1] += prior
        chol = _factor(precision)
        slope = pulled(rows, terms.slope) - prior * weights
        move = cho_solve((chol, True), slope, check_finite=False)
        if slope @ move < tol:
            break
        # One factor serves many steps where Fisher's curvature makes each a short one.
        for _ in range(MAX_CONJUGATE if label_noise else 1):
            lift = margins_of(rows, move)
            size = _step_size(weights, margins, move, lift, prior, label_noise)
            weights, margins = weights + size * move, margins + size * lift
            old, terms = slope, bradley_terry(margins, label_noise)
            slope = pulled(rows, terms.slope) - prior * weights
            fresh = cho_solve((chol, True), slope, check_finite=False)
            if not label_noise or slope @ fresh < 0.3 * tol:
                break
            keep = max(0.0, float(fresh @ (slope - old)) / max(float(move @ old), 1e-300))
            move = fresh + keep * move
            if move @ slope <= 0:
                move = fresh
    height = terms.loglik.sum() - 0.5 * prior @ weights**2
    return weights, terms, float(height), chol


def _step_size(
    weights: np.ndarray,
    margins: np.ndarray,
    move: np.ndarray,
    lift: np.ndarray,
    prior: np.ndarray,
    label_noise: float,
) -> float:
    """How far to go along `move`: 1, or by one secant step on the slope, never downhill."""

    def along(size: float) -> tuple[float, float]:
        terms, at = bradley_terry(margins + size * lift, label_noise), weights + size * move
        return (
            float(terms.loglik.sum() - 0.5 * prior @ at**2),
            float(terms.slope @ lift - (prior * at) @ move),
        )

    (here, first), (there, second) = along(0.0), along(1.0)
    size = 1.0
    if label_noise and first > second:
        size = float(np.clip(first / (first - second), 0.1, 4.0))
        there = along(size)[0]
    while there < here - 1e-9 and size > 1e-6:
        size /= 2
        there = along(size)[0]
    return size


def _scaled(gram: np.ndarray, root: np.ndarray) -> np.ndarray:
    """I + root gram root."""
    out = root[:, None] * gram * root
    out.flat[:: len(root) + 1] += 1.0
    return np.asarray(out)


def _factor(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(cholesky(matrix, lower=True, overwrite_a=True, check_finite=False))
