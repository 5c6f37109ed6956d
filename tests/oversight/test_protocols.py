"""The contract of every oversight protocol: perfect, coin, order-loving and undecided judges."""

import numpy as np
import pytest

from trueline.errors import InputError
from trueline.oversight import Critique, Direct
from trueline.records import Critique as CritiqueRecord
from trueline.records import Flaw, Preference, Prompt, Response, Verdict

PROMPT = Prompt.of("pick the better")
GOOD, BAD = Response(prompt=PROMPT, text="good"), Response(prompt=PROMPT, text="bad")
PROTOCOLS = [Direct(), Critique()]


class Helper:
    def critique(self, responses):
        return [
            CritiqueRecord(
                response=r, text="look", flaws=(Flaw(kind="bad"),) if r is BAD else (), helper="h"
            )
            for r in responses
        ]


class Judge:
    """Answers by a function of the two texts as shown."""

    def __init__(self, choose):
        self.choose, self.seen = choose, []

    def compare(self, first, second, *, critiques=(), rng):
        self.seen.append((first.text, critiques))
        preference = self.choose(first.text, second.text, rng)
        return Verdict(preference=preference, rater="j", critiques=critiques)


def perfect(first, second, rng):
    return Preference.FIRST if first == "good" else Preference.SECOND


def coin(first, second, rng):
    return Preference.FIRST if rng.random() < 0.5 else Preference.SECOND


def always_first(first, second, rng):
    return Preference.FIRST


def share_right(protocol, choose, num=2000):
    judge = Judge(choose)
    streams = np.random.default_rng(0).spawn(num)
    verdicts = [
        protocol.judge((GOOD, BAD), helper=Helper(), judge=judge, rng=rng) for rng in streams
    ]
    return np.mean([v.preference is Preference.FIRST for v in verdicts])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_perfect_judge_is_always_right_and_a_coin_half_the_time(protocol):
    assert share_right(protocol, perfect) == 1.0
    assert abs(share_right(protocol, coin) - 0.5) < 0.045


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_judge_who_loves_the_first_answer_favours_nobody(protocol):
    assert abs(share_right(protocol, always_first) - 0.5) < 0.045


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_order_of_the_case_changes_nothing_but_the_words(protocol):
    for seed in range(20):
        one = protocol.judge(
            (GOOD, BAD), helper=Helper(), judge=Judge(perfect), rng=np.random.default_rng(seed)
        )
        two = protocol.judge(
            (BAD, GOOD), helper=Helper(), judge=Judge(perfect), rng=np.random.default_rng(seed)
        )
        assert (one.preference, two.preference) == (Preference.FIRST, Preference.SECOND)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_undecided_stays_undecided(protocol):
    judge = Judge(lambda first, second, rng: Preference.UNDECIDED)
    verdict = protocol.judge(
        (GOOD, BAD), helper=Helper(), judge=judge, rng=np.random.default_rng(0)
    )
    assert verdict.preference is Preference.UNDECIDED


def test_critiques_of_both_answers_reach_the_judge_and_the_transcript():
    judge = Judge(perfect)
    verdict = Critique().judge(
        (GOOD, BAD), helper=Helper(), judge=judge, rng=np.random.default_rng(0)
    )
    assert {c.response.text: c.flaws for c in judge.seen[0][1]} == {
        "good": (),
        "bad": (Flaw(kind="bad"),),
    }
    assert len(verdict.critiques) == 2


def test_unaided_judging_asks_no_helper_and_critique_needs_one():
    judge = Judge(perfect)
    Direct().judge((GOOD, BAD), helper=Helper(), judge=judge, rng=np.random.default_rng(0))
    assert judge.seen[0][1] == ()
    with pytest.raises(InputError, match="needs a helper"):
        Critique().judge((GOOD, BAD), helper=None, judge=judge, rng=np.random.default_rng(0))
