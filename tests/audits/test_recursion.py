"""A stack raised on the shipped trunk: it keeps its budgets, points right, and helps."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oversight.material import Judge, Letters, undecided
from tests.oversight.test_recursive import POINTER, OneLook, case_of
from trueline.audits.recursion import raise_helpers, raise_on_sums
from trueline.models.trunk import Trunk
from trueline.oversight.recursive import Recursive
from trueline.records import Cost, Preference
from trueline.rng import stream
from trueline.worlds.sums import Population, Raters, gold, trunk_path
from trueline.worlds.sums.flaws import draw_cases
from trueline.worlds.sums.reviews import true_flaws

JUDGE = Raters(Population(looks=1, slip_share=0.05, flip_share=0.1))


@pytest.fixture(scope="module")
def raised():
    trunk = Trunk.load(trunk_path())
    return raise_on_sums(trunk, judge=JUDGE, labels=(30, 20), rng=stream(0, "raise"))


def test_each_level_spends_its_labels_and_points_to_the_half_with_the_flaw(raised):
    assert raised.num_labels == (30, 20)
    assert raised.cost.calls == 30 + 3 * 20 and raised.cost.judge_s > 50 * 16
    for k, helper in enumerate(raised.helper.levels):
        cases = draw_cases(2 ** (k + 1), 40, stream(1, "fresh", k), held_out=True)
        flawed = [r for case in cases for r in case.responses if true_flaws(r)]
        critiques = helper.critique(flawed, rng=stream(1, "point"))
        hits = [
            (c.flaws[0].step >= 2**k) == (true_flaws(c.response)[0].step >= 2**k) for c in critiques
        ]
        assert np.mean(hits) > 0.9


def test_judges_with_the_stack_are_right_more_often_than_alone(raised):
    cases = draw_cases(4, 40, stream(2, "cases"), held_out=True)

    def share_right(depth):
        protocol = Recursive(depth=depth)
        verdicts = [
            protocol.judge(case, helper=raised.helper, judge=JUDGE, rng=stream(2, i))
            for i, case in enumerate(cases)
        ]
        return np.mean(
            [
                (v.preference is Preference.FIRST) == (gold(c.first) > gold(c.second))
                for c, v in zip(cases, verdicts, strict=True)
            ]
        )

    assert share_right(2) > share_right(0) + 0.15


def drawn(size, num, rng):
    return [case_of(size, int(rng.integers(size))) for _ in range(num + 3)]


def test_helpers_are_raised_within_their_budgets_each_on_the_help_of_those_below():
    seen, judge = [], OneLook()

    def learn(comparisons, rng):
        seen.append(comparisons)
        return POINTER

    raised = raise_helpers(
        draw=drawn,
        learn=learn,
        judge=judge,
        labels=(40, 30, 20),
        division=Letters(),
        rng=np.random.default_rng(0),
    )
    assert raised.num_labels == (40, 30, 20) and judge.num_asked == 90
    assert [{len(c.chosen.text) for c in group} for group in seen] == [{1}, {2}, {4}]
    # One look and every level below: the labels of every level are right.
    assert all("x" not in c.chosen.text for group in seen for c in group)
    assert raised.cost == Cost(calls=40 + 3 * 30 + 5 * 20, judge_s=90.0)
    assert raised.helper.levels == (POINTER,) * 3


def test_undecided_labels_are_spent_and_teach_nothing():
    taught = []
    raised = raise_helpers(
        draw=drawn,
        learn=lambda comparisons, rng: taught.append(comparisons),
        judge=Judge(undecided),
        labels=(20,),
        division=Letters(),
        rng=np.random.default_rng(2),
    )
    assert raised.num_labels == (20,) and taught == [[]]
