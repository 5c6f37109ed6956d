"""Measures of recorded judging: by hand on small records, paired where cases are shared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trueline.audits.recorded import (
    asd,
    belief_curve,
    by_arm,
    contrast,
    look_up,
    measure,
)
from trueline.data.transcripts import RecordedVerdict
from trueline.records import Cost, Preference, Quote, Turn, Verdict

FREE = Cost()


def record(i, path, *, arm="debate", correct=0, quotes=(), cost=FREE, reason=None):
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
    return RecordedVerdict(
        id=f"c{i}",
        group=f"g{i}",
        protocol=arm,
        question="q",
        answers=("x", "y"),
        correct=correct,
        verdict=Verdict(
            preference=preference,
            rater="j",
            belief=last,
            transcript=tuple(turns),
            cost=cost,
            reason=reason,
        ),
    )


def test_beliefs_in_the_truth_are_carried_on(rng):
    rows = [record(0, [0.5, 0.7, 0.9]), record(1, [0.5, 0.4], correct=1), record(2, [0.5, 0.8])]
    curve = belief_curve(rows, rng=rng)
    assert [round(point["value"], 3) for point in curve] == [0.5, 0.7, 0.767]
    assert [point["going"] for point in curve] == [3, 3, 1]


def test_a_belief_that_was_not_stated_is_no_half(rng):
    rows = [record(0, [None, 0.8]), record(1, [0.6, None])]
    assert [(p["value"], p["n"]) for p in belief_curve(rows, rng=rng)] == [
        (0.6, 1),
        (pytest.approx(0.7), 2),
    ]


def test_measures_of_one_arm_by_hand():
    quotes = (Quote("a", True), Quote("b", False))
    cost = Cost(calls=3, tokens=8, judge_s=2.0)
    rows = [
        record(0, [0.5, 0.9], quotes=quotes, cost=cost),
        record(1, [0.5, 0.2], cost=cost),
        record(2, [0.5, 0.5], cost=cost),
        record(3, [], cost=cost, reason="HTTP 500"),
    ]
    found = measure(rows, seed=0)
    assert (found["accuracy"].value, found["accuracy"].n) == (0.5, 2)
    assert found["undecided"].value == 0.5 and found["failed"] == {"HTTP 500": 1}
    assert found["quotes_found"].value == 0.5 and found["quotes_found"].n == 2
    assert found["calls"].value == 3 and found["judge_s"].value == 2
    assert found["calibration_error"].n == 3
    assert found["brier"].value == pytest.approx((0.01 + 0.64 + 0) / 3)


def test_all_right_is_not_certainly_right():
    found = measure([record(i, [0.9]) for i in range(10)], seed=0)["accuracy"]
    assert found.value == found.upper == 1.0 and 0.65 < found.lower < 0.8


def test_nothing_known_is_nothing_measured():
    found = measure([record(0, [0.7], correct=None)], seed=0)
    assert found["accuracy"].value is None and found["brier"].value is None
    assert found["curve"] == [] and found["bins"] == [] and found["calls"] is None


def test_a_contrast_of_shared_cases_is_paired(rng):
    noisy = np.random.default_rng(1).random(200) < 0.5
    base = [record(i, [0.9 if hit else 0.1], arm="direct") for i, hit in enumerate(noisy)]
    better = [record(i, [0.9 if hit or i % 10 == 0 else 0.1]) for i, hit in enumerate(noisy)]
    paired = contrast([*base, *better], {"debate": 1, "direct": -1}, rng=rng)
    exact = np.mean([not hit and i % 10 == 0 for i, hit in enumerate(noisy)])
    assert paired.value == pytest.approx(exact) and paired.n == 200
    assert paired.upper - paired.lower < 0.12
    apart = [record(1000 + i, [0.9 if hit else 0.1], arm="direct") for i, hit in enumerate(noisy)]
    unpaired = contrast([*apart, *better], {"debate": 1, "direct": -1}, rng=rng)
    assert unpaired.upper - unpaired.lower > 0.15


def test_only_cases_decided_in_every_arm_are_compared(rng):
    rows = [record(0, [0.9]), record(0, [0.1], arm="direct")]
    rows += [record(1, [0.1]), record(1, [None], arm="direct")]
    found = contrast(rows, {"debate": 1, "direct": -1}, rng=rng)
    assert (found.value, found.lower, found.n) == (1.0, None, 1)
    assert list(by_arm(rows)) == ["debate", "direct"]


def test_quotes_of_a_recorded_speech_are_looked_up_in_its_source():
    row = replace(record(0, [0.5, 0.9]), source="Zen, the omnipotent, frowned.")
    turns = row.verdict.transcript
    said = replace(turns[1], text="<quote>theomnipotent</quote> and <quote>he smiled</quote>")
    verdict = replace(row.verdict, transcript=(turns[0], said, turns[2]))
    found = look_up(replace(row, verdict=verdict))
    assert [quote.found for quote in found.verdict.transcript[1].quotes] == [True, False]
    assert measure([found], seed=0)["quotes_found"].value == 0.5
    assert look_up(record(0, [0.5])) == record(0, [0.5])


def judgement(belief, correct, *, sides=(), preference=None, group="g"):
    """One judgement; `sides` were argued for."""
    first = Preference.FIRST if belief is None or belief > 0.5 else Preference.SECOND
    speeches = [Turn(speaker="s", text="", round=1, side=s, in_favour=True) for s in sides]
    verdict = Verdict(
        preference=preference or first,
        rater="r",
        belief=belief,
        transcript=tuple(speeches),
    )
    return RecordedVerdict(
        id=str(id(verdict)),
        group=group,
        protocol="p",
        question="q",
        answers=("x", "y"),
        verdict=verdict,
        correct=correct,
    )


def test_in_a_debate_each_side_earns_and_in_a_consultancy_the_one_that_spoke(rng):
    debates = [judgement(0.8, 0, sides=(0, 1), group=str(i)) for i in range(10)]
    assert asd(debates, rng=rng).value == pytest.approx(0.6) and asd(debates, rng=rng).n == 20
    honest = [judgement(0.9, 0, sides=(0,), group=str(i)) for i in range(10)]
    lying = [judgement(0.7, 1, sides=(0,), group=str(i + 10)) for i in range(10)]
    assert asd([*honest, *lying], rng=rng).value == pytest.approx(0.2)
    believed = [*honest, *(judgement(0.1, 0, sides=(1,), group=str(i)) for i in range(10))]
    assert asd(believed, rng=rng).value == pytest.approx(0.0)
    assert asd(honest, rng=rng).value is None


def test_a_charge_speaks_for_the_other_answer(rng):
    turn = Turn(speaker="s", text="", side=1, in_favour=False)
    charges = [
        replace(row, verdict=replace(row.verdict, transcript=(turn,)))
        for row in (judgement(0.9, 0, group="a"), judgement(0.6, 1, group="b"))
    ]
    assert asd(charges, rng=rng).value == pytest.approx(0.9 - 0.6)


def test_what_is_not_known_or_not_stated_is_left_out(rng):
    rows = [judgement(0.8, 0), judgement(None, 0), judgement(0.9, None)]
    assert asd(rows, rng=rng).n == 2
    assert asd([], rng=rng).value is None
