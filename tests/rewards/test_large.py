"""Tables too large for one look: chosen on a sample, fitted on all, worked on in parts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.rewards.material import planted
from trueline.models.reading import Readings
from trueline.records import Comparison, Scores
from trueline.rewards import bayesian, training
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.features import Features
from trueline.rewards.training import Training
from trueline.rng import stream


def test_a_search_on_a_sample_ends_near_the_search_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    world = planted(1200, num_layers=2, layer=1, raters={"ann": 2.0, "bob": 0.5})
    whole = Bayesian().fit(world.readings, world.comparisons, rng=stream(0, "test"))
    monkeypatch.setattr(bayesian, "SAMPLE", 400)
    sampled = Bayesian().fit(world.readings, world.comparisons, rng=stream(0, "test"))
    assert sampled.layer == whole.layer == 1
    assert sampled.metadata["n"] == 1200
    assert sampled.temperatures["ann"] > 1 > sampled.temperatures["bob"]
    both = sampled.score(world.readings), whole.score(world.readings)
    assert np.corrcoef(both[0].mean, both[1].mean)[0, 1] > 0.995
    assert np.median(both[0].std / both[1].std) == pytest.approx(1.0, abs=0.2)


def test_differences_in_parts_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    world = planted(300, surprisals=True)
    rows = Training.of(world.readings, world.comparisons)
    features = Features.learn(rows.readings, ((1, "mean"), (0, "last")))
    z = features.clipped(rows.readings)
    monkeypatch.setattr(training, "SLICE", 64)
    np.testing.assert_array_equal(rows.differences(features), z[rows.chosen] - z[rows.rejected])


def test_slices_and_scores_put_together_are_the_whole() -> None:
    world = planted(20, surprisals=True)
    parts = list(world.readings.slices(7))
    assert [len(p) for p in parts] == [7] * 5 + [5]
    joined = Readings.concat(parts)
    assert joined.keys == world.readings.keys
    np.testing.assert_array_equal(joined.latents, world.readings.latents)
    np.testing.assert_array_equal(joined.surprisals, world.readings.surprisals)

    world.readings.latents[9] = np.nan
    reward = Bayesian().fit(planted(50, surprisals=True).readings, _few(), rng=stream(0, "test"))
    stranger = dataclasses.replace(world.readings, trunk=None)
    whole = reward.score(stranger)
    again = Scores.concat([reward.score(part) for part in stranger.slices(7)])
    np.testing.assert_allclose(again.mean, whole.mean)
    assert dict(again.reasons) == dict(whole.reasons) and list(again.reasons) == [9]
    assert again[9].reason == whole[9].reason


def _few() -> list[Comparison]:
    return planted(50, surprisals=True).comparisons
