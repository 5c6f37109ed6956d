"""Spans: every step lies in one, with what it started from."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.records import Prompt, Response
from trueline.worlds.sums.flaws import draw_cases
from trueline.worlds.sums.gold import gold
from trueline.worlds.sums.language import parse
from trueline.worlds.sums.problems import Problem
from trueline.worlds.sums.reviews import true_flaws
from trueline.worlds.sums.spans import Spans

PROMPT = Prompt.of("start 7 , + 5 , * 3 , - 4 . i think it is 32")
WRONG = "let us see , 7 + 5 = 12 ; 12 * 3 = 37 ; 37 - 4 = 33 ; i checked it twice ; answer 33 sure"


def said(text: str, prompt: Prompt = PROMPT) -> Response:
    return Response(prompt=prompt, text=text)


def test_a_span_starts_from_what_was_written_and_is_bare():
    middle = Spans().part(said(WRONG), 1, 3)
    assert (middle.prompt.text, middle.text) == (
        "start 12 , * 3 , - 4",
        "12 * 3 = 37 ; 37 - 4 = 33 ; answer 33",
    )
    assert Spans().part(said(WRONG), 0, 1).text == "7 + 5 = 12 ; answer 12"


@pytest.mark.parametrize("size", [1, 2, 4, 16])
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
    assert Spans().part(worded, 1, 2).prompt.text == "begin 12 , times 3"
    assert Spans().part(worded, 1, 2).text == "12 * 3 makes 36 , answer 36"
    large = said("7 + 5 = 120 ; 120 * 3 = 360 ; 360 - 4 = 356 ; answer 356")
    assert Problem.read(Spans().part(large, 1, 3).prompt.text).start == 99


def test_cases_come_with_one_wrong_step_in_random_order_and_splits_do_not_meet():
    cases = draw_cases(4, 200, np.random.default_rng(0))
    assert all(sorted(len(true_flaws(r)) > 0 for r in c.responses) == [False, True] for c in cases)
    assert 70 < sum(gold(c.first) > gold(c.second) for c in cases) < 130
    assert not any(Problem.read(c.prompt.text).held_out for c in cases)
    fresh = draw_cases(4, 20, np.random.default_rng(0), held_out=True)
    assert all(Problem.read(c.prompt.text).held_out for c in fresh)
