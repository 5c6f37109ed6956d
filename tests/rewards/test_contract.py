"""What every reward head must do, run on whatever the folder holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.rewards.material import Planted, planted, questions, same, swapped
from trueline.errors import DataError, InputError, SetupError
from trueline.models.reading import Readings
from trueline.records import Comparison, Outcome
from trueline.rewards import REWARDS
from trueline.rewards.protocols import Fitted, load_reward
from trueline.rng import stream
from trueline.testing import FakeTrunk

HEADS = {
    name: kind
    for name, kind in REWARDS.items()
    if not kind.__module__.rpartition(".")[2].startswith(("rules", "compose"))
}


@pytest.fixture(params=sorted(HEADS))
def head(request: pytest.FixtureRequest) -> Any:
    """Each head of the folder, with nothing else given."""
    return HEADS[request.param]()


def fit(head: Any, world: Planted, comparisons: list[Comparison] | None = None) -> Fitted:
    given = world.comparisons if comparisons is None else comparisons
    return head.fit(world.readings, given, rng=stream(0, "test"))


def test_learns_a_planted_direction(head: Any) -> None:
    world = planted(500)
    scores = fit(head, world, world.comparisons[:300]).score(world.readings)
    assert np.corrcoef(scores.mean[600:], world.gold[600:])[0, 1] > 0.9


def test_swapped_labels_reverse_the_ranking_exactly(head: Any) -> None:
    world = planted(120)
    there = fit(head, world).score(world.readings)
    back = fit(head, world, swapped(world.comparisons)).score(world.readings)
    np.testing.assert_array_equal(there.mean, -back.mean)
    np.testing.assert_array_equal(there.std, back.std)


def test_doubt_is_finite_and_shrinks_with_data(head: Any) -> None:
    world = planted(800)
    doubts = [fit(head, world, world.comparisons[:n]).score(world.readings) for n in (50, 800)]
    assert all(np.isfinite(s.std).all() and (s.std > 0).all() for s in doubts)
    few, many = (s.std / s.mean.std() for s in doubts)
    assert many.mean() < 0.6 * few.mean()


def test_saved_and_loaded_is_equal(head: Any, tmp_path: Path) -> None:
    world = planted(100, surprisals=True)
    reward = fit(head, world)
    reward.save(tmp_path / "reward")
    again = load_reward(tmp_path / "reward")
    same(again.score(world.readings), reward.score(world.readings))
    assert again.summary() == reward.summary() and again.metadata == reward.metadata
    margins = [r.margin(world.readings, [0, 1], [2, 3]) for r in (again, reward)]
    np.testing.assert_array_equal(*margins)


def test_the_order_of_rows_and_those_not_compared_are_irrelevant(head: Any) -> None:
    world, other = planted(90), planted(40, seed=5)
    shuffle = np.random.default_rng(1)
    both = Readings.concat([world.readings, other.readings])
    order = shuffle.permutation(90)
    mixed = head.fit(
        both.take(shuffle.permutation(len(both))),
        [world.comparisons[i] for i in order],
        rng=stream(0, "test"),
    )
    same(mixed.score(world.readings), fit(head, world).score(world.readings))


def test_readings_and_trunk_are_left_as_they_were(head: Any) -> None:
    trunk = FakeTrunk(planted={"good": 2.0}, surprisals=True)
    pairs = questions(30)
    readings = trunk.read(pairs)
    before, latents = trunk.fingerprint(), readings.latents.copy()
    reward = head.fit(readings, pairs, rng=stream(0, "test")).on(trunk)
    scores = reward.score(["?", "?"], ["a good one", "a bad one"])
    assert scores.mean[0] > scores.mean[1]
    assert trunk.verify_frozen() == before
    np.testing.assert_array_equal(readings.latents, latents)


def test_what_is_not_finite_is_refused_in_fitting_and_unscored_after(head: Any) -> None:
    world = planted(50)
    reward = fit(head, world)
    world.readings.latents[3, 0, 0, 0] = np.nan
    world.readings.latents[4, 1] = np.inf
    with pytest.raises(DataError, match="finite; got NaN or inf in 2 of 100"):
        fit(head, world)
    scores = reward.score(world.readings)
    unscored = [row for row, layer in ((3, 0), (4, 1)) if layer in reward.layers]
    assert np.flatnonzero(~scores.scored).tolist() == unscored
    assert (
        scores[4].outcome is Outcome.UNSCORED
        and scores[4].mean is None
        and "not finite" in scores[4].reason
    )
    with pytest.raises(DataError, match="margin"):
        reward.margin(world.readings, [4], [0])


def test_another_width_or_trunk_is_refused(head: Any, tmp_path: Path) -> None:
    world = planted(50)
    reward = fit(head, world)
    with pytest.raises(InputError, match="width 8"):
        reward.score(planted(5, width=9).readings)
    stranger = FakeTrunk(width=8)
    reward.save(tmp_path / "reward")
    elsewhere = dataclasses.replace(world.readings, trunk="another")
    for use in (
        lambda: load_reward(tmp_path / "reward", stranger),
        lambda: reward.on(stranger),
        lambda: reward.score(elsewhere),
    ):
        with pytest.raises(SetupError, match="fitted on"):
            use()


def test_nothing_to_learn_from_is_refused(head: Any) -> None:
    with pytest.raises(DataError, match="at least one comparison"):
        fit(head, planted(5), [])
    with pytest.raises(DataError, match="must have been read"):
        head.fit(planted(5, seed=1).readings, planted(5, seed=2).comparisons, rng=stream(0, "test"))


def test_margins_agree_with_scores(head: Any) -> None:
    world = planted(150, surprisals=True)
    reward = fit(head, world)
    scores = reward.score(world.readings)
    mean, std = reward.margin(world.readings, [0, 1, 2], [3, 4, 2])
    np.testing.assert_allclose(mean[:2], scores.mean[[0, 1]] - scores.mean[[3, 4]], atol=1e-12)
    # Doubts that are shared cancel: a margin is at most as doubtful as both ends in full discord.
    assert (std[:2] <= scores.std[[0, 1]] + scores.std[[3, 4]] + 1e-12).all()
    assert mean[2] == 0 and std[2] == 0
