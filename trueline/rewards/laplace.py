"""A Gaussian belief about a linear reward's weights, and the Bradley–Terry terms that shape it.

    p(chosen ≻ rejected | w) = e + (1 − 2e) σ(d·w),    d = z(chosen) − z(rejected)
    prior N(0, Σ);   comparisons D [N, F] turn it into N(Σ Dᵀa, (Σ⁻¹ + Dᵀ S D)⁻¹)

where `a` is the gradient and S the curvature of the log-likelihood at the mode. Bradley and Terry
1952; Laplace's method as in MacKay 1992; the stable dual form is algorithm 3.1 of Rasmussen and
Williams 2006. With label noise (e > 0) the log posterior is not concave: its expected (Fisher)
curvature (dp/dm)² / (p (1 − p)) ≥ 0 stands in, so that Newton's steps still go uphill.

Where we differ: the covariance has two forms behind one face, `Dense` (Cholesky factor of the
precision, for F ≤ N) and `LowRank` (diagonal prior minus a factor, for F > N), so neither an F × F
nor an N × N matrix is built where it would be the larger.

Shapes: N comparisons or rows, F features. Unit: the reward is in nats of log-odds.
Fails when features are not standardised: one prior precision a block then means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import expit, log_expit

from trueline.rewards.storage import stored

__all__ = [
    "SLICE",
    "Belief",
    "Dense",
    "LowRank",
    "Mode",
    "Terms",
    "belief_of",
    "bradley_terry",
    "dual_mode",
    "primal_mode",
]

MAX_NEWTON = 60
SLICE = 8192
"""Rows that are worked on at a time where a table could be large."""


@dataclass(frozen=True)
class Terms:
    """The log-likelihood and its derivatives in the margin, each float64 [N]."""

    loglik: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray
    """Minus the second derivative; under label noise, what is expected of it."""
    bend: np.ndarray
    """Derivative of the curvature."""


def bradley_terry(margins: np.ndarray, label_noise: float = 0.0) -> Terms:
    """Return the terms at margins [N]; `label_noise`: share of labels flipped at random."""
    right, wrong = expit(margins), expit(-margins)
    if label_noise == 0.0:
        return Terms(log_expit(margins), wrong, right * wrong, right * wrong * (wrong - right))
    prob = label_noise + (1 - 2 * label_noise) * right
    change, variance = (1 - 2 * label_noise) * right * wrong, prob * (1 - prob)
    curvature = change**2 / variance
    bend = curvature * (2 * (wrong - right) - change * (1 - 2 * prob) / variance)
    return Terms(np.log(prob), change / prob, curvature, bend)


@stored
@dataclass(frozen=True)
class Dense:
    """Covariance (L Lᵀ)⁻¹ by the lower Cholesky factor L [F, F] of the precision."""

    chol: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.chol.shape

    def var(self, rows: np.ndarray) -> np.ndarray:
        """Return xᵀ Σ x of each row x of [N, F]."""
        half = solve_triangular(self.chol, rows.T, lower=True, check_finite=False)
        return np.asarray(np.einsum("fn,fn->n", half, half))


@stored
@dataclass(frozen=True)
class LowRank:
    """Covariance diag(1/prior) − factor factorᵀ; prior precisions [F], factor [F, N]."""

    prior: np.ndarray
    factor: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return len(self.factor), len(self.prior)

    def var(self, rows: np.ndarray) -> np.ndarray:
        """Return xᵀ Σ x of each row x of [N, F]."""
        known = rows @ self.factor
        total = np.einsum("nf,nf,f->n", rows, rows, 1.0 / self.prior)
        return np.asarray(np.maximum(total - np.einsum("nr,nr->n", known, known), 0.0))


Belief = Dense | LowRank


def belief_of(prior: np.ndarray, rows: np.ndarray, curvature: np.ndarray) -> Belief:
    """Return N(0, diag(1/prior)) after measurements along `rows` [N, F] of precision `curvature`
    [N], in the smaller form."""
    num_rows, width = rows.shape
    if width <= num_rows:
        return Dense(_factor(_hessian(rows, curvature, prior)))
    spread, root = rows.T / prior[:, None], np.sqrt(curvature)
    chol = _factor(_scaled(rows @ spread, root))
    half = solve_triangular(chol, (spread * root).T, lower=True, check_finite=False)
    return LowRank(prior, half.T)


def _hessian(rows: np.ndarray, curvature: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return rowsᵀ diag(curvature) rows + diag(prior), [F, F]: minus the log posterior's Hessian.

    Summed in parts, so that no second table [N, F] is built.
    """
    total = np.diag(prior)
    for start in range(0, len(rows), SLICE):
        part = slice(start, start + SLICE)
        half = rows[part] * np.sqrt(curvature[part])[:, None]
        total += half.T @ half
    return total


