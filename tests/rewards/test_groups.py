"""Many raters: groups that want different things."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.rewards.material import Planted, judged, planted, same
from trueline.errors import DataError, InputError
from trueline.models.reading import Readings
from trueline.records import Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.calibrated import Calibrated
from trueline.rewards.conservative import Conservative
from trueline.rewards.groups import GroupedReward, Groups
from trueline.rewards.protocols import load_reward
from trueline.rng import stream

RNG = stream(0, "test")
GROUPS = {**{f"many{i}": "many" for i in range(6)}, **{f"few{i}": "few" for i in range(2)}}


def divided(num: int = 480, *, apart: float = 1.0, seed: int = 0) -> tuple[Planted, np.ndarray]:
    """Raters of two groups, the few being a quarter; their golds [N, 2] (few, many)."""
    world = planted(num + 200, seed=seed, num_layers=2, width=8)
    rng = np.random.default_rng(seed + 100)
    latents = world.readings.latents[:, 1, 1]
    common, *own = rng.standard_normal((3, 8)) / np.sqrt(8) * 1.2
    gold = np.stack([latents @ (common + apart * u) for u in own], axis=1)
    raters = np.resize(list(GROUPS), num + 200).tolist()
    column = np.repeat([GROUPS[rater] == "many" for rater in raters], 2)
    pairs = judged(world, np.where(column, gold[:, 1], gold[:, 0]), rng)[:num]
    comparisons = [replace(c, rater=rater) for c, rater in zip(pairs, raters, strict=False)]
    return Planted(world.readings, comparisons, gold), np.arange(2 * num, 2 * num + 400)


def fit(world: Planted, **fields: object) -> GroupedReward:
    return Groups(**fields).fit(world.readings, world.comparisons, rng=RNG)


def by_group(reward: GroupedReward, readings: Readings) -> dict[str, Scores]:
    return {n: replace(reward, objective=n).score(readings) for n in reward.names}


def corr(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


@pytest.fixture(scope="module")
def parted() -> tuple[Planted, Readings, np.ndarray, GroupedReward]:
    world, rows = divided()
    return world, world.readings.take(rows), world.gold[rows], fit(world, raters=GROUPS)


def test_each_group_gets_its_own_reward_and_helps_the_other(parted) -> None:
    world, fresh, gold, reward = parted
    own = by_group(reward, fresh)
    shared = reward.inner.score(fresh).mean
    few = [c for c in world.comparisons if GROUPS[c.rater] == "few"]
    apart = Bayesian().fit(world.readings, few, rng=RNG).score(fresh).mean
    assert corr(own["few"].mean, gold[:, 0]) > corr(shared, gold[:, 0]) + 0.05
    assert corr(own["few"].mean, gold[:, 0]) > corr(apart, gold[:, 0])
    assert corr(own["many"].mean, gold[:, 1]) > 0.93
    # Few raters know less of what they want.
    assert own["few"].std.mean() > own["many"].std.mean()
    assert reward.metadata["pooling"]["rho"] > 0.2


def test_doubt_of_a_group_covers_its_gold(parted) -> None:
    _, fresh, gold, reward = parted
    for column, scores in enumerate(by_group(reward, fresh).values()):
        error = scores.mean - (gold[:, column] - gold[:, column].mean())
        assert 0.5 < np.sqrt(np.mean((error / scores.std) ** 2)) < 2.0


def test_worst_is_the_lower_and_mean_the_middle(parted) -> None:
    _, fresh, gold, reward = parted
    few, many = (s.mean for s in by_group(reward, fresh).values())
    worst = replace(reward, objective="worst")
    np.testing.assert_allclose(worst.score(fresh).mean, np.minimum(few, many), atol=1e-12)
    np.testing.assert_allclose(reward.score(fresh).mean, (few + many) / 2, atol=1e-12)
    stds = np.stack([s.std for s in by_group(reward, fresh).values()])
    np.testing.assert_allclose(worst.score(fresh).std, np.where(few < many, *stds), atol=1e-12)
    assert corr(worst.score(fresh).mean, gold.min(1)) > 0.85


def test_where_all_want_the_same_groups_change_little() -> None:
    rhos = []
    for seed in range(4):
        world, rows = divided(apart=0.0, seed=seed)
        reward, fresh = fit(world, raters=GROUPS), world.readings.take(rows)
        rhos.append(reward.metadata["pooling"]["rho"])
        assert corr(reward.score(fresh).mean, reward.inner.score(fresh).mean) > 0.97
    assert np.median(rhos) < 0.1


def test_one_group_is_the_inner_head_exactly() -> None:
    world = planted(120, raters={"ann": 1.0, "bob": 0.5})
    head = Conservative(k=2.0)
    plain = head.fit(world.readings, world.comparisons, rng=RNG).score(world.readings)
    for raters in ({}, {"ann": "us", "bob": "us"}):
        found = fit(world, head=head, raters=raters, objective="worst").score(world.readings)
        same(found, plain)


def test_margins_bounds_and_storage_under_groups(parted, tmp_path: Path) -> None:
    _, fresh, _, reward = parted
    for objective in ("mean", "worst", "few"):
        one = replace(reward, objective=objective).with_lower_bound(1.5, 0.2)
        scores = one.score(fresh)
        mean, std = one.margin(fresh, [0, 1, 2], [3, 4, 2])
        np.testing.assert_allclose(mean[:2], scores.mean[[0, 1]] - scores.mean[[3, 4]], atol=1e-9)
        assert mean[2] == std[2] == 0 and (std[:2] > 0).all()
        beyond = scores.mean - 1.5 * scores.std - scores.lower
        assert beyond.min() > -1e-12 and beyond.max() > 0
        one.save(tmp_path / objective)
        again = load_reward(tmp_path / objective)
        same(again.score(fresh), scores)
        assert again.summary() == one.summary()


def test_what_cannot_be_grouped_is_refused() -> None:
    world = planted(30)
    with pytest.raises(DataError, match="every rater must have a group; got none for ann"):
        fit(world, raters={"bob": "us"})

    both = planted(30, raters={"ann": 1, "bob": 1})
    with pytest.raises(InputError, match=r"linear reward .*got Calibrated"):
        fit(both, head=Calibrated(), raters={"ann": "a", "bob": "b"})
