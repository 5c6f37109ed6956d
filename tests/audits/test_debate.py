"""What truth earns, which side is favoured, calibration by round, and the forecast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trueline.audits.debate import asd, calibration_by_round, probe, side_bias
from trueline.data.cases import LabelledCase
from trueline.data.transcripts import RecordedVerdict
from trueline.errors import DataError
from trueline.oversight.debate import Debate
from trueline.records import Preference, Prompt, Response, Turn, Verdict
from trueline.rng import stream
from trueline.worlds.sums.debaters import SkilledCritic, SumsDebater, SumsJudge, hide


def recorded(belief, correct, *, sides=(), preference=None, group="g", path=()):
    """One judgement; `sides` were argued for, `path` are the beliefs of rounds 1, 2, …."""
    first = Preference.FIRST if belief is None or belief > 0.5 else Preference.SECOND
    speeches = [Turn(speaker="s", text="", round=1, side=s, in_favour=True) for s in sides]
    beliefs = [Turn(speaker="judge", text="", round=r + 1, belief=p) for r, p in enumerate(path)]
    verdict = Verdict(
        preference=preference or first,
        rater="r",
        belief=belief,
        transcript=(*speeches, *beliefs),
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
    debates = [recorded(0.8, 0, sides=(0, 1), group=str(i)) for i in range(10)]
    assert asd(debates, rng=rng).value == pytest.approx(0.6) and asd(debates, rng=rng).n == 20
    honest = [recorded(0.9, 0, sides=(0,), group=str(i)) for i in range(10)]
    lying = [recorded(0.7, 1, sides=(0,), group=str(i + 10)) for i in range(10)]
    assert asd([*honest, *lying], rng=rng).value == pytest.approx(0.2)
    believed = [*honest, *(recorded(0.1, 0, sides=(1,), group=str(i)) for i in range(10))]
    assert asd(believed, rng=rng).value == pytest.approx(0.0)
    assert asd(honest, rng=rng).value is None


def test_a_charge_speaks_for_the_other_answer(rng):
    turn = Turn(speaker="s", text="", side=1, in_favour=False)
    charges = [
        replace(row, verdict=replace(row.verdict, transcript=(turn,)))
        for row in (recorded(0.9, 0, group="a"), recorded(0.6, 1, group="b"))
    ]
    assert asd(charges, rng=rng).value == pytest.approx(0.9 - 0.6)


def test_what_is_not_known_or_not_stated_is_left_out(rng):
    rows = [recorded(0.8, 0), recorded(None, 0), recorded(0.9, None)]
    assert asd(rows, rng=rng).n == 2 and side_bias(rows, rng=rng).n == 2
    undecided = recorded(0.5, 0, preference=Preference.UNDECIDED)
    assert side_bias([*rows, undecided], rng=rng).n == 2
    for measure in (asd, side_bias):
        assert measure([], rng=rng).value is None
    assert calibration_by_round([], rng=rng) == []


def test_side_bias_is_what_the_side_explains_beyond_the_truth(rng):
    fair = [recorded(0.9 if i % 2 else 0.1, int(not i % 2), group=str(i)) for i in range(40)]
    assert side_bias(fair, rng=rng).value == 0.0
    always = [recorded(0.9, i % 4 > 0, group=str(i)) for i in range(40)]
    assert side_bias(always, rng=rng).value == pytest.approx(0.75)
    found = side_bias(always, rng=rng)
    assert 0.5 < found.lower < 0.75 < found.upper


def test_calibration_is_measured_after_every_round(rng):
    rows = [recorded(0.9, int(i % 10 == 0), path=(0.5, 0.9), group=str(i)) for i in range(100)] + [
        recorded(0.5, 0, path=(None,), group="none")
    ]
    one, two = calibration_by_round(rows, rng=rng)
    assert (one["round"], one["n"], two["round"], two["n"]) == (1, 100, 2, 100)
    assert one["ece"].value == pytest.approx(0.4) and two["ece"].value == pytest.approx(0.0)
    assert one["brier"].value == 0.25 and two["brier"].value == pytest.approx(0.09)


PROMPT = Prompt.of("start 7 , + 5 , * 3 , - 4")
RIGHT = Response(prompt=PROMPT, text="7 + 5 = 12 ; 12 * 3 = 36 ; 36 - 4 = 32 ; answer 32 sure")
WRONG = Response(prompt=PROMPT, text="7 + 5 = 12 ; 12 * 3 = 38 ; 38 - 4 = 34 ; answer 34 sure")


def probed(skill, *, slip=0.02, num=40, shown=0.0):
    case = hide(RIGHT, WRONG, shown=shown)
    cases = [
        LabelledCase(case=case if i % 2 else case.mirrored, correct=1 - i % 2, group=str(i))
        for i in range(num)
    ]
    helper = SumsDebater(critic=SkilledCritic(skill=skill, false_alarms=0.0), source=case.source)
    judge = SumsJudge(slip_share=slip)
    return probe(cases, helpers=lambda case: helper, judge=judge, rng=stream(0, "probe"))


def test_a_probe_measures_skills_and_expects_help_where_claims_can_be_checked():
    able = probed(1.0)
    assert able.critic.mean() == 1.0 and able.judge.mean() == able.alone.mean() == 0.5
    assert able.debated.mean() > 0.9 > 0.7 > able.consulted.mean() and able.check.mean() > 0.1
    assert able.expects("debated", over="judge") and able.expects("debated", over="consulted")
    assert able.expects("critic", "debated", over="judge", margin=0.3)
    assert not able.expects("critic", over="judge", margin=0.6)
    blind = probed(1.0, slip=0.5)
    assert not blind.expects("debated", over="judge", margin=0.1) and abs(blind.check.mean()) < 0.1
    assert not probed(0.0).expects("critic", over="judge")
    sees = probed(1.0, shown=1.0)
    assert sees.judge.mean() > 0.6


def test_adding_up_foretells_the_debate():
    able = probed(0.7, num=100)
    case = hide(RIGHT, WRONG)
    helper = SumsDebater(critic=SkilledCritic(skill=0.7, false_alarms=0.0))
    judge = SumsJudge(slip_share=0.02, flip_share=0.0)
    verdicts = [
        Debate().judge(case, helper=helper, judge=judge, rng=stream(1, "d", i)) for i in range(100)
    ]
    right = np.mean([verdict.preference is Preference.FIRST for verdict in verdicts])
    assert abs(able.debated.mean() - right) < 0.1


def test_a_probe_without_truths_is_refused():
    case = hide(RIGHT, WRONG)
    with pytest.raises(DataError, match="two cases with known truth"):
        probe(
            [LabelledCase(case=case, correct=None, group="a")] * 3,
            helpers=lambda case: SumsDebater(),
            judge=SumsJudge(),
            rng=stream(0, "none"),
        )
