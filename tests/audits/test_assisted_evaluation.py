"""Assisted evaluation: help that is true is seen, help that invents flaws costs."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.audits import AUDITS
from trueline.audits.assisted_evaluation import JudgedFlaws, compare, found_ratio, judge_planted
from trueline.data.planted_flaws import plant_flaws
from trueline.oversight.critique import WithCritique
from trueline.oversight.direct import Direct
from trueline.records import Stance
from trueline.testing import ScriptedHelper
from trueline.worlds import Sums
from trueline.worlds.sums import Population, Raters
from trueline.worlds.sums.flaws import SumsFlaws, good_answer
from trueline.worlds.sums.language import parse
from trueline.worlds.sums.reviews import true_flaws

JUDGE = Raters(Population(looks=1, slip_share=0.05))


RNG = np.random.default_rng(3)
GOOD = [good_answer(prompt, RNG) for prompt in Sums().prompts(400, RNG, "eval")]
CASES = plant_flaws(GOOD, SumsFlaws(kinds=("wrong_step",)), rng=RNG)


def judged(protocol, helper=None, judge=JUDGE):
    return judge_planted(protocol, CASES, helper=helper, judge=judge, rng=np.random.default_rng(1))


ALONE = judged(Direct())
HELPED = judged(WithCritique(), ScriptedHelper(true_flaws))


def test_unassisted_judges_find_what_one_look_finds():
    lengths = [len(parse(one.clean.text).steps) for one in CASES]
    expected = 0.95 * np.mean([1 / length for length in lengths])
    assert ALONE.found.mean() == pytest.approx(expected, abs=0.07)
    looked = 2 * 8.0
    assert ALONE.judge_s.min() > looked


def test_true_critiques_are_found_and_the_differences_are_paired():
    rng = np.random.default_rng(0)
    gaps = compare(HELPED, ALONE, rng=rng)
    assert HELPED.found.mean() == pytest.approx(0.95, abs=0.04)
    assert gaps["found"].lower > 0.4 and gaps["right"].lower > 0.1
    assert gaps["false_alarms"].value < 0 and gaps["judge_s"].lower > 0
    one, two = HELPED.found.mean(), ALONE.found.mean()
    assert gaps["found"].value == pytest.approx(one - two)
    ratio = found_ratio(HELPED, ALONE, rng=rng)
    assert ratio.lower > 1.5 and ratio.value == pytest.approx(one / two)
    none = judged(Direct(), judge=Raters(Population(looks=0)))
    assert found_ratio(HELPED, none, rng=rng).value is None


@pytest.mark.parametrize(
    ("find", "stance"), [(true_flaws, Stance.FOR), (lambda response: (), Stance.UNDECIDED)]
)
def test_the_audit_finds_help_that_helps_and_no_other(find, stance):
    target = JudgedFlaws(planted=CASES[:150], helper=ScriptedHelper(find), judge=JUDGE)
    finding = AUDITS["assisted_evaluation"]().run(target, rng=np.random.default_rng(0))
    assert finding.stance is stance
    if stance is Stance.UNDECIDED:
        # A silent helper changes nothing but the reading time: the same judges are drawn.
        assert finding.estimate.value == 0.0
