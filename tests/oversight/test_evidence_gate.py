"""No evidence offered, rejected: what is checked, what is preferred, what it costs."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.oversight.evidence_gate import EvidenceGatedJudge
from trueline.records import Cost, Critique, Flaw, Preference, Prompt, Response, Verdict

PROMPT = Prompt.of("?")


def said(text):
    return Response(prompt=PROMPT, text=text)


class Inner:
    """Prefers the first; keeps what it was told."""

    def compare(self, first, second, *, critiques=(), rng):
        self.told = critiques
        return Verdict(preference=Preference.FIRST, rater="inner", cost=Cost(judge_s=10.0))


def judged(first, second, *critiques):
    judge = EvidenceGatedJudge(
        judge=Inner(),
        offers=lambda response, said: response.text if "proof" in response.text else None,
        holds=lambda response, evidence, rng: "good" in evidence,
        word_s=1.0,
    )
    verdict = judge.compare(
        said(first), said(second), critiques=critiques, rng=np.random.default_rng(0)
    )
    return judge, verdict


@pytest.mark.parametrize(
    ("first", "second", "preference", "seconds"),
    [
        ("good proof", "claim", Preference.FIRST, 8.0 + 4),
        ("claim", "good proof", Preference.SECOND, 8.0 + 4),
        ("bad proof", "good proof", Preference.SECOND, 16.0 + 5),
        ("claim", "claim too", Preference.UNDECIDED, 0.0 + 4),
        ("bad proof", "claim", Preference.UNDECIDED, 8.0 + 4),
        ("good proof", "a good proof", Preference.FIRST, 26.0),
    ],
)
def test_what_stands_is_preferred_and_checks_take_time(first, second, preference, seconds):
    _, verdict = judged(first, second)
    assert verdict.preference is preference and verdict.cost.judge_s == seconds
    assert bool(verdict.reason) == (preference is Preference.UNDECIDED)


def test_charges_without_evidence_that_holds_are_not_heard():
    flaws = tuple(Flaw(kind=k, evidence=e) for k, e in (("a", "good"), ("b", "bad"), ("c", None)))
    charge = Critique(response=said("good proof"), text="", flaws=flaws, helper="h")
    unread = Critique(response=said("good proof"), text="", flaws=None, helper="h")
    judge, verdict = judged("good proof", "a good proof", charge, unread)
    assert [critique.flaws for critique in judge.judge.told] == [flaws[:1], None]
    assert verdict.cost.judge_s == 10.0 + 2 * 8.0 + 2 * 8.0
