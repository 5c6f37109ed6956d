"""The batched ensemble: one pass is many, what is not linear is learned, updates are gentle."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rewards.material import Planted, judged, planted
from trueline import stats
from trueline.errors import InputError
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.ensemble import Ensemble, EnsembleReward
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


def test_too_few_members_are_refused() -> None:
    with pytest.raises(InputError, match="at least 2 members"):
        Ensemble(members=1)


def test_members_are_judged_by_margins_that_have_not_bent_to_the_labels() -> None:
    """On its own margins, of more features than comparisons, the linear part would weigh 8."""
    world = planted(200, width=150, num_layers=1, layer=0, strength=1.0)
    reward = Ensemble().fit(world.readings, world.comparisons, rng=RNG)
    assert 0.5 < reward.outer[:, 0].mean() < 2.5
