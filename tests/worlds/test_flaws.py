"""Planted flaws, exactly one and known, and the spans in which a flaw can lie."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.data.planted_flaws import ArithmeticFlaws, plant_flaws
from trueline.records import Flaw, Prompt, Response
from trueline.worlds import Sums
from trueline.worlds.sums.flaws import KINDS, SumsFlaws, draw_cases, good_answer
from trueline.worlds.sums.gold import gold
from trueline.worlds.sums.language import parse
from trueline.worlds.sums.problems import Problem
from trueline.worlds.sums.reviews import true_flaws
from trueline.worlds.sums.spans import Spans

STEPS = ("wrong_step", "slipped_step", "wrong_answer")


SOLUTION = Response(
    prompt=Prompt.of("?"),
    text="It costs 80,000+50,000=$130,000.\n\nHe pays 2 * 130,000 = 260,000\nA: 260000",
)


def planted(*kinds: str):
    rng = np.random.default_rng(5)
    good = [good_answer(prompt, rng) for prompt in Sums().prompts(300, rng, "eval")]
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
    none = Response(prompt=Prompt.of("?"), text="2 * 3 = 7, 3 * 4 = <<3*4=12>>12")
    assert ArithmeticFlaws().inject(none, rng=np.random.default_rng(0)) is None


PROMPT = Prompt.of("start 7 , + 5 , * 3 , - 4 . i think it is 32")
WRONG = "let us see , 7 + 5 = 12 ; 12 * 3 = 37 ; 37 - 4 = 33 ; i checked it twice ; answer 33 sure"


def said(text: str, prompt: Prompt = PROMPT) -> Response:
    return Response(prompt=prompt, text=text)


def test_a_span_starts_from_what_was_written_and_is_bare():
    middle = Spans().part(said(WRONG), 1, 3)
    assert middle.prompt.text == "start 12 , * 3 , - 4"
    assert middle.text == "12 * 3 = 37 ; 37 - 4 = 33 ; answer 33"


@pytest.mark.parametrize("size", [1, 4, 16])
def test_a_flaw_lies_in_one_step_and_spans_of_spans_are_spans(size):
    spans = Spans()
    for case in draw_cases(size, 20, np.random.default_rng(size)):
        flawed = min(case.responses, key=gold)
        ((flaw,),) = [[f for f in true_flaws(flawed) if f.kind == "wrong_step"]]
        parts = [spans.part(flawed, i, i + 1) for i in range(spans.count(flawed))]
        assert [bool(true_flaws(part)) for part in parts] == [i == flaw.step for i in range(size)]
        whole = spans.part(flawed, 0, size)
        assert parse(whole.text).steps == parse(flawed.text).steps
        for start in range(size // 2):
            half = spans.part(whole, start, size)
            assert spans.part(half, 0, 1) == parts[start]


def test_what_is_missing_or_too_much_is_in_the_last_span():
    spans = Spans()
    short = said("7 + 5 = 12 ; 12 * 3 = 36 ; answer 36")
    assert spans.count(short) == 2
    last = spans.part(short, 1, 2)
    assert last.prompt.text == "start 12 , * 3 , - 4" and true_flaws(last)
    long = said("7 + 5 = 12 ; 12 * 3 = 36 ; 36 - 4 = 32 ; 32 + 1 = 33 ; answer 33")
    assert true_flaws(spans.part(long, 2, 3)) and not true_flaws(spans.part(long, 0, 2))
    mute = said("no idea")
    assert spans.count(mute) == 1 and spans.part(mute, 0, 1).text == ""


def test_told_chains_and_large_values_can_be_divided():
    worded = said(
        "7 + 5 makes 12 , 12 * 3 makes 36 , answer 36", Prompt.of("begin 7 , add 5 , times 3")
    )
    part = Spans().part(worded, 1, 2)
    assert (part.prompt.text, part.text) == ("begin 12 , times 3", "12 * 3 makes 36 , answer 36")
    large = said("7 + 5 = 120 ; 120 * 3 = 360 ; 360 - 4 = 356 ; answer 356")
    assert Problem.read(Spans().part(large, 1, 3).prompt.text).start == 99


def test_cases_come_with_one_wrong_step_in_random_order_and_splits_do_not_meet():
    cases = draw_cases(4, 200, np.random.default_rng(0))
    assert all(sorted(len(true_flaws(r)) > 0 for r in c.responses) == [False, True] for c in cases)
    assert 70 < sum(gold(c.first) > gold(c.second) for c in cases) < 130
    assert not any(Problem.read(c.prompt.text).held_out for c in cases)
    fresh = draw_cases(4, 20, np.random.default_rng(0), held_out=True)
    assert all(Problem.read(c.prompt.text).held_out for c in fresh)
