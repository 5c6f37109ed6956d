"""Debaters and judge of worked sums: what is hidden, said, looked at, and the closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from trueline.errors import DataError
from trueline.oversight.critique import WithCritique
from trueline.oversight.debate import Consultancy, Debate
from trueline.oversight.direct import Direct
from trueline.oversight.quotes import verify_quotes
from trueline.records import Case, Critique, Flaw, Preference, Prompt, Quote, Response
from trueline.rng import stream
from trueline.worlds.sums.debaters import SkilledCritic, SumsDebater, hide
from trueline.worlds.sums.step_judge import StepJudge

PROMPT = Prompt.of("start 7 , + 5 , * 3 , - 4")
RIGHT = Response(prompt=PROMPT, text="7 + 5 = 12 ; 12 * 3 = 36 ; 36 - 4 = 32 ; answer 32 sure")
WRONG = Response(prompt=PROMPT, text="7 + 5 = 12 ; 12 * 3 = 38 ; 38 - 4 = 34 ; answer 34 sure")
HIDDEN = hide(RIGHT, WRONG)
FLAWLINE = "answer 34 step 2 : 12 * 3 = 38"
KEEN = SumsDebater(critic=SkilledCritic(skill=1.0, false_alarms=0.0), unsupported=0.0)
SHARP = StepJudge(slip_share=0.0, flip_share=0.0)


def charge(response, *steps, quotes=(), round=1):
    flaws = tuple(Flaw(kind="wrong_step", step=i) for i in steps) or (Flaw(kind="wrong_answer"),)
    speech = Critique(
        response=response,
        text="",
        flaws=flaws,
        helper="h",
        round=round,
        quotes=tuple(Quote(quote, None) for quote in quotes),
    )
    return verify_quotes(speech, HIDDEN.source)


def belief(case, *critiques, judge=SHARP, seed=0):
    return judge.compare(*case.responses, critiques=critiques, rng=np.random.default_rng(seed))


def test_the_working_is_hidden_and_what_is_shown_is_its_beginning():
    assert [r.text for r in HIDDEN.responses] == ["answer 32 sure", "answer 34 sure"]
    assert HIDDEN.source.splitlines()[4] == FLAWLINE
    half = hide(RIGHT, WRONG, shown=0.34)
    assert half.first.text == "7 + 5 = 12 ; answer 32 sure" and half.source == HIDDEN.source
    with pytest.raises(DataError, match="different numbers"):
        hide(RIGHT, RIGHT)


@pytest.mark.parametrize("case", [HIDDEN, Case(first=RIGHT, second=WRONG)], ids=["hidden", "open"])
def test_the_honest_side_refutes_and_the_lying_side_shows_what_is_least_damning(case):
    rng = np.random.default_rng(0)
    honest = KEEN.argue(case, side=0, said=(), rng=rng)
    assert honest.response == case.second and not honest.in_favour
    assert [(f.step, f.evidence) for f in honest.flaws] == [(1, FLAWLINE)]
    assert honest.text == f"answer 34 is wrong : <quote>{FLAWLINE}</quote>"
    for _ in range(20):
        lying = KEEN.argue(case, side=1, said=(), rng=rng)
        assert lying.in_favour and lying.response == case.second
        assert lying.quotes[0].text != FLAWLINE
    again = KEEN.argue(case, side=0, said=(honest,), rng=rng)
    assert again.in_favour and again.response == case.first
    bare = replace(KEEN, unsupported=1.0).argue(case, side=1, said=(), rng=rng)
    assert bare.response == case.first and bare.quotes == () and bare.flaws


def test_an_independent_critique_reads_the_source_and_quotes_it():
    helper = replace(KEEN, source=HIDDEN.source)
    right, wrong = helper.critique(HIDDEN.responses, rng=np.random.default_rng(0))
    assert right.flaws == () and wrong.flaws[0].evidence == FLAWLINE
    assert wrong.quotes[0].text == FLAWLINE


def test_belief_is_bayes_rule_with_slips():
    judge = replace(SHARP, slip_share=0.1, trust=0.5)
    seen = {
        round(
            belief(HIDDEN, charge(HIDDEN.second, 1, quotes=[FLAWLINE]), judge=judge, seed=s).belief,
            6,
        )
        for s in range(60)
    }
    odds = [0.5 * 9 + 0.5, 0.5 / 9 + 0.5]
    assert seen == {round(float(expit(math.log(o))), 6) for o in odds}
    assert belief(HIDDEN).belief == 0.5
    full = belief(Case(first=RIGHT, second=WRONG), judge=replace(judge, looks=3, slip_share=0.0))
    assert full.belief > 0.98 and full.found == ((1, Flaw(kind="wrong_step", step=1)),)


def test_what_is_asserted_moves_what_is_misquoted_does_not_and_nothing_counts_twice():
    asserted = belief(HIDDEN, charge(HIDDEN.second)).belief
    assert asserted == pytest.approx(expit(1.0))
    twice = belief(HIDDEN, charge(HIDDEN.second), charge(HIDDEN.second, round=2))
    assert twice.belief == asserted
    forged = charge(HIDDEN.first, 1, quotes=["answer 32 step 2 : 12 * 3 = 37"])
    stolen = charge(HIDDEN.first, 1, quotes=[FLAWLINE])
    assert belief(HIDDEN, forged).belief == 0.5
    assert belief(HIDDEN, stolen).found == ()


@pytest.mark.parametrize("step", ["0", "9", "999", "9" * 5000, "²"])
def test_hostile_quotes_do_no_harm(step):
    quote = f"answer 34 step {step} : 12 * 3 = 38"
    speech = replace(charge(HIDDEN.second), quotes=(Quote(quote, True),))
    assert 0.0 <= belief(HIDDEN, speech).belief <= 1.0


def judged(protocol, helper, judge, num=600):
    """Share right with the truth on either side."""
    right = 0
    for i in range(num):
        case = HIDDEN if i % 2 else HIDDEN.mirrored
        verdict = protocol.judge(case, helper=helper, judge=judge, rng=stream(0, "closed", i))
        right += verdict.preference is (Preference.FIRST if i % 2 else Preference.SECOND)
    return right / num


@pytest.mark.parametrize(("skill", "slip"), [(0.8, 0.05), (0.3, 0.15)])
def test_the_closed_forms_hold(skill, slip):
    critic = SkilledCritic(skill=skill, false_alarms=0.0)
    helper = SumsDebater(critic=critic, unsupported=1.0, source=HIDDEN.source)
    judge = StepJudge(slip_share=slip, flip_share=0.1)
    helped = skill * (1 - slip) + (1 - skill) / 2
    expected = {
        Debate(rounds=1): helped,
        Debate(rounds=1, simultaneous=False): helped,
        WithCritique(): helped,
        Consultancy(rounds=1): (1 - skill * slip) / 2,
        Direct(): 0.5,
    }
    for protocol, share in expected.items():
        assert abs(judged(protocol, helper, judge) - (0.9 * share + 0.05)) < 0.06


def test_a_judge_errs_the_same_way_at_one_step_in_every_round():
    judge, flaw = StepJudge(slip_share=0.4), charge(HIDDEN.second, 1, quotes=[FLAWLINE])
    later = replace(flaw, round=2, quotes=(), flaws=(Flaw(kind="wrong_answer"),))
    slipped = 0
    for seed in range(40):
        one = belief(HIDDEN, flaw, judge=judge, seed=seed)
        two = belief(HIDDEN, flaw, later, judge=judge, seed=seed)
        assert one.found == two.found
        slipped += not one.found
    assert 8 < slipped < 24
