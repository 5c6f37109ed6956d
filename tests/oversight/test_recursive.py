"""Recursive reward modelling: a chain of halves that ends where the judge should look."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oversight.material import CASE, Judge, Letters, Scripted, broken, coin
from trueline.audits.recursion import BisectionHelper
from trueline.errors import InputError
from trueline.oversight.direct import Direct
from trueline.oversight.recursive import HelperLevels, Recursive
from trueline.records import Case, Cost, Flaw, Preference, Prompt, Response, Verdict
from trueline.testing import ScriptedHelper

PROMPT = Prompt.of("which is all a?")
NUM = 600


def word(text: str) -> Response:
    return Response(prompt=PROMPT, text=text)


def case_of(n: int, at: int) -> Case:
    """n letters, all right against one wrong (x)."""
    return Case(first=word("a" * n), second=word("a" * at + "x" + "a" * (n - at - 1)))


def where_x(response):
    return (Flaw(kind="x", step=response.text.index("x")),) if "x" in response.text else ()


PERFECT = Scripted(where_x, name="perfect")
POINTER = BisectionHelper(
    score=lambda parts: [-p.text.count("x") for p in parts], division=Letters()
)


def levels_of(*levels):
    return HelperLevels(levels=levels, division=Letters())


class OneLook:
    """Checks one letter of each answer, the suspected one if any is named; else tosses a coin."""

    num_asked = 0

    def compare(self, first, second, *, critiques=(), rng):
        self.num_asked += 1
        named = {c.response.key: c.flaws[0].step for c in critiques if c.flaws}
        seen = [
            r.text[named.get(r.key, int(rng.integers(len(r.text))))] == "x" for r in (first, second)
        ]
        wins = seen[1] if seen[0] != seen[1] else rng.random() < 0.5
        preference = Preference.FIRST if wins else Preference.SECOND
        return Verdict(preference=preference, rater="one look", cost=Cost(judge_s=1.0))


def accuracy(protocol, helper, *, n, num=NUM):
    rng = np.random.default_rng(0)
    cases = [case_of(n, int(rng.integers(n))) for _ in range(num)]
    verdicts = [
        protocol.judge(c, helper=helper, judge=OneLook(), rng=own)
        for c, own in zip(cases, rng.spawn(num), strict=True)
    ]
    return np.mean([v.preference is Preference.FIRST for v in verdicts])


@pytest.mark.parametrize("helper", [PERFECT, POINTER], ids=["critic", "pointer"])
@pytest.mark.parametrize(("n", "depth"), [(16, 0), (16, 3), (16, 4), (5, 2), (8, 9), (17, 5)])
def test_a_perfect_helper_makes_the_flaw_seen_as_often_as_the_formula_says(helper, n, depth):
    seen = min(1.0, 2**depth / n)
    if helper is PERFECT and depth:
        # It names nothing in a run without a flaw; the judge then looks where it likes.
        seen += (1 - seen) / n
    expected = seen + (1 - seen) / 2
    share = accuracy(Recursive(depth=depth), helper, n=n)
    assert abs(share - expected) < 3.5 * np.sqrt(expected * (1 - expected) / NUM) + 1e-9


def test_depth_none_is_unaided_judging_to_the_last_bit():
    for seed in range(20):
        one, two = (
            protocol.judge(CASE, judge=Judge(coin), rng=np.random.default_rng(seed))
            for protocol in (Recursive(depth=0), Direct())
        )
        assert one == two


@pytest.mark.parametrize(("n", "depth"), [(16, 1), (16, 3), (16, 6), (4, 3)])
def test_it_asks_one_question_a_level_and_answer_and_the_descent_is_told(n, depth):
    protocol = Recursive(depth=depth)
    rng = np.random.default_rng(1)
    verdict = protocol.judge(case_of(n, 2), helper=POINTER, judge=OneLook(), rng=rng)
    assert verdict.cost.calls == 2 * min(depth, int(np.log2(n))) + 1
    runs = verdict.transcript[0].text.split(" : ")[0].split()
    sizes = [int(stop) - int(start) + 1 for start, stop in (run.split("-") for run in runs)]
    assert sizes == [2**k for k in range(min(depth, int(np.log2(n))), 0, -1)]


def test_a_level_that_fails_is_recorded_and_the_others_still_help():
    helper = levels_of(POINTER, POINTER, Scripted(broken), POINTER)
    rng = np.random.default_rng(1)
    verdict = Recursive(depth=4).judge(case_of(16, 3), helper=helper, judge=OneLook(), rng=rng)
    assert all("HTTP 500" in c.problem and len(c.flaws) == 1 for c in verdict.critiques)
    assert all("HTTP 500" in turn.problem for turn in verdict.transcript[:2])
    assert verdict.transcript[0].text.count("?") == 1


def test_it_refuses_a_stack_that_is_too_low(rng):
    with pytest.raises(InputError, match="3 needs a helper raised"):
        Recursive(depth=3).judge(CASE, helper=levels_of(POINTER), judge=OneLook(), rng=rng)


def test_without_a_division_of_the_helpers_own_the_protocols_is_taken():
    text = "a first. a second. an x here. a fourth."
    case = Case(first=word(text), second=word(text.replace("x", "o")))

    def sentence_with_x(response):
        hits = [i for i, one in enumerate(response.text.split(". ")) if "x" in one]
        return tuple(Flaw(kind="x", step=i) for i in hits[:1])

    rng, helper = np.random.default_rng(0), ScriptedHelper(sentence_with_x)
    verdict = Recursive(depth=2).judge(case, helper=helper, judge=Judge(coin), rng=rng)
    assert verdict.critiques[0].flaws[0].step == 2
    assert verdict.critiques[0].text == "1-4 3-4 : 3 : an x here."
