"""Constitution: which principle, what becomes a pair, what is counted instead, and the budget."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oversight.material import BAD, CASE, FLAW, GOOD, PROMPT, Judge, coin, failing, perfect
from trueline.errors import InputError, JudgeError
from trueline.oversight.constitution import Constitution
from trueline.records import Response
from trueline.testing import ScriptedHelper


class Mender(ScriptedHelper):
    """Finds "bad" and mends as it is told; remembers the principles it was put under."""

    def __init__(self, rewrite=lambda text: text.replace("bad", "fine")):
        super().__init__(lambda r: (FLAW,) if "bad" in r.text else (), rewrite=rewrite)
        self.under_which = []

    def under(self, principle):
        self.under_which.append(principle)
        return self


class Refusing(Mender):
    def revise(self, response, *, principle, critique, rng):
        raise JudgeError("the reviser must answer", got="HTTP 500")


def revised(helper, responses, choose=perfect, seed=0):
    rng = np.random.default_rng(seed)
    return Constitution().pairs(responses, helper=helper, judge=Judge(choose), rng=rng)


def test_one_principle_a_case_whatever_the_order_and_the_judge_reads_it():
    helper, judge = Mender(), Judge(perfect)
    for seed in range(30):
        for case in (CASE, CASE.mirrored):
            Constitution().judge(case, helper=helper, judge=judge, rng=np.random.default_rng(seed))
    drawn = helper.under_which
    assert drawn[::2] == drawn[1::2] and set(drawn) == set(Constitution().principles)
    for principle, (_, critiques) in zip(drawn, judge.seen, strict=True):
        assert all(c.text.startswith(principle) for c in critiques) and len(critiques) == 2


def test_only_what_the_judge_upholds_becomes_a_pair():
    better = revised(Mender(), [BAD, GOOD])
    (pair,) = better.comparisons
    assert (pair.chosen.text, pair.rejected, pair.rater) == ("fine", BAD, "j")
    assert better.counts == {"upheld": 1, "unchanged": 1}
    worse = revised(Mender(lambda text: text + " and bad"), [BAD])
    assert worse.comparisons == () and worse.counts == {"undecided": 1}
    spoiled = revised(ScriptedHelper(lambda r: (FLAW,), rewrite=lambda text: "bad"), [GOOD])
    assert spoiled.comparisons == () and spoiled.counts == {"not_upheld": 1}
    assert revised(Mender(), [BAD], failing).counts == {"undecided": 1}


@pytest.mark.parametrize(
    ("helper", "fate"),
    [
        (Refusing(), "refused"),
        (Mender(lambda text: " \n"), "malformed"),
        (ScriptedHelper(lambda r: None), "malformed"),
        (Mender(str), "unchanged"),
    ],
)
def test_what_fails_is_counted_and_never_paired(helper, fate):
    found = revised(helper, [BAD, Response(prompt=PROMPT, text="bad too")])
    assert found.counts == {fate: 2} and found.comparisons == ()


@given(st.lists(st.sampled_from(["bad", "good", "bad bad", ""]), max_size=6), st.integers(0, 9))
def test_every_response_has_one_fate_and_the_same_stream_gives_the_same(texts, seed):
    rows = [Response(prompt=PROMPT, text=text) for text in texts]
    one, two = (revised(Mender(), rows, coin, seed) for _ in range(2))
    assert one == two and sum(one.counts.values()) == len(rows)
    assert len(one.comparisons) == one.counts.get("upheld", 0)


def test_pairs_need_a_reviser_and_principles():
    judge, rng = Judge(perfect), np.random.default_rng(0)
    with pytest.raises(InputError, match="can revise"):
        Constitution().pairs([BAD], helper=SimpleNamespace(critique=len), judge=judge, rng=rng)
    with pytest.raises(InputError, match="a principle"):
        Constitution(principles=())
