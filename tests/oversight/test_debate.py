"""Debate and consultancy: who knows what when, beliefs after every round, sides by lot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.oversight.material import CASE, Judge, judged, perfect
from trueline.errors import InputError
from trueline.oversight.debate import Consultancy, Debate
from trueline.records import Cost, Critique, Quote
from trueline.testing import ScriptedHelper

SOURCE = "the good answer stands in the source"


class Advocate(ScriptedHelper):
    """Defends its side with a quote, true for the first answer only; keeps what it heard."""

    def __init__(self):
        super().__init__(lambda _: ())
        self.heard = []

    def argue(self, case, *, side, said, rng):
        self.heard.append((side, len(said)))
        own = case.responses[side]
        return Critique(
            response=own,
            text=f"<v_quote>the {own.text} answer stands</v_quote>",
            flaws=(),
            helper=f"for {own.text}",
            num_tokens=7,
            in_favour=True,
        )


def argued(protocol, *, case=CASE, seed=0):
    advocate, judge = Advocate(), Judge(perfect)
    rng = np.random.default_rng(seed)
    return advocate, judge, protocol.judge(case, helper=advocate, judge=judge, rng=rng)


@pytest.mark.parametrize("protocol", [Debate(rounds=2), Consultancy(rounds=2)])
def test_the_side_is_drawn_and_speeches_of_a_round_do_not_know_each_other(protocol):
    openings = []
    for seed in range(200):
        sides, said = zip(*argued(protocol, seed=seed)[0].heard, strict=True)
        num = len(sides) // 2
        assert sides[:num] == sides[num:] and said == (0,) * num + (num,) * num
        openings.append(sides[0])
    assert 70 < sum(openings) < 130


@pytest.mark.parametrize(("protocol", "speeches"), [(Debate(), 2), (Consultancy(), 1)])
def test_the_judge_believes_something_after_every_round_and_all_is_paid(protocol, speeches):
    _, judge, verdict = argued(protocol)
    spoken = [turn.round for turn in verdict.transcript if turn.speaker == "judge"]
    assert spoken == [1, 2, 3]
    assert [len(critiques) for _, critiques in judge.seen] == [speeches * r for r in (1, 2, 3)]
    cost = Cost(calls=3 * speeches + 3, tokens=21 * speeches, judge_s=30.0)
    assert verdict.cost == cost
    assert all(t.belief == pytest.approx(0.9) for t in verdict.transcript if t.speaker == "judge")


def test_quotes_are_verified_before_the_judge_reads_them():
    _, judge, verdict = argued(Debate(rounds=1), case=replace(CASE, source=SOURCE))
    shown = {c.response.text: (c.text, c.quotes) for c in judge.seen[0][1]}
    right, wrong = "the good answer stands", "the bad answer stands"
    assert shown["good"] == (f"<v_quote>{right}</v_quote>", (Quote(right, True),))
    assert shown["bad"] == (f"<u_quote>{wrong}</u_quote>", (Quote(wrong, False),))
    assert {q.found for turn in verdict.transcript for q in turn.quotes} == {True, False}
    assert {q.found for c in argued(Debate())[1].seen[0][1] for q in c.quotes} == {None}


def test_a_round_that_is_not_affordable_is_not_begun():
    verdict = judged(Debate(limit=Cost(calls=8, tokens=99, judge_s=99.0)), perfect)
    assert verdict.cost.calls == 6 and max(t.round for t in verdict.transcript) == 2


def test_senseless_settings_are_refused():
    with pytest.raises(InputError):
        Debate(rounds=0)
    with pytest.raises(InputError, match="can argue"):
        Debate().judge(CASE, helper=object(), judge=Judge(perfect), rng=np.random.default_rng(0))
