"""The batched ensemble: one pass is many, what is not linear is learned, updates are gentle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.rewards.material import Planted, planted
from trueline import stats
from trueline.errors import InputError
from trueline.records import Comparison
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.ensemble import Ensemble, EnsembleReward
from trueline.rewards.saved import load_reward
from trueline.rng import stream

RNG = stream(0, "test")


def bent(num_pairs: int, seed: int) -> Planted:
    """Half of the reward's variance is a product of two directions."""
    world = planted(num_pairs, seed=seed, num_layers=2)
    rng = np.random.default_rng(seed + 1)
    latents = world.readings.latents[:, 1, 1].astype(float)
    axes, _ = np.linalg.qr(rng.standard_normal((8, 3)))
    a, b, c = (latents @ axes).T
    gold = 2.0 * (a + b * c) / np.sqrt(2)
    pairs = []
    for i, old in enumerate(world.comparisons):
        both = sorted((old.chosen, old.rejected), key=lambda r: world.readings.rows([r.key])[0])
        if rng.random() > 1 / (1 + np.exp(gold[2 * i + 1] - gold[2 * i])):
            both.reverse()
        pairs.append(Comparison(chosen=both[0], rejected=both[1]))
    return Planted(world.readings, pairs, gold)


@pytest.fixture(scope="module")
def learned() -> tuple[Planted, EnsembleReward]:
    world = bent(900, seed=3)
    head = Ensemble(members=6)
    return world, head.fit(world.readings, world.comparisons[:600], rng=stream(0, "test"))


def test_it_learns_what_a_linear_reward_cannot(learned: tuple[Planted, EnsembleReward]) -> None:
    world, reward = learned
    linear = Bayesian().fit(world.readings, world.comparisons[:600], rng=RNG)
    first = np.arange(1200, 1800, 2)
    truth = np.sign(world.gold[first] - world.gold[first + 1])
    right = [
        (np.sign(r.margin(world.readings, first, first + 1)[0]) == truth) for r in (reward, linear)
    ]
    ahead = stats.difference(right[0].astype(float), right[1].astype(float))
    assert ahead.lower is not None and ahead.lower > 0


def test_update_learns_and_doubts_less(
    learned: tuple[Planted, EnsembleReward], tmp_path: Path
) -> None:
    world, reward = learned
    fresh = world.comparisons[600:700]
    ends = [
        world.readings.rows([getattr(c, side).key for c in fresh])
        for side in ("chosen", "rejected")
    ]
    reward.save(tmp_path / "before")
    again, back = load_reward(tmp_path / "before"), load_reward(tmp_path / "before")
    before = again.margin(world.readings, *ends)
    again.update(world.readings, fresh)
    back.update(world.readings, fresh[::-1])
    after = again.margin(world.readings, *ends)
    losses = [-np.log(again.win_probability(*margin)).mean() for margin in (before, after)]
    assert losses[1] < losses[0]
    assert (after[1] / np.abs(after[0]).mean()).mean() < (
        before[1] / np.abs(before[0]).mean()
    ).mean()
    assert again.summary()["n"] == 700
    scores = [r.score(world.readings) for r in (reward, again, back)]
    np.testing.assert_allclose(scores[1].mean, scores[2].mean, atol=1e-9)
    assert np.corrcoef(scores[0].mean, scores[1].mean)[0, 1] > 0.98
    again.save(tmp_path / "after")
    reloaded = load_reward(tmp_path / "after").score(world.readings)
    np.testing.assert_array_equal(reloaded.std, scores[1].std)
    again.update(world.readings, [])
    np.testing.assert_array_equal(again.score(world.readings).mean, scores[1].mean)


def test_a_row_scores_alone_as_among_others(learned: tuple[Planted, EnsembleReward]) -> None:
    world, reward = learned
    careful = reward.with_lower_bound(2.0, 0.5)
    whole = careful.score(world.readings)
    few = careful.score(world.readings.take([5, 3]))
    for name in ("mean", "std", "lower"):
        np.testing.assert_allclose(getattr(few, name), getattr(whole, name)[[5, 3]], atol=1e-12)
    np.testing.assert_array_less(whole.lower, whole.mean - 1.99 * whole.std)


def test_too_few_members_are_refused() -> None:
    with pytest.raises(InputError, match="at least 2 members"):
        Ensemble(members=1)
