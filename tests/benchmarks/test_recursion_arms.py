"""The arms of the recursion benchmark count what they say they count."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.recursion_arms import (
    FULL,
    SPANS,
    Liar,
    Oracle,
    Scan,
    at_equal_time,
    facts,
    judged,
)
from trueline.audits.recursion import pointing
from trueline.oversight.critique import WithCritique
from trueline.oversight.direct import Direct
from trueline.oversight.recursive import Pointer, Stack
from trueline.rng import stream
from trueline.worlds.sums.flaws import true_flaws
from trueline.worlds.sums.spans import draw_cases

CASES = draw_cases(16, 40, stream(7, "arms"), held_out=True)
PERFECT = Pointer(score=lambda parts: [-len(true_flaws(p)) for p in parts], division=SPANS)


def test_the_flaw_is_named_by_who_knows_it_and_the_judge_is_mostly_right():
    for helper in (Oracle(), PERFECT):
        arm = judged(CASES, FULL, helper, 0)
        assert np.mean(arm.named) == 1.0 and np.mean(arm.right) > 0.75
    assert np.mean(judged(CASES, WithCritique(), Scan(PERFECT), 0).named) == 1.0
    assert np.mean(judged(CASES, Direct(), None, 0).named) == 0.0
    assert all(true_flaws(facts(case)[1])[0].step == facts(case)[2] for case in CASES)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_liar_points_to_the_other_half_so_often(share):
    hits = pointing(Liar(PERFECT, share), CASES, rng=stream(8, "liar")).value
    assert abs(hits - (1 - share)) < 4 * np.sqrt(share * (1 - share) / len(CASES)) + 1e-9
    levels = Stack((Liar(PERFECT, share),) * 4)
    assert (np.mean(judged(CASES, FULL, levels, 0).named) == 1.0) == (share == 0)


def test_unaided_judges_get_as_many_looks_as_the_seconds_buy():
    alone = judged(CASES, Direct(), None, 0)
    assert at_equal_time(CASES, alone.seconds, 0) == alone
    for more in (8.0, 16.0, 40.0):
        longer = at_equal_time(CASES, [s + more for s in alone.seconds], 0)
        assert abs(np.mean(longer.seconds) - np.mean(alone.seconds) - more) < 5
