"""The contract of every oversight protocol in the folder, with perfect, coin and adversarial help.

A protocol that cannot be made without arguments, or that serves for something a plain pair cannot
show, gets its specimen in `SPECIMENS`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.oversight.material import (
    CASE,
    FLAW,
    HELPERS,
    Judge,
    always_first,
    coin,
    failing,
    judged,
    perfect,
    undecided,
)
from trueline import oversight
from trueline.errors import InputError
from trueline.oversight.critique import WithCritique
from trueline.oversight.direct import Direct
from trueline.oversight.planted_flaws import PlantedFlaws
from trueline.oversight.recursive import Recursive
from trueline.records import Cost, Preference

SPECIMENS: dict[str, object] = {
    "recursive": Recursive(depth=2),
    "planted_flaws": PlantedFlaws(protocol=WithCritique(), share=1.0),
}
PROTOCOLS = {name: SPECIMENS.get(name) or idea() for name, idea in oversight.PROTOCOLS.items()}

every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
every_helper = pytest.mark.parametrize("helper", HELPERS)


def share_right(protocol, choose, *, helper="perfect", num=1000):
    verdicts = [judged(protocol, choose, helper=helper, seed=seed) for seed in range(num)]
    decided = [v for v in verdicts if v.preference is not Preference.UNDECIDED]
    return np.mean([v.preference is Preference.FIRST for v in decided])


@every_helper
@every_protocol
def test_who_sees_is_right_whatever_it_is_told_and_a_coin_half_of_the_time(protocol, helper):
    assert share_right(protocol, perfect, helper=helper, num=50) == 1.0
    assert abs(share_right(protocol, coin, helper=helper) - 0.5) < 0.065


@every_protocol
def test_a_judge_who_loves_the_first_answer_favours_nobody(protocol):
    assert abs(share_right(protocol, always_first) - 0.5) < 0.065


@every_protocol
def test_the_order_of_the_case_changes_nothing_but_the_words(protocol):
    for seed in range(20):
        one = judged(protocol, perfect, seed=seed)
        two = judged(protocol, perfect, case=CASE.mirrored, seed=seed)
        assert (one.preference, two.preference) == (Preference.FIRST, Preference.SECOND)
        assert one.belief == pytest.approx(0.9) and two.belief == pytest.approx(0.1)


@every_protocol
@pytest.mark.parametrize("shown", [None, 0, 1])
def test_the_order_in_which_the_judge_saw_the_answers_is_recorded_and_can_be_set(protocol, shown):
    for case in (replace(CASE, shown_first=shown), replace(CASE, shown_first=shown).mirrored):
        verdicts = [judged(protocol, always_first, case=case, seed=seed) for seed in range(20)]
        orders = {0, 1} if shown is None else {case.shown_first}
        assert {v.shown_first for v in verdicts} == orders
        choices = {(v.shown_first, v.preference) for v in verdicts if v.reason is None}
        assert choices <= {(0, Preference.FIRST), (1, Preference.SECOND)}


@every_helper
@every_protocol
def test_all_is_in_the_transcript_and_paid_for(protocol, helper):
    verdict = judged(protocol, perfect, helper=helper)
    asked = [turn for turn in verdict.transcript if turn.speaker == "judge"]
    assert asked and asked[-1].belief == verdict.belief
    assert verdict.cost.judge_s == pytest.approx(10.0 * len(asked))
    assert verdict.cost.calls >= len(verdict.transcript)
    assert verdict.cost.tokens >= sum(c.num_tokens for c in verdict.critiques)
    if helper in ("unreadable", "failing"):
        assert all(c.flaws is None for c in verdict.critiques)
    if helper == "failing" and verdict.critiques:
        assert all("HTTP 500" in c.problem for c in verdict.critiques)


@every_protocol
@pytest.mark.parametrize("calls", [0, 1, 2, 3, 5])
def test_it_stops_at_its_budget_of_calls(protocol, calls):
    limited = replace(protocol, limit=replace(protocol.limit, calls=calls))
    verdict = judged(limited, perfect)
    assert verdict.cost.calls <= calls
    assert (verdict.preference is Preference.UNDECIDED) == (calls == 0) or verdict.reason
    if calls == 0:
        assert verdict.reason


@every_protocol
def test_it_stops_at_its_budget_of_judge_seconds_and_tokens(protocol):
    for limit in (Cost(calls=99, tokens=99, judge_s=5.0), Cost(calls=99, tokens=0, judge_s=99.0)):
        verdict = judged(replace(protocol, limit=limit), perfect)
        assert verdict.cost.judge_s <= 10.0 and verdict.cost.tokens <= 1
    assert judged(protocol, perfect).preference is Preference.FIRST


@every_protocol
def test_an_undecided_or_failing_judge_loses_nothing_and_scores_nothing(protocol):
    for choose in (undecided, failing):
        verdict = judged(protocol, choose)
        assert verdict.preference is Preference.UNDECIDED
    assert "a poem" in verdict.reason and verdict.belief is None
    assert verdict.transcript[-1].problem


@every_protocol
def test_the_same_stream_gives_the_same_verdict(protocol):
    assert judged(protocol, coin, seed=3) == judged(protocol, coin, seed=3)


def test_critiques_of_both_answers_reach_the_judge_who_is_alone_where_nobody_helps():
    judge, rng = Judge(perfect), np.random.default_rng(0)
    verdict = WithCritique().judge(CASE, helper=HELPERS["perfect"], judge=judge, rng=rng)
    assert {c.response.text: c.flaws for c in judge.seen[0][1]} == {"good": (), "bad": (FLAW,)}
    assert len(verdict.critiques) == 2
    Direct().judge(CASE, helper=HELPERS["perfect"], judge=judge, rng=rng)
    assert judge.seen[1][1] == ()
    with pytest.raises(InputError, match="needs a helper"):
        WithCritique().judge(CASE, helper=None, judge=judge, rng=rng)
