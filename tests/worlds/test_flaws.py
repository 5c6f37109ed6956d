"""Planted flaws: exactly one, known, and not to be told by the surface."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.data.planted_flaws import ArithmeticFlaws, plant_flaws
from trueline.records import Flaw, Prompt, Response
from trueline.worlds import Sums
from trueline.worlds.sums.flaws import KINDS, SumsFlaws, good_answer
from trueline.worlds.sums.language import parse
from trueline.worlds.sums.reviews import true_flaws

STEPS = ("wrong_step", "slipped_step", "wrong_answer")


SOLUTION = Response(
    prompt=Prompt.of("?"),
    text="It costs 80,000+50,000=$130,000.\n\nHe pays 2 * 130,000 = 260,000\nA: 260000",
)


def planted(*kinds: str, n: int = 300, split: str = "eval"):
    rng = np.random.default_rng(5)
    good = [good_answer(prompt, rng) for prompt in Sums().prompts(n, rng, split)]
    return plant_flaws(good, SumsFlaws(kinds=kinds or KINDS), rng=rng)


@pytest.mark.parametrize("kind", KINDS)
def test_the_planted_flaw_is_there_and_the_other_answer_has_none(kind):
    for one in planted(kind):
        assert not true_flaws(one.clean)
        parsed = parse(one.flawed.text)
        unlike = {Flaw(kind="wrong_answer")} if parsed.answer != parsed.steps[-1].c else set()
        assert {*true_flaws(one.flawed), *unlike} == {one.flaw, *one.also}
        assert one.names(one.side, one.flaw) and not one.invented(one.side, one.flaw)
        assert one.invented(1 - one.side, one.flaw) and not one.names(1 - one.side, one.flaw)
        assert len(one.also) <= 2
        assert not parsed.malformed


@pytest.mark.parametrize("kind", STEPS)
def test_numbers_alone_change_and_the_chain_is_carried_on_or_not(kind):
    for one in planted(kind):
        words = [text.split() for text in (one.clean.text, one.flawed.text)]
        changed = [pair for pair in zip(*words, strict=True) if pair[0] != pair[1]]
        assert changed and all(a.isdigit() and b.isdigit() for a, b in changed)
        clean, spoiled = parse(one.clean.text), parse(one.flawed.text)
        differing = sum(a != b for a, b in zip(clean.steps, spoiled.steps, strict=True))
        if kind == "wrong_step":
            assert differing == len(clean.steps) - one.flaw.step
            assert spoiled.answer == spoiled.steps[-1].c
        else:
            assert differing == (kind == "slipped_step")
            assert (spoiled.answer == clean.answer) == (kind == "slipped_step")


def test_sides_are_drawn_and_what_cannot_be_spoiled_is_left_out():
    pairs = planted()
    assert 0.4 < np.mean([one.side for one in pairs]) < 0.6
    assert len({one.flaw.kind for one in pairs}) == 4
    flattering = [one.flawed for one in planted("flattery")]
    assert not plant_flaws(flattering, SumsFlaws(kinds=("flattery",)), rng=np.random.default_rng(0))
    junk = Response(prompt=flattering[0].prompt, text="no sum at all")
    assert SumsFlaws(kinds=STEPS).inject(junk, rng=np.random.default_rng(0)) is None


def test_one_sum_of_a_free_text_is_changed_and_nothing_else():
    for seed in range(40):
        one = ArithmeticFlaws().inject(SOLUTION, rng=np.random.default_rng(seed))
        lines, before = one.response.text.split("\n"), SOLUTION.text.split("\n")
        (changed,) = [i for i in range(4) if lines[i] != before[i]]
        assert changed == (0, 2)[one.flaw.step] and one.flaw.evidence in before[changed]
    for text in ("No sums.", "2 * 3 = 7", "3 * 4 = <<3*4=12>>12"):
        response = Response(prompt=Prompt.of("?"), text=text)
        assert ArithmeticFlaws().inject(response, rng=np.random.default_rng(0)) is None
