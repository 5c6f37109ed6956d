"""Inclusion against hallucination: known critics have known curves, and sweeping traces them."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.audits.inclusion import area_difference, consensus, sweep
from trueline.data.planted_flaws import plant_flaws
from trueline.records import Critique, Flaw
from trueline.worlds import Sums
from trueline.worlds.sums.flaws import SumsFlaws, good_answer, true_flaws
from trueline.worlds.sums.language import parse

RNG = np.random.default_rng(2)
CASES = plant_flaws(
    [good_answer(prompt, RNG) for prompt in Sums().prompts(150, RNG, "eval")],
    SumsFlaws(kinds=("wrong_step",)),
    rng=RNG,
)
MODIFIERS = (-9.0, -1.0, 0.0, 1.0, 2.0, 4.0, 9.0)


def said(response, flaws):
    return Critique(response=response, text="", flaws=flaws, helper="test")


def sampled(find, num=1):
    """`num` critiques of each answer of the cases, by a function of the answer and a generator."""
    rng = np.random.default_rng(0)
    responses = [r for one in CASES for r in one.case.responses]
    return {r.key: [said(r, find(r, rng)) for _ in range(num)] for r in responses}


def noisy(response, rng):
    """Names the true flaws in 60 %, each other step in 15 %."""
    steps = [Flaw(kind="wrong_step", step=i) for i in range(len(parse(response.text).steps))]
    true = true_flaws(response)
    named = [f for f in true if rng.random() < 0.6]
    return (*named, *(f for f in steps if f not in true and rng.random() < 0.15))


def area(curve):
    return curve.area(rng=np.random.default_rng(1))


def test_silence_perfection_and_naming_everything():
    def everything(response, rng):
        steps = range(len(parse(response.text).steps))
        return tuple(Flaw(kind="wrong_step", step=i) for i in steps)

    silent = sweep(CASES, sampled(lambda response, rng: ()))
    perfect = sweep(CASES, sampled(lambda response, rng: true_flaws(response)))
    flood = sweep(CASES, sampled(everything))
    assert [area(c).value for c in (silent, perfect, flood)] == [
        0.0,
        1.0,
        pytest.approx(0, abs=0.1),
    ]
    (point,) = perfect.points(rng=RNG)
    assert point["inclusion"]["value"] == 1.0 and point["hallucination"]["value"] == 0.0
    (point,) = flood.points(rng=RNG)
    assert point["inclusion"]["value"] == 1.0 and point["hallucination"]["value"] > 0.9


def test_the_sweep_says_more_and_more_and_beats_one_sample():
    many = sampled(noisy, num=12)
    curve = sweep(CASES, many, modifiers=MODIFIERS)
    rows = curve.points(rng=np.random.default_rng(0))
    assert [row["flaws"] for row in rows] == sorted(row["flaws"] for row in rows)
    inclusion = [row["inclusion"]["value"] for row in rows]
    assert inclusion[0] < 0.5 < min(inclusion[2:])
    one = sweep(CASES, {key: row[:1] for key, row in many.items()})
    best = sweep(CASES, many)
    rng = np.random.default_rng(1)
    assert area_difference(curve, one, rng=rng).lower > 0
    assert area_difference(best, one, rng=rng).lower > 0
    assert area(curve).value >= area(best).value
    assert sum(row["front"] for row in rows) >= 3


def test_consensus_rewards_the_majority_and_punishes_the_lone_alarm():
    response, (true, lone) = CASES[0].flawed, (Flaw(kind="a"), Flaw(kind="b"))
    many = [said(response, (true,))] * 8 + [said(response, (lone,)), said(response, ())]
    reward = consensus(many)
    assert reward(said(response, (true,))) > reward(said(response, ())) == 0
    assert reward(said(response, (true, lone))) < reward(said(response, (true,)))


def test_what_cannot_be_read_is_never_picked():
    def unreadable(response, rng):
        return None if rng.random() < 0.5 else true_flaws(response)

    mixed = sweep(CASES, sampled(unreadable, num=12))
    assert mixed.named.all() and not mixed.invented.any()
    assert not sweep(CASES, sampled(lambda response, rng: None)).named.any()
