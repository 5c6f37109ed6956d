"""The linear algebra against brute force: quadrature, finite differences, inverse matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.rewards.evidence import MarginalLikelihood, climb
from trueline.rewards.laplace import SLICE, belief_of, bradley_terry, dual_mode, primal_mode


def differences(n: int, width: int, seed: int = 0, strength: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, width))
    weights = strength * rng.standard_normal(width) / np.sqrt(width)
    wins = rng.random(n) < 1 / (1 + np.exp(-rows @ weights))
    return np.where(wins, 1.0, -1.0)[:, None] * rows


@given(st.floats(-10, 10), st.sampled_from([0.0, 0.05, 0.3]))
def test_terms_are_derivatives_and_the_curvature_the_expected_one(
    margin: float, noise: float
) -> None:
    step = 1e-5
    terms = bradley_terry(np.array([margin - step, margin, margin + step]), noise)
    other = bradley_terry(np.array([-margin]), noise)
    expected = sum(np.exp(t.loglik[i]) * t.slope[i] ** 2 for t, i in ((terms, 1), (other, 0)))
    assert terms.curvature[1] == pytest.approx(expected)
    for derivative, function in ((terms.slope, terms.loglik), (terms.bend, terms.curvature)):
        numeric = (function[2] - function[0]) / (2 * step)
        assert derivative[1] == pytest.approx(numeric, abs=1e-5)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_huge_margins_stay_finite(noise: float) -> None:
    terms = bradley_terry(np.array([-1e4, 1e4]), noise)
    assert np.isfinite([terms.loglik, terms.slope, terms.curvature, terms.bend]).all()
    assert terms.loglik[1] == pytest.approx(np.log(1 - noise))
    assert terms.slope[0] == (1 if noise == 0 else 0)


def blocks(rows: np.ndarray, *widths: int) -> MarginalLikelihood:
    return MarginalLikelihood(rows, np.repeat(np.arange(len(widths)), widths))


def test_laplace_evidence_is_close_to_quadrature() -> None:
    """One weight, 40 comparisons: the integral can be done on a grid."""
    rows, alpha = differences(40, 1, strength=1.5), 2.0
    grid = np.linspace(-12, 12, 20_001)
    loglik = bradley_terry(rows @ grid[None]).loglik.sum(0)
    joint = loglik - 0.5 * alpha * grid**2 + 0.5 * np.log(alpha / (2 * np.pi))
    truth = np.log(np.trapezoid(np.exp(joint - joint.max()), grid)) + joint.max()
    evidence = blocks(rows, 1)
    variance = evidence.power[0] / alpha
    hyper = -0.5 * (np.log(variance) / 2.0) ** 2 - variance / 10
    assert evidence.at(np.array([np.log(alpha)])).value - hyper == pytest.approx(truth, abs=0.02)


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("widths", [(3, 5), (90, 60)])
def test_weights_form_and_gram_form_agree(widths: tuple[int, int], noise: float) -> None:
    rows = differences(100, sum(widths))
    weighed, grams = (blocks(rows, *widths).with_label_noise(noise) for _ in range(2))
    weighed.dual, grams.dual = False, True
    grams.grams = [b @ b.T for b in grams.blocks]
    x = np.log([4.0, 30.0])
    one, two = weighed.at(x, tol=1e-14), grams.at(x, tol=1e-14)
    assert one.value == pytest.approx(two.value, abs=1e-8)
    # Fisher's steps, with label noise, close in more slowly than Newton's.
    np.testing.assert_allclose(one.fixed, two.fixed, rtol=1e-5 if noise else 1e-7)
    # The gradient's last term is a mean in one form and exact in the other.
    if sum(widths) < 100:
        np.testing.assert_allclose(one.gradient, two.gradient, atol=0.1)
    np.testing.assert_allclose(
        weighed.posterior(one)[0], grams.posterior(two)[0], atol=1e-5 if noise else 1e-8
    )


def test_newtons_steps_are_halved_where_they_would_overshoot() -> None:
    """From far away the full step goes wrong: both forms end in the same mode all the same."""
    rows, prior = differences(40, 3, strength=4.0), np.full(3, 1e-3)
    far = primal_mode(rows, prior, start=np.full(3, 40.0))
    near = primal_mode(rows, prior)
    np.testing.assert_allclose(far.weights, near.weights, atol=1e-5)
    gram = (rows / prior) @ rows.T
    dual = dual_mode(gram, start=np.full(40, 3.0))
    np.testing.assert_allclose(rows.T @ dual.weights / prior, near.weights, atol=1e-4)


@pytest.mark.parametrize("strength", [0.3, 1.0, 4.0])
@pytest.mark.parametrize(("widths", "close"), [((3, 4), 0.05), ((70, 60), 0.002)])
def test_the_gradient_is_that_of_the_evidence(
    strength: float, widths: tuple[int, int], close: float
) -> None:
    """Exact in the Gram form; in the weights form to the mean variance of a margin."""
    rows = differences(120, sum(widths), 1, strength)
    found = blocks(rows, *widths)
    assert found.dual == (sum(widths) > 120)
    for x in ([0.5, 1.5], [3.0, 5.0]):
        here = found.at(np.array(x), tol=1e-14)
        for b in range(2):
            step = 1e-3 * np.eye(2)[b]
            up, down = (found.at(np.array(x) + s, tol=1e-14).value for s in (step, -step))
            assert here.gradient[b] == pytest.approx((up - down) / 2e-3, rel=close, abs=close)


@given(st.integers(0, 50), st.floats(0.0, 4.0), st.sampled_from([(2, 3), (40, 5)]))
def test_climbing_never_falls_and_ends_flat(
    seed: int, strength: float, widths: tuple[int, int]
) -> None:
    rows = differences(60, sum(widths), seed, strength)
    found = blocks(rows, *widths)
    start = found.at(found.start())
    top = climb(found)
    assert top.value >= start.value - 1e-9
    assert np.isfinite(top.precisions).all()
    for step in (np.array([0.5, 0.0]), np.array([0.0, 0.5])):
        for sign in (1.0, -1.0):
            assert found.at(top.log_precisions + sign * step).value < top.value + 0.35


def test_separable_comparisons_do_not_run_away() -> None:
    rows = np.abs(differences(50, 4))
    top = climb(blocks(rows, 4))
    assert np.isfinite(top.value) and top.precisions[0] > 1e-4


@pytest.mark.parametrize("num", [3, 9, 2 * SLICE + 5])
def test_belief_is_the_inverse_of_the_precision(num: int) -> None:
    rows, prior = differences(num, 4), np.array([1.0, 2.0, 5.0, 0.5])
    curvature = np.random.default_rng(1).random(num)
    belief = belief_of(prior, rows, curvature)
    covariance = np.linalg.inv(np.diag(prior) + rows.T * curvature @ rows)
    some = np.concatenate([np.eye(4), rows[:9]])
    np.testing.assert_allclose(belief.var(some), np.diag(some @ covariance @ some.T), atol=1e-12)
