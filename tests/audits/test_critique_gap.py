"""The gaps between doing, knowing and saying: closed forms on toys, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.audits.assisted_evaluation import judge_planted
from trueline.audits.critique_gap import CritiqueGap, Gaps, GapTarget, discriminate
from trueline.data.planted_flaws import PlantedCase
from trueline.errors import InvalidExperiment
from trueline.oversight.critique import WithCritique
from trueline.records import Case, Flaw, Preference, Prompt, Response, Verdict
from trueline.rewards.bayesian import Bayesian
from trueline.testing import FakeTrunk, ScriptedHelper
from trueline.worlds.sums import Population, Raters
from trueline.worlds.sums.flaws import SumsFlaws, good_answer
from trueline.worlds.sums.reviews import true_flaws

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
    trunk, head = FakeTrunk(planted={"good": 3.0}), Bayesian(rater_temperature=False)
    lessons, fresh = [pair(i) for i in range(40)], [pair(i) for i in range(40, 60)]
    known = discriminate(fresh, taught_on=lessons, head=head, reader=trunk, rng=RNG(0))
    assert known.shape == (20,) and known.mean() > 0.9
    with pytest.raises(InvalidExperiment, match="not taught on"):
        discriminate(lessons[:3], taught_on=lessons, head=head, reader=trunk, rng=RNG(0))


def test_an_ideal_critic_leaves_the_judges_slips_and_a_silent_one_leaves_the_gap() -> None:
    prompts = [Prompt.of(f"start {i} , + 5 , * 2 , - 3 , + 1 , - 2 , + 4") for i in range(12)]
    rng, spoiler = RNG(3), SumsFlaws(kinds=("wrong_step",))
    planted = []
    for prompt in prompts * 5:
        sound = good_answer(prompt, rng)
        spoiled = spoiler.inject(sound, rng=rng)
        assert spoiled is not None
        planted.append(
            PlantedCase(case=Case(first=sound, second=spoiled.response), flaw=spoiled.flaw, side=1)
        )
    judge, ones = Raters(Population(looks=1)), np.ones(len(planted))
    unsaid = {}
    for name, helper in {
        "ideal": ScriptedHelper(true_flaws),
        "silent": ScriptedHelper(lambda response: ()),
    }.items():
        arm = judge_planted(WithCritique(), planted, helper=helper, judge=judge, rng=RNG(1))
        rows = Gaps.of(arm, generated=ones, discriminated=ones)
        unsaid[name] = (rows.discriminated - rows.critiqued).mean()
    assert unsaid["ideal"] == 0.0
    assert unsaid["silent"] == pytest.approx(0.5 * 5 / 6, abs=0.08)


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
            head=Bayesian(rater_temperature=False),
            reader=FakeTrunk(planted={"good": 3.0}),
        )
        finding = CritiqueGap().run(target, rng=RNG(0))
        assert finding.stance == stance and set(finding.evidence) >= {"G", "D", "C", "DC"}
