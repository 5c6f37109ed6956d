"""Controls: who sees planted flaws is believed, and how often they are seen is measured."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.oversight.material import (
    CASE,
    HELPERS,
    Judge,
    always_first,
    coin,
    failing,
    judged,
    perfect,
    undecided,
)
from trueline.errors import InputError
from trueline.oversight.critique import WithCritique
from trueline.oversight.direct import Direct
from trueline.oversight.planted_flaws import PlantedFlaws
from trueline.oversight.text_helpers import TextHelper
from trueline.records import Case, Cost, Flaw, Preference, Prompt, Reply, Response
from trueline.testing import ScriptedChatModel

ALWAYS = PlantedFlaws(share=1.0)


def test_who_fails_the_control_is_not_believed_and_spared_the_case():
    def wrong(first, second, rng):
        return perfect(second, first, rng)

    verdict = judged(ALWAYS, wrong)
    assert verdict.preference is Preference.UNDECIDED and verdict.belief is None
    assert "failed the control" in verdict.reason and "bad planted in answer" in verdict.reason
    assert verdict.cost == Cost(calls=2, judge_s=10.0)
    for choose, why in ((undecided, "control"), (failing, "a poem")):
        assert why in judged(ALWAYS, choose).reason


def test_the_control_is_in_the_transcript_and_the_cost():
    for inner in (Direct(), WithCritique()):
        alone = judged(inner, perfect)
        both = judged(replace(ALWAYS, protocol=inner), perfect)
        assert both.cost.judge_s == 2 * alone.cost.judge_s
        assert both.cost.calls == 2 * alone.cost.calls + 1
        assert [turn.round for turn in both.transcript].count(-1) == len(alone.transcript) + 1
        assert "good bad" in both.transcript[0].text
        assert both.critiques == alone.critiques


@pytest.mark.parametrize("shown_first", [0, 1])
def test_the_control_is_shown_in_the_order_of_the_case_and_named_as_it_was_seen(shown_first):
    places = set()
    for seed in range(8):
        judge, rng = Judge(always_first), np.random.default_rng(seed)
        case = replace(CASE, shown_first=shown_first)
        verdict = ALWAYS.judge(case, helper=HELPERS["perfect"], judge=judge, rng=rng)
        place = "bad" not in judge.seen[0][0]
        assert f"planted in answer {'AB'[place]}:" in verdict.transcript[0].text
        assert verdict.transcript[0].side ^ shown_first == place
        places.add(place)
    assert places == {False, True}


def test_the_share_of_controls_and_none_at_all():
    def controls(share):
        protocol = replace(ALWAYS, share=share)
        return [len(judged(protocol, perfect, seed=s).transcript) > 1 for s in range(200)]

    assert not any(controls(0.0)) and all(controls(1.0))
    assert np.mean(controls(0.2)) == pytest.approx(0.2, abs=0.09)
    with pytest.raises(InputError, match="share"):
        PlantedFlaws(share=2)


def test_without_a_fitting_flaw_or_the_budget_the_verdict_stands():
    prompt = Prompt.of("?")
    bad = [Response(prompt=prompt, text=text) for text in ("bad", "worse and bad")]
    assert len(judged(ALWAYS, coin, case=Case(first=bad[0], second=bad[1])).transcript) == 1
    for calls in (1, 2):
        verdict = judged(replace(ALWAYS, limit=replace(ALWAYS.limit, calls=calls)), perfect)
        assert verdict.preference is Preference.FIRST and verdict.cost.calls == 1


def replying(form):
    """A speaker that fills the code it was given into a form."""

    def answer(asked):
        code = re.search(r"FLAW ([0-9a-f]+):", asked)[1]
        return form.replace("#", code) if isinstance(form, str) else form

    return ScriptedChatModel(answer)


WELL = "<#>\nall is bad\n</#>\nFLAW #: wrong claim | 2 | it is good"


def test_a_model_plants_a_flaw_and_says_where():
    one = TextHelper(replying(WELL)).inject(CASE.first, rng=np.random.default_rng(0))
    assert one.response.text == "all is bad" and one.response.num_tokens > 0
    assert one.flaw == Flaw(kind="wrong_claim", step=1, evidence="it is good")
    rng, helper = np.random.default_rng(0), TextHelper(replying(WELL))
    verdict = ALWAYS.judge(CASE, helper=helper, judge=Judge(perfect), rng=rng)
    assert verdict.cost.tokens == one.response.num_tokens
    assert "wrong_claim" in verdict.transcript[0].text


def test_a_helper_that_plants_nothing_leaves_it_to_the_rule_of_arithmetic():
    prompt = Prompt.of("?")
    sums = [Response(prompt=prompt, text=f"{n} * 2 = {2 * n}, good") for n in (3, 4)]
    case, rng = Case(first=sums[0], second=sums[1]), np.random.default_rng(0)
    verdict = ALWAYS.judge(case, helper=None, judge=Judge(perfect), rng=rng)
    assert verdict.transcript[0].speaker == "control"
    assert "wrong_step" in verdict.transcript[0].text


@pytest.mark.parametrize(
    "form",
    [
        "<#>\ngood\n</#>\nFLAW #: none | - | nothing",
        "<#>\nall is bad\n</#>\nNO FLAW #",
        "<#>\nall is bad",
        f"{WELL}\nFLAW #: another | - | too",
        Reply(WELL, problem="timed out"),
    ],
)
def test_a_model_that_plants_nothing_readable_gives_no_control(form):
    assert TextHelper(replying(form)).inject(CASE.first, rng=np.random.default_rng(0)) is None
