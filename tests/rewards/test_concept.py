"""Concept directions: what they find, how sure they are, and that nobody uses an unproven one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.rewards.material import Planted, judged, planted
from trueline.errors import InvalidExperiment
from trueline.records import Comparison
from trueline.rewards import concept
from trueline.rewards.concept import Concept
from trueline.rewards.linear import LinearReward
from trueline.rewards.protocols import load_reward
from trueline.rng import stream
from trueline.testing import FakeTrunk


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
