"""Concept directions: what they find, how sure they are, and that nobody uses an unproven one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.rewards.material import Planted, planted, swapped
from trueline.errors import InputError, InvalidExperiment
from trueline.records import Comparison, Stance
from trueline.rewards.concept import (
    CONTRAST,
    Concept,
    contrast_pairs,
    use_anyway,
)
from trueline.rewards.linear import LinearReward
from trueline.rewards.saved import load_reward
from trueline.rng import stream
from trueline.testing import FakeTrunk


def fit(world: Planted, rows: list[Comparison]) -> LinearReward:
    return Concept().fit(world.readings, rows, rng=stream(0, "test"))


def test_finds_layer_pool_and_direction() -> None:
    world = planted(400, num_layers=4, layer=2, surprisals=True)
    reward = fit(world, world.comparisons[:300])
    assert reward.features.parts == ((2, "mean"),)
    assert not reward.weights[:5].any()
    scores = reward.score(world.readings)
    assert np.corrcoef(scores.mean[600:], world.gold[600:])[0, 1] > 0.93
    # Nats of log-odds, as the labels were drawn.
    slope = np.polyfit(world.gold[600:], scores.mean[600:], 1)[0]
    assert 0.6 < slope < 1.5


def test_its_doubt_is_what_fresh_data_would_change() -> None:
    """The posterior's std of a weight matches its spread over 40 worlds."""
    found, foretold = [], []
    for seed in range(40):
        rng = np.random.default_rng(0)
        base = planted(150, seed=seed, num_layers=1, layer=0, width=4)
        world = dataclasses.replace(base, gold=base.readings.latents[:, 0, 1, 0] * 2.0)
        pairs = []
        for i in range(150):
            a, b = base.comparisons[i].chosen, base.comparisons[i].rejected
            at = world.readings.rows([a.key, b.key])
            gap = world.gold[at[0]] - world.gold[at[1]]
            first = np.random.default_rng([seed, i]).random() < 1 / (1 + np.exp(-gap))
            pairs.append(Comparison(chosen=a if first else b, rejected=b if first else a))
        head = Concept(layer=0, pooling="mean", winsor=9.0)
        reward = head.fit(world.readings, pairs, rng=rng)
        scale = np.linalg.norm(reward.weights)
        found.append(reward.weights[1:] / scale)
        foretold.append(np.sqrt(reward.belief.diagonal()[1:]) / scale)
    ratio = np.std(found) / np.mean(foretold)
    assert 0.75 < ratio < 1.3


def test_contrast_prompts_alone_do_not_make_a_reward(tmp_path: Path) -> None:
    trunk = FakeTrunk(planted={"good": 3.0})
    shows, lacks = ([f"{word} {i}" for i in range(30)] for word in ("good", "bad"))
    pairs = contrast_pairs(shows, lacks)
    assert {c.rater for c in pairs} == {CONTRAST}
    readings = trunk.read(pairs)
    reward = Concept().fit(readings, pairs, rng=stream(0, "test"))
    with pytest.raises(InvalidExperiment, match="contrast prompts alone"):
        reward.on(trunk)
    reward.save(tmp_path / "kept")
    with pytest.raises(InvalidExperiment, match="contrast prompts alone"):
        load_reward(tmp_path / "kept").on(trunk)
    forced = use_anyway(reward, "a demonstration")
    scores = forced.on(trunk).score(["?", "?"], ["a good one", "a bad one"])
    assert scores.mean[0] > scores.mean[1]
    assert forced.metadata["overridden"]["because"] == "a demonstration"
    assert "contrast" in forced.metadata["overridden"]["withheld"]
    with pytest.raises(InputError, match="say why"):
        use_anyway(reward, " ")


def test_pairs_of_raters_that_hold_out_no_signal_are_withheld_too() -> None:
    used = 0
    for seed in range(30):
        world = planted(60, strength=0.0, seed=seed)
        used += "withheld" not in fit(world, world.comparisons).metadata
    assert used <= 3
    assert "withheld" not in fit(planted(60), planted(60).comparisons).metadata


def judged(world: Planted, rows: list[Comparison]) -> tuple[LinearReward, Stance, dict]:
    contrast = [dataclasses.replace(c, rater=CONTRAST) for c in world.comparisons[:100]]
    assert "withheld" in fit(world, contrast).metadata
    reward = fit(world, [*contrast, *rows])
    validated = reward.metadata["validated"]
    return reward, Stance(validated["stance"]), validated


def test_labelled_pairs_bear_it_out_or_do_not() -> None:
    world = planted(400, strength=3.0)
    fresh = world.comparisons[100:]
    reward, stance, evidence = judged(world, fresh)
    assert stance is Stance.FOR and "withheld" not in reward.metadata
    assert reward.metadata["validated"]["accuracy"]["lower"] > 0.7
    assert evidence["bag_of_words"]["value"] == pytest.approx(0.5, abs=0.1)
    assert 0.5 < evidence["random_direction"]["upper"] < 1.0
    # The sign is the training pairs': labels the other way round speak against it.
    reward, stance, _ = judged(world, swapped(fresh))
    assert stance is Stance.AGAINST and "against" in reward.metadata["withheld"]
    coin = np.random.default_rng(3).random(300) < 0.5
    tossed = [c if keep else swapped([c])[0] for c, keep in zip(fresh, coin, strict=True)]
    reward, stance, _ = judged(world, tossed)
    assert stance is Stance.UNDECIDED and "undecided" in reward.metadata["withheld"]


def test_texts_of_both_sides_are_a_leak() -> None:
    world = planted(120)
    with pytest.raises(InvalidExperiment, match="200 that do"):
        judged(world, world.comparisons[:110])


@pytest.mark.parametrize("wrong", [{"shows": ("a",)}, {"folds": 2}, {"winsor": 0.0}])
def test_a_wrong_configuration_is_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        Concept(**wrong)
