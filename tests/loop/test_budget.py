"""The label budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.errors import BudgetSpent, InputError
from trueline.loop.labels import Budget


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


def test_with_gates_alone_nothing_is_learned_and_helpers_are_paid_first():
    budget = Budget(total=12, gate_frac=1.0, rounds=3)
    assert budget.per_gate == 4 and budget.for_learning(1) == 0
    with pytest.raises(BudgetSpent, match="at most 12"):
        budget.spend("learn", 13)
    budget = Budget(total=100, gate_frac=0.2, rounds=2)
    budget.pay_helpers({"labels": 30, "judge_s": 1e6})
    assert budget.left == 70 and budget.for_learning(1) == 25
    with pytest.raises(InputError, match="raising helpers"):
        Budget(total=100, gate_frac=0.2, rounds=2).pay_helpers({"labels": 79})
