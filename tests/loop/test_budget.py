"""The label budget, and what a question is worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from trueline.errors import BudgetSpent, InputError
from trueline.loop.budget import Budget, expected_information


def test_labels_a_gate_did_not_need_go_back_to_learning():
    budget = Budget(total=1000, gate_frac=0.2, rounds=5)
    assert budget.per_gate == 40 and budget.for_learning(1) == 160
    budget.spend("learn", 160)
    budget.spend("gate", 10)
    assert budget.for_learning(2) == (1000 - 170 - 4 * 40) // 4 > 160


@given(
    total=st.integers(20, 3000),
    rounds=st.integers(1, 8),
    gate_frac=st.floats(0.1, 0.6),
    used=st.lists(st.floats(0, 1), min_size=8, max_size=8),
)
def test_the_budget_is_kept_whatever_the_gates_need(total, rounds, gate_frac, used):
    if int(total * gate_frac / rounds) < 1 or total < 2 * rounds:
        with pytest.raises(InputError):
            Budget(total=total, gate_frac=gate_frac, rounds=rounds)
        return
    budget = Budget(total=total, gate_frac=gate_frac, rounds=rounds)
    for t in range(1, rounds + 1):
        budget.spend("learn", budget.for_learning(t))
        budget.spend("gate", int(used[t - 1] * budget.per_gate))
    assert 0 <= budget.left <= total


def test_more_than_is_left_cannot_be_spent():
    budget = Budget(total=10, gate_frac=0.2, rounds=1)
    with pytest.raises(BudgetSpent, match="at most 10"):
        budget.spend("learn", 11)


def test_expected_information_against_a_large_sample():
    rng = np.random.default_rng(0)
    mean, std = np.array([0.0, 0.0, 1.0, 4.0, -1.0]), np.array([0.1, 2.0, 1.0, 0.5, 3.0])
    p = expit(mean + std * rng.standard_normal((400_000, 5)))

    def h(q: np.ndarray) -> np.ndarray:
        return -q * np.log(q) - (1 - q) * np.log1p(-q)

    exact = h(p.mean(0)) - h(p).mean(0)
    assert np.allclose(expected_information(mean, std), exact, atol=2e-3)


def test_what_is_certain_tells_nothing_and_doubt_tells_more():
    sure = expected_information(np.array([0.0, 3.0]), np.zeros(2))
    assert np.allclose(sure, 0.0, atol=1e-12)
    rising = expected_information(np.zeros(4), np.array([0.1, 0.5, 1.0, 3.0]))
    assert (np.diff(rising) > 0).all()
