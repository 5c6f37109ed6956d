"""The gaps between doing, knowing and saying: closed forms on toys, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.audits.critique_gap import CritiqueGap, GapTarget, discriminate, gaps
from trueline.data.planted_flaws import PlantedCase
from trueline.errors import InvalidExperiment
from trueline.records import Case, Flaw, Preference, Prompt, Response, Verdict
from trueline.rewards.bayesian import Bayesian
from trueline.testing import FakeTrunk, ScriptedHelper

RNG = np.random.default_rng


class Confirming:
    """A judge that confirms whatever flaw it is shown, and prefers the other answer."""

    def compare(self, first, second, *, critiques=(), rng):
        found = [
            (int(c.response.key == second.key), flaw) for c in critiques for flaw in c.flaws or ()
        ]
        sides = {side for side, _ in found}
        preference = {0: Preference.SECOND, 1: Preference.FIRST}[min(sides)] if sides else None
        return Verdict(preference=preference or Preference.UNDECIDED, rater="j", found=tuple(found))


def test_levels_and_gaps_are_what_they_are_said_to_be() -> None:
    shares = (0.25, 0.9, 0.5, 0.1)
    rows = [(np.arange(400) < share * 400).astype(float) for share in shares]
    got = gaps(*rows, clusters=list(map(str, range(400))))
    want = {"G": 0.25, "D": 0.9, "C": 0.7, "GD": 0.65, "DC": 0.2, "GC": 0.45}
    for name, value in want.items():
        assert got[name].value == pytest.approx(value), name
        assert got[name].lower < value < got[name].upper
    # To name everything, or nothing, is a coin.
    for named in (np.ones(400), np.zeros(400)):
        rows[2:] = named, named
        assert gaps(*rows, clusters=list(map(str, range(400))))["C"].value == 0.5


def pair(i: int) -> PlantedCase:
    prompt = Prompt.of(f"question {i}")
    good, spoiled = (Response(prompt=prompt, text=f"{w} answer") for w in ("good", "bad"))
    return PlantedCase(case=Case(first=good, second=spoiled), flaw=Flaw(kind="bad"), side=1)


def target_of(helper: ScriptedHelper, fresh: range, lessons: range) -> GapTarget:
    return GapTarget(
        planted=[pair(i) for i in fresh],
        taught_on=[pair(i) for i in lessons],
        helper=helper,
        judge=Confirming(),
        generated=[0.5] * len(fresh),
        head=Bayesian(),
        reader=FakeTrunk(planted={"good": 3.0}),
    )


SILENT = ScriptedHelper(lambda r: ())
HONEST = ScriptedHelper(lambda r: (Flaw(kind="bad"),) if "bad" in r.text else ())


def test_the_discriminator_learns_from_other_prompts_and_only_from_them() -> None:
    known = discriminate(target_of(SILENT, range(40, 60), range(40)), rng=RNG(0))
    assert known.shape == (20,) and known.mean() > 0.9
    with pytest.raises(InvalidExperiment, match="not taught on"):
        discriminate(target_of(SILENT, range(3), range(40)), rng=RNG(0))


@pytest.mark.parametrize(("helper", "stance"), [(HONEST, "undecided"), (SILENT, "for")])
def test_the_audit_names_the_gap_of_a_model_that_knows_and_does_not_say(
    helper: ScriptedHelper, stance: str
) -> None:
    finding = CritiqueGap().run(target_of(helper, range(40, 80), range(40)), rng=RNG(0))
    assert finding.stance == stance and set(finding.evidence) >= {"G", "D", "C", "DC"}
