"""A stack raised on the shipped trunk: it keeps its budgets, points right, and helps."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.audits.recursion import raise_on_sums
from trueline.models.trunk import Trunk
from trueline.oversight.recursive import Recursive
from trueline.records import Preference
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
    helpers, cost = raised
    assert cost.calls == 30 + 3 * 20 and cost.judge_s > 50 * 16
    for k, helper in enumerate(helpers.levels):
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
        protocol, right = Recursive(depth=depth), []
        for i, c in enumerate(cases):
            verdict = protocol.judge(c, helper=raised[0], judge=JUDGE, rng=stream(2, i))
            first = verdict.preference is Preference.FIRST
            right.append(first == (gold(c.first) > gold(c.second)))
        return np.mean(right)

    assert share_right(2) > share_right(0) + 0.15