@dataclass(frozen=True)
class Mode:
    """Where a posterior is highest."""

    weights: np.ndarray
    """[F]; or dual weights a [N], of which the weights are Σ Dᵀ a."""
    terms: Terms
    height: float
    """Log-likelihood plus log prior density, up to constants."""
    chol: np.ndarray
    """Cholesky factor of minus the Hessian, [F, F]; in the dual form of I + S^½ D Σ Dᵀ S^½."""


def primal_mode(
    rows: np.ndarray,
    prior: np.ndarray,
    *,
    start: np.ndarray | None = None,
    offset: np.ndarray | float = 0.0,
    label_noise: float = 0.0,
    tol: float = 1e-12,
) -> Mode:
    """Return the mode of the weights under N(0, diag(1/prior)) by Newton's method.

    `rows`: D [N, F]; `prior` [F]; `start`: weights to go from [F], 0 if absent; `offset`: what is
    added to margins without being learned [N]; `tol`: squared Newton decrement (in nats) below
    which it is done.
    """
    weights = np.zeros(rows.shape[1]) if start is None else start
    margins = rows @ weights
    terms, height = bradley_terry(margins + offset, label_noise), -np.inf
    for _ in range(MAX_NEWTON):
        height = terms.loglik.sum() - 0.5 * prior @ weights**2
        chol = _factor(_hessian(rows, terms.curvature, prior))
        gradient = terms.slope @ rows - prior * weights
        step = cho_solve((chol, True), gradient, check_finite=False)
        if gradient @ step < tol:
            break
        lift, size = rows @ step, 1.0
        while size > 1e-6:
            terms = bradley_terry(margins + size * lift + offset, label_noise)
            ahead = weights + size * step
            if terms.loglik.sum() - 0.5 * prior @ ahead**2 >= height - 1e-9:
                break
            size /= 2
        weights, margins = weights + size * step, margins + size * lift
    return Mode(weights, terms, float(height), chol)


def dual_mode(
    gram: np.ndarray,
    *,
    start: np.ndarray | None = None,
    offset: np.ndarray | float = 0.0,
    label_noise: float = 0.0,
    tol: float = 1e-12,
) -> Mode:
    """Return the same from the Gram matrix D Σ Dᵀ [N, N] alone, as dual weights [N]."""
    dual = np.zeros(len(gram)) if start is None else start
    margins = gram @ dual
    terms = bradley_terry(margins + offset, label_noise)
    height = terms.loglik.sum() - 0.5 * dual @ margins
    for _ in range(MAX_NEWTON):
        root = np.sqrt(terms.curvature)
        chol = _factor(_scaled(gram, root))
        aim = terms.curvature * margins + terms.slope
        inner = cho_solve((chol, True), root * (gram @ aim), check_finite=False)
        step = aim - root * inner - dual
        lift, size, old = gram @ step, 1.0, height
        if (terms.slope - dual) @ lift < tol:
            break
        while size > 1e-6:
            terms = bradley_terry(margins + size * lift + offset, label_noise)
            height = terms.loglik.sum() - 0.5 * (dual + size * step) @ (margins + size * lift)
            if height >= old - 1e-9:
                break
            size /= 2
        dual, margins = dual + size * step, margins + size * lift
    return Mode(dual, terms, float(height), chol)


def _scaled(gram: np.ndarray, root: np.ndarray) -> np.ndarray:
    out = root[:, None] * gram * root
    out.flat[:: len(root) + 1] += 1.0
    return np.asarray(out)


def _factor(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(cholesky(matrix, lower=True, overwrite_a=True, check_finite=False))
