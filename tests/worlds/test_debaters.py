"""Debate of worked sums: what is hidden, said and looked at, and the closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.oversight import SkilledCritic
from trueline.oversight.debate import Consultancy, Debate
from trueline.oversight.direct import Direct
from trueline.oversight.quotes import mark_quotes
from trueline.records import Case, Critique, Flaw, Preference, Prompt, Quote, Response
from trueline.rng import stream
from trueline.worlds.sums import Population, Raters, Tastes
from trueline.worlds.sums.debaters import SumsDebater, hide

PROMPT = Prompt.of("start 7 , + 5 , * 3 , - 4")
RIGHT = Response(prompt=PROMPT, text="7 + 5 = 12 ; 12 * 3 = 36 ; 36 - 4 = 32 ; answer 32 sure")
WRONG = Response(prompt=PROMPT, text="7 + 5 = 12 ; 12 * 3 = 38 ; 38 - 4 = 34 ; answer 34 sure")
HIDDEN = hide(RIGHT, WRONG)
FLAWLINE = "answer 34 step 2 : 12 * 3 = 38"
KEEN = SumsDebater(critic=SkilledCritic(skill=1.0, false_alarms=0.0), unsupported=0.0)
NONE = Tastes(sure=0, claim=0, flattery=0, length=0, agreement=0)
BLUNT = Population(warm_share=0, flip_share=0, reliability=1000, drift=0, tastes=NONE)


def charge(response, *lines):
    text = " : ".join(f"<quote>{line}</quote>" for line in lines)
    marked, quotes = mark_quotes(text, HIDDEN.source)
    flaws = (Flaw(kind="wrong_step", step=1),)
    return Critique(response=response, text=marked, flaws=flaws, helper="h", quotes=quotes)


def judged(*critiques):
    rng = np.random.default_rng(0)
    return Raters(BLUNT).compare(*HIDDEN.responses, critiques=critiques, rng=rng)


@pytest.mark.parametrize("case", [HIDDEN, Case(first=RIGHT, second=WRONG)], ids=["hidden", "open"])
def test_the_honest_side_refutes_and_the_lying_side_shows_what_is_least_damning(case):
    rng = np.random.default_rng(0)
    honest = KEEN.argue(case, side=0, said=(), rng=rng)
    assert honest.response == case.second and not honest.in_favour
    assert [flaw.step for flaw in honest.flaws] == [1]
    assert honest.text == f"answer 34 is wrong : <quote>{FLAWLINE}</quote>"
    for _ in range(20):
        lying = KEEN.argue(case, side=1, said=(), rng=rng)
        assert lying.in_favour and lying.response == case.second
        assert "<quote>" in lying.text and FLAWLINE not in lying.text
    again = KEEN.argue(case, side=0, said=(honest,), rng=rng)
    assert again.in_favour and again.response == case.first
    bare = replace(KEEN, unsupported=1.0).argue(case, side=1, said=(), rng=rng)
    assert bare.response == case.first and "<quote>" not in bare.text and bare.flaws


def test_only_a_quote_found_in_the_source_is_looked_at_in_the_answer_it_names():
    there = ((1, Flaw(kind="wrong_step", step=1)),)
    assert judged(charge(HIDDEN.second, FLAWLINE)).found == there
    assert judged(charge(HIDDEN.first, FLAWLINE)).found == there
    forged = charge(HIDDEN.first, "answer 32 step 2 : 12 * 3 = 37")
    sound = charge(HIDDEN.first, "answer 32 step 2 : 12 * 3 = 36")
    assert judged(forged).found == judged(sound).found == ()


def test_hostile_quotes_do_no_harm():
    for step in ("0", "999", "9" * 5000, "²"):
        quote = Quote(f"answer 34 step {step} : 12 * 3 = 38", True)
        assert 0 <= judged(replace(charge(HIDDEN.second), quotes=(quote,))).belief <= 1


def test_the_closed_form_holds():
    skill, slip = 0.8, 0.1
    critic = SkilledCritic(skill=skill, false_alarms=0.0)
    helper = SumsDebater(critic=critic, unsupported=1.0)
    judge = Raters(replace(BLUNT, slip_share=slip))
    helped = skill * (1 - slip) + (1 - skill) / 2
    expected = {Debate(rounds=1): helped, Consultancy(rounds=1): helped / 2 + 1 / 4, Direct(): 0.5}
    for protocol, share in expected.items():
        right = 0
        for i in range(600):
            case = HIDDEN if i % 2 else HIDDEN.mirrored
            verdict = protocol.judge(case, helper=helper, judge=judge, rng=stream(0, "closed", i))
            right += verdict.preference is (Preference.FIRST if i % 2 else Preference.SECOND)
        assert abs(right / 600 - share) < 0.06
