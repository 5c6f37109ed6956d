"""Concept directions and the batched ensemble: what they find, and how sure they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.rewards.material import Planted, judged, planted
from trueline import stats
from trueline.errors import InvalidExperiment
from trueline.records import Comparison
from trueline.rewards import concept
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.concept import Concept
from trueline.rewards.ensemble import Ensemble, EnsembleReward
from trueline.rewards.linear import LinearReward
from trueline.rewards.protocols import load_reward
from trueline.rng import stream
from trueline.testing import FakeTrunk

RNG = stream(0, "test")


def bent(num_pairs: int, seed: int) -> Planted:
    """Half of the reward's variance is a product of two directions."""
    world = planted(num_pairs, seed=seed, num_layers=2)
    rng = np.random.default_rng(seed + 1)
    latents = world.readings.latents[:, 1, 1].astype(float)
    axes, _ = np.linalg.qr(rng.standard_normal((8, 3)))
    a, b, c = (latents @ axes).T
    gold = 2.0 * (a + b * c) / np.sqrt(2)
    return Planted(world.readings, judged(world, gold, rng), gold)


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


def test_a_row_scores_alone_as_among_others(learned: tuple[Planted, EnsembleReward]) -> None:
    world, reward = learned
    careful = reward.with_lower_bound(2.0, 0.5)
    whole = careful.score(world.readings)
    few = careful.score(world.readings.take([5, 3]))
    for name in ("mean", "std", "lower"):
        np.testing.assert_allclose(getattr(few, name), getattr(whole, name)[[5, 3]], atol=1e-12)
    np.testing.assert_array_less(whole.lower, whole.mean - 1.99 * whole.std)


def test_members_are_judged_by_margins_that_have_not_bent_to_the_labels() -> None:
    """On its own margins, of more features than comparisons, the linear part would weigh 8."""
    world = planted(200, width=150, num_layers=1, layer=0, strength=1.0)
    reward = Ensemble().fit(world.readings, world.comparisons, rng=RNG)
    assert 0.5 < reward.outer[:, 0].mean() < 2.5


def fit(world: Planted, rows: list[Comparison], **fields: object) -> LinearReward:
    return Concept(**fields).fit(world.readings, rows, rng=stream(0, "test"))


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


def test_its_uncertainty_is_what_fresh_data_would_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """The posterior's std of a weight matches its spread over 40 worlds."""
    monkeypatch.setattr(concept, "WINSOR", 9.0)
    weights, stds = [], []
    for seed in range(40):
        world = planted(150, seed=seed, num_layers=1, layer=0, width=4)
        values = world.readings.latents[:, 0, 1, 0] * 2.0
        pairs = judged(world, values, np.random.default_rng(seed + 100))
        reward = fit(world, pairs, layer=0, pooling="mean")
        scale = np.linalg.norm(reward.weights)
        weights.append(reward.weights[1:] / scale)
        stds.append(np.sqrt(reward.belief.var(np.eye(4))[1:]) / scale)
    assert 0.75 < np.std(weights) / np.mean(stds) < 1.3


def test_pairs_that_hold_out_no_signal_are_withheld(tmp_path: Path) -> None:
    withheld = []
    for seed in range(30):
        world = planted(60, strength=0.0, seed=seed)
        reward = fit(world, world.comparisons)
        withheld += [reward] * ("withheld" in reward.metadata)
    assert len(withheld) >= 27
    withheld[0].save(tmp_path / "kept")
    for reward in (withheld[0], load_reward(tmp_path / "kept")):
        reward.metadata["trunk_fingerprint"] = None
        with pytest.raises(InvalidExperiment, match="held-out accuracy"):
            reward.on(FakeTrunk())
    assert "withheld" not in fit(planted(60), planted(60).comparisons).metadata
