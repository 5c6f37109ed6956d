"""The default head: closed forms, scikit-learn, its own promises, and tables worked on in parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from tests.rewards.material import Planted, judged, planted
from trueline.errors import InputError
from trueline.records import Scores
from trueline.rewards import bayesian, features
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.features import Features, Training
from trueline.rng import stream

RNG = stream(0, "test")


def test_the_mode_is_scikit_learns() -> None:
    world = planted(200, num_layers=1, layer=0)
    reward = Bayesian(layer=0, pooling="mean", precision=3.0).fit(
        world.readings, world.comparisons, rng=RNG
    )
    d = Training.of(world.readings, world.comparisons).differences(reward.features)
    signs = np.where(np.arange(len(d)) % 2, 1.0, -1.0)
    oracle = LogisticRegression(C=1 / 3.0, fit_intercept=False, tol=1e-10, max_iter=10_000)
    oracle.fit(d * signs[:, None], signs)
    np.testing.assert_allclose(reward.weights, oracle.coef_[0], atol=1e-5)


@pytest.mark.parametrize("where", [0, 1, 2])
def test_the_evidence_finds_the_layer_and_the_pool(where: int) -> None:
    world = planted(500, layer=where)
    reward = Bayesian(num_layers=1).fit(world.readings, world.comparisons, rng=RNG)
    assert reward.layers == (where,)
    precisions = reward.summary()["precision"]
    assert precisions[f"layer {where} last"] > 20 * precisions[f"layer {where} mean"]
    assert reward.metadata["evidence"] > reward.metadata["coin_evidence"]


def test_layers_with_noise_of_their_own_are_read_together() -> None:
    """As real layers are: the same signal thrice, each with other noise, says more than once."""
    world = planted(800, strength=3.0)
    latents, rng = world.readings.latents, np.random.default_rng(1)
    latents[:] = latents[:, [1]] + 2.0 * rng.standard_normal(latents.shape)
    reward = Bayesian(num_layers=3).fit(world.readings, world.comparisons, rng=RNG)
    alone = Bayesian(num_layers=1).fit(world.readings, world.comparisons, rng=RNG)
    assert len(alone.layers) == 1 and len(reward.layers) > 1
    assert alone.metadata["evidence"] < reward.metadata["evidence"]
    right = [np.corrcoef(r.score(world.readings).mean, world.gold)[0, 1] for r in (alone, reward)]
    assert right[1] > right[0] + 0.1


@pytest.mark.parametrize("flips", [0.0, 0.25])
def test_what_is_foretold_comes_true(flips: float) -> None:
    """Held-out comparisons are won as often as `win_probability` says, flipped labels or not."""
    world = planted(3000, strength=3.0, flips=flips)
    reward = Bayesian().fit(world.readings, world.comparisons[:1000], rng=RNG)
    assert abs(reward.label_noise - flips) <= 0.1
    # "First" by row number, not by who won.
    first = np.arange(2000, 6000, 2)
    won = world.readings.rows([c.chosen.key for c in world.comparisons[1000:]]) == first
    foretold = reward.win_probability(*reward.margin(world.readings, first, first + 1))
    for low in np.arange(0.0, 1.0, 0.2):
        inside = (foretold >= low) & (foretold < low + 0.2)
        if inside.sum() > 50:
            assert abs(won[inside].mean() - foretold[inside].mean()) < 0.07


@pytest.mark.parametrize("width", [4, 120])
def test_nine_tenths_of_planted_margins_lie_in_the_90_percent_interval(width: int) -> None:
    """Well specified: weights from the prior, features inside the winsorising bounds."""
    inside, first, second = [], np.arange(200, 300, 2), np.arange(201, 300, 2)
    head = Bayesian(layer=0, pooling="mean", precision=width / 2.0, winsor=4.0)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        world = planted(150, num_layers=1, layer=0, width=width, seed=seed, strength=0.0)
        # What the head will see, so that the planted reward is linear in exactly that.
        seen = Features.learn(world.readings.take(np.arange(200)), ((0, "mean"),), winsor=4.0)
        weights = rng.standard_normal(width) / np.sqrt(head.precision)
        gold = seen.clipped(world.readings) @ weights
        reward = head.fit(world.readings, judged(world, gold, rng)[:100], rng=RNG)
        mean, std = reward.margin(world.readings, first, second)
        inside.append(np.abs(gold[first] - gold[second] - mean) <= 1.645 * std)
    assert 0.85 <= np.mean(inside) <= 0.95


@given(st.floats(0.05, 20.0), st.floats(-50.0, 50.0), st.integers(0, 5))
def test_units_of_the_latents_do_not_matter(scale: float, shift: float, seed: int) -> None:
    world = planted(40, seed=seed, num_layers=2)
    plain = Bayesian().fit(world.readings, world.comparisons, rng=RNG)
    before = plain.score(world.readings).mean
    world.readings.latents[:] = world.readings.latents * scale + shift
    moved = Bayesian().fit(world.readings, world.comparisons, rng=RNG)
    assert moved.layers == plain.layers
    after = moved.score(world.readings).mean
    np.testing.assert_allclose(after, before, atol=2e-2 * np.abs(before).max())


def test_a_constant_latent_is_ignored_whatever_it_does_later() -> None:
    world = planted(80)
    world.readings.latents[:, :, :, 0] = 3.0
    reward = Bayesian().fit(world.readings, world.comparisons, rng=RNG)
    before = reward.score(world.readings).mean
    world.readings.latents[:, :, :, 0] = 1e6
    np.testing.assert_array_equal(reward.score(world.readings).mean, before)


def test_outliers_buy_a_bounded_reward_and_are_called_novel() -> None:
    world = planted(200)
    reward = Bayesian(num_layers=1).fit(world.readings, world.comparisons, rng=RNG)
    usual = reward.score(world.readings)
    assert 0.8 < np.median(usual.novelty) < 1.1
    reach = np.abs(reward.weights) @ (reward.features.winsor + np.abs(reward.reference))
    world.readings.latents[0] *= 1e4
    odd = reward.score(world.readings)
    assert abs(odd.mean[0]) <= reach + 1e-9
    assert odd.novelty[0] > 100 * usual.novelty[0]


@pytest.mark.parametrize(
    ("name", "value"), [("layer", "best"), ("precision", float("nan")), ("label_noise", 0.5)]
)
def test_a_wrong_setting_is_refused_before_anything_runs(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name} must"):
        Bayesian(**{name: value})


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
        Bayesian(winsor=winsor).fit(world.readings, world.comparisons, rng=RNG)
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
