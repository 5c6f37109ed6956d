"""Tables too large for one look: chosen on a sample, fitted on all, worked on in parts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rewards.material import Planted, judged, planted
from trueline.records import Scores
from trueline.rewards import bayesian, features
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.features import Features, Training
from trueline.rng import stream


def levelled_off(num_pairs: int, *, heavy: bool) -> Planted:
    """A planted world whose gold is linear in its features clipped at 1, or in the features."""
    rng = np.random.default_rng(3)
    world = planted(num_pairs, num_layers=1, layer=0)
    latents = world.readings.latents
    latents[...] = rng.standard_t(3, size=latents.shape) if heavy else latents
    x = latents[:, 0, 1]
    z = np.clip(x / x.std(0), -1, 1) if heavy else x
    gold = 2.0 * z @ np.linspace(-1, 1, z.shape[1])
    return Planted(world.readings, judged(world, gold, rng), gold)


def test_the_evidence_finds_where_a_reward_levels_off() -> None:
    world = levelled_off(1500, heavy=True)
    found, wide = (
        Bayesian(winsor=winsor).fit(world.readings, world.comparisons, rng=stream(0, "test"))
        for winsor in ("evidence", 6.0)
    )
    assert found.features.winsor <= 1.5
    extremes = np.abs(world.readings.latents[:, 0, 1]).max(1) > 4
    right = [
        np.corrcoef(r.score(world.readings).mean[extremes], world.gold[extremes])[0, 1]
        for r in (found, wide)
    ]
    assert right[0] > right[1] + 0.05


def test_a_linear_reward_is_not_clipped_where_it_matters() -> None:
    world = levelled_off(800, heavy=False)
    reward = Bayesian().fit(world.readings, world.comparisons, rng=stream(0, "test"))
    assert reward.features.winsor >= 2.5


def test_a_search_on_a_sample_ends_near_the_search_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    world = planted(1200, num_layers=2, layer=1)
    whole = Bayesian().fit(world.readings, world.comparisons, rng=stream(0, "test"))
    monkeypatch.setattr(bayesian, "SAMPLE", 400)
    sampled = Bayesian().fit(world.readings, world.comparisons, rng=stream(0, "test"))
    assert sampled.layers == whole.layers == (1,)
    assert sampled.metadata["n"] == 1200
    both = sampled.score(world.readings), whole.score(world.readings)
    assert np.corrcoef(both[0].mean, both[1].mean)[0, 1] > 0.995
    assert np.median(both[0].std / both[1].std) == pytest.approx(1.0, abs=0.2)


def test_differences_in_parts_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    world = planted(300, surprisals=True)
    rows = Training.of(world.readings, world.comparisons)
    columns = Features.learn(rows.readings, ((1, "mean"), (0, "last")))
    z = columns.clipped(rows.readings)
    monkeypatch.setattr(features, "SLICE", 64)
    np.testing.assert_array_equal(rows.differences(columns), np.subtract(*z[rows.ends]))


def test_scores_of_parts_put_together_are_the_whole() -> None:
    world, other = planted(20, surprisals=True), planted(50, surprisals=True)
    world.readings.latents[9] = np.nan
    reward = Bayesian().fit(other.readings, other.comparisons, rng=stream(0, "test"))
    whole = reward.score(world.readings)
    again = Scores.concat([reward.score(part) for part in world.readings.slices(7)])
    np.testing.assert_allclose(again.mean, whole.mean)
    assert dict(again.reasons) == dict(whole.reasons) and list(again.reasons) == [9]
    assert again[9].reason == whole[9].reason
