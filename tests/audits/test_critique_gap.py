"""The gaps between doing, knowing and saying: closed forms on toys, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.audits.assisted_evaluation import judge_planted
from trueline.audits.critique_gap import Gaps, closed, discriminate
from trueline.data.planted_flaws import PlantedCase
from trueline.errors import DataError, InvalidExperiment
from trueline.models.fake import FakeTrunk
from trueline.models.scripted import ScriptedHelper
from trueline.oversight.critique import WithCritique
from trueline.records import Case, Flaw, Prompt, Response
from trueline.rewards.bayesian import Bayesian
from trueline.worlds.sums import Population, Raters
from trueline.worlds.sums.flaws import SumsFlaws, good_answer, true_flaws

RNG = np.random.default_rng


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


def test_how_much_of_the_gap_closed() -> None:
    before, after = gaps(known=0.9, found=0.4), gaps(known=0.9, found=0.7)
    got = closed(before, after, rng=RNG(0))
    assert got["less"].value == pytest.approx(0.15) and got["less"].lower > 0
    assert got["left"].value == pytest.approx(0.25)
    assert got["left"].lower < 0.25 < got["left"].upper


def test_no_ratio_where_there_was_no_gap() -> None:
    got = closed(gaps(known=0.95, found=0.9), gaps(known=0.95, found=1.0), rng=RNG(0))
    assert got["before"].lower < 0 and got["left"] is None


def test_before_and_after_are_of_the_same_problems() -> None:
    with pytest.raises(DataError, match="same problems"):
        closed(gaps(known=1, found=0), gaps(known=1, found=0, n=200), rng=RNG(0))


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
        unsaid[name] = Gaps.of(arm, generated=ones, discriminated=ones).unsaid.mean()
    assert unsaid["ideal"] == 0.0
    assert unsaid["silent"] == pytest.approx(0.5 * 5 / 6, abs=0.08)
