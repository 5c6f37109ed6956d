"""Measures of arms of judging: by hand on small records, paired where cases are shared."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from trueline.audits.judgements import JudgedCase, belief_curve, by_arm, contrast, measure, samples
from trueline.errors import DataError
from trueline.records import Cost, Preference, Quote, Turn, Verdict


def judged(i, path, *, arm="debate", correct=0, quotes=(), cost=None, reason=None):
    """A judge who stated these beliefs in the first answer, round by round (None: silent)."""
    turns = []
    for r, belief in enumerate(path):
        if r:
            turns.append(Turn(speaker="ann", text="a b", round=r, side=0, quotes=tuple(quotes)))
        turns.append(Turn(speaker="judge", text="", round=r, belief=belief))
    last = path[-1] if path else None
    preference = Preference.UNDECIDED
    if last is not None and last != 0.5:
        preference = Preference.FIRST if last > 0.5 else Preference.SECOND
    known = {"preference": preference, "belief": last, "transcript": tuple(turns)}
    verdict = Verdict(rater="j", cost=cost or Cost(), reason=reason, **known)
    case = {"id": f"c{i}", "group": f"g{i}", "question": "q", "answers": ("x", "y")}
    return JudgedCase(protocol=arm, correct=correct, verdict=verdict, **case)


def test_beliefs_in_the_truth_are_carried_on(rng):
    rows = [judged(0, [0.5, 0.7, 0.9]), judged(1, [0.5, 0.4], correct=1), judged(2, [0.5, 0.8])]
    curve = belief_curve(rows)
    assert [round(point["value"], 3) for point in curve] == [0.5, 0.7, 0.767]
    # What was not stated is no half.
    first, second = belief_curve([judged(0, [None, 0.8]), judged(1, [0.6, None])])
    assert (first["value"], first["n"], second["n"]) == (0.6, 1, 2)
    assert second["value"] == pytest.approx(0.7)


def test_measures_of_one_arm_by_hand():
    cost = Cost(calls=3, tokens=8, judge_s=2.0)
    rows = [
        judged(0, [0.5, 0.9], cost=cost),
        judged(1, [0.5, 0.2], cost=cost),
        judged(2, [0.5, 0.5], cost=cost),
        judged(3, [], cost=cost, reason="HTTP 500"),
    ]
    found = measure(rows, seed=0)
    assert (found["accuracy"].value, found["accuracy"].n) == (0.5, 2)
    assert found["undecided"].value == 0.5 and found["failed"] == {"HTTP 500": 1}
    assert found["calls"].value == 3 and found["judge_s"].value == 2
    assert found["calibration_error"].n == 3
    assert found["brier"].value == pytest.approx((0.01 + 0.64 + 0) / 3)
    assert [row.id for row in samples(rows)] == ["c1", "c0"]


def test_all_right_is_not_certainly_right_and_nothing_known_is_nothing_measured():
    found = measure([judged(i, [0.9]) for i in range(10)], seed=0)["accuracy"]
    assert found.value == found.upper == 1.0 and 0.65 < found.lower < 0.8
    found = measure([judged(0, [0.7], correct=None)], seed=0)
    assert found["accuracy"].value is None and found["brier"].value is None
    assert found["curve"] == [] and found["bins"] == []


@pytest.mark.parametrize(("share", "warned"), [(0.47, None), (0.53, None), (0.6, "shown first")])
def test_a_lean_that_is_certain_and_slight_is_no_warning(share, warned):
    def row(i):
        one = judged(i, [0.9 if i < 2_000 * share else 0.1])
        return replace(one, verdict=replace(one.verdict, shown_first=0))

    found = measure([row(i) for i in range(2_000)], seed=0)
    assert found["shown_first"].value == share
    assert warned in found["warning"] if warned else found["warning"] is None


def test_a_contrast_is_paired(rng):
    noisy = np.random.default_rng(1).random(200) < 0.5
    base = [judged(i, [0.9 if hit else 0.1], arm="direct") for i, hit in enumerate(noisy)]
    better = [judged(i, [0.9 if hit or i % 10 == 0 else 0.1]) for i, hit in enumerate(noisy)]
    silent = judged(200, [None], arm="direct"), judged(200, [0.9])
    arms = by_arm([*better, silent[1], *base, silent[0]])
    assert list(arms) == ["debate", "direct"]
    paired = contrast(*arms.values())
    exact = np.mean([not hit and i % 10 == 0 for i, hit in enumerate(noisy)])
    assert paired.value == pytest.approx(exact) and paired.n == 200
    assert paired.upper - paired.lower < 0.12


def test_what_was_written_is_read_back_equal_and_a_spoiled_record_refused():
    one = judged(0, [0.5, 0.9], quotes=(Quote("a", True), Quote("b")))
    row = json.loads(json.dumps(one.as_dict()))
    assert JudgedCase.read(row) == one
    row["verdict"]["transcript"][1]["quotes"][0].update(text=None)
    with pytest.raises(DataError, match="as `trueline judge` wrote it"):
        JudgedCase.read(row)
