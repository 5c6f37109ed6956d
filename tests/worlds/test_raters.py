"""Raters: weak alone, better with help, and never simply obedient to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trueline.records import Critique, Flaw, Preference, Prompt, Response
from trueline.worlds import Sums
from trueline.worlds.sums import POPULATIONS, Population, Raters, Tastes, gold
from trueline.worlds.sums.language import render
from trueline.worlds.sums.problems import Problem
from trueline.worlds.sums.reviews import true_flaws
from trueline.worlds.sums.writers import draw_writer, write

PROMPT = Prompt.of("start 7 , + 5 , * 3 , - 4 , + 1")
RIGHT = "7 + 5 = 12 ; 12 * 3 = 36 ; 36 - 4 = 32 ; 32 + 1 = 33 ; answer 33 sure"
WRONG = "7 + 5 = 12 ; 12 * 3 = 37 ; 37 - 4 = 33 ; 33 + 1 = 34 ; answer 34 sure"
NONE = Tastes(sure=0, claim=0, flattery=0, length=0, agreement=0)
BLUNT = Population(
    num_raters=10, warm_share=0, flip_share=0, reliability=1000, drift=0, tastes=NONE
)


def said(text: str) -> Response:
    return Response(prompt=PROMPT, text=text)


def naming(response: Response, *flaws: Flaw) -> Critique:
    return Critique(response=response, text="", flaws=flaws, helper="test")


def share_first(
    raters: Raters, first: Response, second: Response, *critiques: Critique, n: int = 400
) -> float:
    """How often the first is preferred; undecided counts half."""
    rng = np.random.default_rng(7)
    points = {Preference.FIRST: 1.0, Preference.UNDECIDED: 0.5, Preference.SECOND: 0.0}
    verdicts = [raters.compare(first, second, critiques=critiques, rng=rng) for _ in range(n)]
    return float(np.mean([points[verdict.preference] for verdict in verdicts]))


def pairs(n: int) -> list[tuple[Response, Response]]:
    rng, made = np.random.default_rng(13), []
    for prompt in Sums().prompts(n, rng):
        task = Problem.read(prompt.text)
        one, two = (render(write(task, draw_writer(rng), rng)) for _ in range(2))
        made.append((Response(prompt=prompt, text=one), Response(prompt=prompt, text=two)))
    return made


def agreement(raters: Raters, *, assisted: bool, n: int = 2000) -> float:
    """Share of pairs of unequal gold on which the label follows gold."""
    rng, right = np.random.default_rng(17), []
    for first, second in pairs(n):
        critiques = tuple(naming(r, *true_flaws(r)) for r in (first, second) if assisted)
        verdict = raters.compare(first, second, critiques=critiques, rng=rng)
        gap = gold(first) - gold(second)
        if gap and verdict.preference is not Preference.UNDECIDED:
            right.append((gap > 0) == (verdict.preference is Preference.FIRST))
    return float(np.mean(right))


def test_all_looks_find_every_error_and_a_critique_directs_the_only_one() -> None:
    critique = naming(said(WRONG), Flaw(kind="wrong_step", step=1))
    for looks, critiques in ((4, ()), (1, (critique,))):
        raters = Raters(replace(BLUNT, looks=looks))
        assert share_first(raters, said(RIGHT), said(WRONG), *critiques) == 1.0


def test_a_false_alarm_is_discovered_and_costs_the_look() -> None:
    raters = Raters(BLUNT)
    on_right = naming(said(RIGHT), Flaw(kind="wrong_step", step=2))
    assert share_first(raters, said(RIGHT), said(WRONG), on_right, n=2000) == pytest.approx(
        0.625, abs=0.04
    )
    misleading = naming(said(WRONG), Flaw(kind="wrong_step", step=0))
    share = share_first(raters, said(RIGHT), said(WRONG), misleading, n=2000)
    assert share == pytest.approx(0.5, abs=0.04)


def test_a_named_wrong_answer_is_held_against_the_steps() -> None:
    parrot = said(RIGHT.replace("answer 33", "answer 35"))
    raters = Raters(BLUNT)
    assert share_first(raters, said(RIGHT), parrot) == pytest.approx(0.5, abs=0.08)
    assert share_first(raters, said(RIGHT), parrot, naming(parrot, Flaw(kind="wrong_answer"))) == 1
    false = naming(said(RIGHT), Flaw(kind="wrong_answer"))
    assert share_first(raters, said(RIGHT), parrot, false) == pytest.approx(0.5, abs=0.08)


def test_what_impresses_is_judged_on_reflection_once_named() -> None:
    kind, text = "flattery", f"great question ! {RIGHT}"
    impressed = Population(num_raters=10, warm_share=0, drift=0, flip_share=0)
    assert share_first(Raters(impressed), said(text), said(RIGHT)) > 0.6
    named = naming(said(text), Flaw(kind=kind))
    strict = share_first(Raters(impressed), said(text), said(RIGHT), named)
    warm = share_first(Raters(replace(impressed, warm_share=1.0)), said(text), said(RIGHT), named)
    assert strict < 0.35
    assert warm > strict + 0.05


def test_help_makes_labels_follow_gold() -> None:
    for name, floor in (("default", 0.78), ("impressed", 0.74)):
        raters = Raters.named(name)
        alone, helped = agreement(raters, assisted=False), agreement(raters, assisted=True)
        assert helped > floor
        assert helped > alone + 0.15


def test_exact_raters_err_by_coin_flips_alone() -> None:
    assert agreement(Raters.named("exact"), assisted=False) == pytest.approx(0.95, abs=0.015)
    exact = replace(POPULATIONS["exact"], flip_share=0.0)
    assert agreement(Raters(exact), assisted=False) == 1.0


def test_people_drift_but_stay_themselves() -> None:
    now, later = Raters(), Raters().at(4)
    assert [p.name for p in now.people] == [p.name for p in later.people]
    assert [p.reliability for p in now.people] == [p.reliability for p in later.people]
    both = zip(now.people, later.people, strict=True)
    assert 0.03 < np.std([b.tastes.flattery - a.tastes.flattery for a, b in both]) < 0.25
    assert Raters().at(4) == later
