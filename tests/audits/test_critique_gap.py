"""The gaps between doing, knowing and saying: closed forms on toys, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.audits.critique_gap import CritiqueGap, Gaps, GapTarget, discriminate
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


def gaps(*, known: float, found: float, accused: float = 0.0, n: int = 400) -> Gaps:
    """Shares laid out so that the i-th problem is the same in every call."""

    def share(value: float) -> np.ndarray:
        return (np.arange(n) < value * n).astype(float)

    return Gaps(
        generated=share(0.25),
        discriminated=share(known),
        found=share(found),
        accused=share(accused),
        prompts=tuple(map(str, range(n))),
    )


def test_levels_and_gaps_are_what_they_are_said_to_be() -> None:
    got = gaps(known=0.9, found=0.5, accused=0.1).estimates(rng=RNG(0))
    want = {"G": 0.25, "D": 0.9, "C": 0.7, "GD": 0.65, "DC": 0.2, "GC": 0.45}
    for name, value in want.items():
        assert got[name].value == pytest.approx(value), name
        assert got[name].lower < value < got[name].upper


def test_a_coin_finds_half_and_naming_everything_earns_nothing() -> None:
    silent, shouting = gaps(known=1, found=0), gaps(known=1, found=1, accused=1)
    assert silent.critiqued.mean() == shouting.critiqued.mean() == 0.5


def pair(i: int, bad: str = "bad") -> PlantedCase:
    prompt = Prompt.of(f"question {i}")
    good, spoiled = (Response(prompt=prompt, text=f"{w} answer") for w in ("good", bad))
    return PlantedCase(case=Case(first=good, second=spoiled), flaw=Flaw(kind="bad"), side=1)


def test_the_discriminator_learns_from_other_prompts_and_only_from_them() -> None:
    trunk, head = FakeTrunk(planted={"good": 3.0}), Bayesian()
    lessons, fresh = [pair(i) for i in range(40)], [pair(i) for i in range(40, 60)]
    known = discriminate(fresh, taught_on=lessons, head=head, reader=trunk, rng=RNG(0))
    assert known.shape == (20,) and known.mean() > 0.9
    with pytest.raises(InvalidExperiment, match="not taught on"):
        discriminate(lessons[:3], taught_on=lessons, head=head, reader=trunk, rng=RNG(0))


def test_the_audit_names_the_gap_of_a_model_that_knows_and_does_not_say() -> None:
    for helper, stance in (
        (ScriptedHelper(lambda r: (Flaw(kind="bad"),) if "bad" in r.text else ()), "undecided"),
        (ScriptedHelper(lambda r: ()), "for"),
    ):
        target = GapTarget(
            planted=[pair(i) for i in range(40, 80)],
            taught_on=[pair(i) for i in range(40)],
            helper=helper,
            judge=Confirming(),
            generated=[0.5] * 40,
            head=Bayesian(),
            reader=FakeTrunk(planted={"good": 3.0}),
        )
        finding = CritiqueGap().run(target, rng=RNG(0))
        assert finding.stance == stance and set(finding.evidence) >= {"G", "D", "C", "DC"}
