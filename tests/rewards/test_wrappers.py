"""Heads that wrap another: Conservative only ever subtracts, Calibrated keeps its promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rewards.material import Planted, planted, questions, same
from trueline.data.comparisons import Comparisons
from trueline.errors import DataError, InputError
from trueline.models.reading import Readings
from trueline.records import Outcome
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.calibrated import Calibrated, CalibratedReward
from trueline.rewards.conservative import Conservative
from trueline.rewards.protocols import load_reward
from trueline.rng import stream
from trueline.stats.conformal import coverage
from trueline.testing import FakeTrunk

PLAIN = Bayesian(layer=1, winsor=3.0)


def fit(world: Planted, num: int | None = None, **how: object) -> CalibratedReward:
    head = Calibrated(head=PLAIN, **how)  # type: ignore[arg-type]
    return head.fit(world.readings, world.comparisons[:num], rng=stream(0, "test"))


def moved(readings: Readings, size: float) -> Readings:
    """The same rows, shifted along one direction that training never showed."""
    latents = readings.latents.copy()
    latents[..., 0] += size
    return replace(readings, latents=latents)


@pytest.mark.parametrize("alpha", [0.1, 0.2])
def test_the_interval_covers_held_out_verdicts_as_promised(alpha: float) -> None:
    world = planted(1_600, strength=1.0, seed=4)
    rows = Comparisons(tuple(world.comparisons[400:]))
    ends = (world.readings.rows(keys) for keys in (rows.chosen_keys, rows.rejected_keys))
    intervals = fit(world, 400, alpha=alpha).margin_interval(world.readings, *ends)
    found = coverage(*intervals, clusters=rows.groups)
    assert found.covered.value == pytest.approx(1 - alpha, abs=0.04)
    assert 0.1 < (found.decided.value or 0) < 0.95
    assert (found.right.value or 0) > 0.75


def test_with_too_few_prompts_the_interval_is_infinite_and_with_one_refused() -> None:
    world = planted(8)
    reward = fit(world)
    score = reward.score(world.readings)[0]
    assert score.rater_interval == (-np.inf, np.inf)
    pairs = questions(1)
    with pytest.raises(DataError, match="two prompts"):
        Calibrated().fit(FakeTrunk().read(pairs), pairs, rng=stream(0, "x"))


def test_the_mean_is_the_wrapped_heads_and_the_doubt_is_never_smaller() -> None:
    world = planted(150)
    reward, plain = (
        head.fit(world.readings, world.comparisons, rng=stream(0, "test"))
        for head in (Calibrated(), Bayesian())
    )
    ours, theirs = reward.score(world.readings), plain.score(world.readings)
    np.testing.assert_array_equal(ours.mean, theirs.mean)
    assert (ours.std >= theirs.std).all() and (ours.lower < ours.mean).all()
    assert (ours.low < ours.mean).all() and (ours.mean < ours.high).all()


def test_doubt_grows_with_novelty_without_bound() -> None:
    world = planted(200)
    reward = replace(fit(world), novelty_limit=np.inf)
    far = [reward.score(moved(world.readings, size)) for size in (0.0, 10.0, 20.0, 40.0)]
    widths = [np.median(scores.column("high") - scores.column("low")) for scores in far]
    assert widths[0] < widths[1] < widths[2] < widths[3]
    assert widths[3] / widths[2] > 1.6


def test_what_is_too_far_is_unscored_with_the_reason_everywhere(tmp_path: Path) -> None:
    world = planted(200)
    reward = fit(world)
    far = moved(world.readings.take([0, 1]), 1e3)
    score = reward.score(far)[0]
    assert score.outcome is Outcome.UNSCORED and score.mean is None
    assert score.reason.startswith("too unlike what the reward was fitted on: novelty")
    assert reward.score(world.readings).scored.all()
    # A margin is still to be had, and no pair is decided by it.
    low, high = reward.margin_interval(far, [0], [1])
    assert low[0] < 0 < high[0]
    reward.save(tmp_path / "reward")
    again = load_reward(tmp_path / "reward")
    head = Conservative(head=Calibrated(head=PLAIN))
    bounded = head.fit(world.readings, world.comparisons, rng=stream(0, "test"))
    for other in (again, reward.with_lower_bound(2.0), bounded):
        assert not other.score(far).scored.any()


@pytest.mark.parametrize(("k", "distance"), [(0.0, 0.0), (1.0, 0.0), (0.5, 2.0)])
def test_no_bound_is_weaker_for_being_calibrated(k: float, distance: float) -> None:
    """Not even where distance is set to 0: what is far must not win by being calibrated."""
    world = planted(200)
    head = Conservative(head=PLAIN, k=k, distance=max(distance, 1.0))
    reward = replace(fit(world), novelty_limit=np.inf)
    plain = head.fit(world.readings, world.comparisons, rng=stream(0))
    around = Calibrated(head=head).fit(world.readings, world.comparisons, rng=stream(0, "test"))
    for size in (0.0, 10.0):
        readings = moved(world.readings, size)
        theirs, ours = (
            r.score(readings) for r in (plain, reward.with_lower_bound(k, k * distance))
        )
        assert (ours.lower <= theirs.lower + 1e-9).all()
        assert (replace(around, novelty_limit=np.inf).score(readings).lower <= theirs.lower).all()


def test_what_only_surprisals_give_away_among_many_latents_is_far() -> None:
    """An empty answer: no tokens, latents like any other's."""
    world = planted(120, width=60, surprisals=True)
    reward, readings = fit(world), world.readings
    assert readings.surprisals is not None
    empty = replace(readings, surprisals=np.tile([12.0, 12.0, 12.0, 0.0, 0.0], (len(readings), 1)))
    odd, drowned = (r.score(empty) for r in (reward, replace(reward, columns=None)))
    assert (odd.novelty > drowned.novelty + 1.0).all() and (odd.std > drowned.std).all()
    assert (odd.lower < drowned.lower - reward.spread).all()


def test_the_bound_charges_twice_for_what_is_far_and_nothing_for_the_usual() -> None:
    world = planted(200, surprisals=True)
    reward = replace(fit(world), novelty_limit=np.inf)
    for size in (0.0, 20.0):
        readings = moved(world.readings, size)
        plain, scores = reward.inner.score(readings), reward.score(readings)
        charged = scores.mean - reward.posterior * plain.std - scores.lower
        near = (plain.novelty <= 1.0) & (scores.novelty <= plain.novelty)
        assert np.allclose(charged[near], 0.0) and near.any() == (size == 0.0)
        beyond = 2.0 * reward.spread * (plain.novelty - reward.most[0])
        assert (charged >= beyond - 1e-9).all() and (size == 0.0 or (beyond > 1.0).all())


WORLD = planted(80)
FITTED = Bayesian().fit(WORLD.readings, WORLD.comparisons, rng=stream(0))


def test_no_caution_is_the_plain_head_exactly() -> None:
    none = Conservative(head=Bayesian(), k=0.0).fit(
        WORLD.readings, WORLD.comparisons, rng=stream(0)
    )
    ours = none.score(WORLD.readings)
    same(ours, FITTED.score(WORLD.readings))
    np.testing.assert_array_equal(ours.lower, ours.mean)


@given(st.floats(0.0, 20.0), st.floats(0.0, 20.0))
def test_the_bound_is_never_above_the_mean_and_falls_with_caution(
    k: float, distance: float
) -> None:
    scores = FITTED.with_lower_bound(k, distance).score(WORLD.readings)
    plain = FITTED.score(WORLD.readings)
    np.testing.assert_array_equal(scores.mean, plain.mean)
    assert (scores.lower <= scores.mean).all()
    more = FITTED.with_lower_bound(k + 1.0, distance + 1.0).score(WORLD.readings)
    assert (more.lower < scores.lower).all()


@pytest.mark.parametrize(("name", "wrong"), [("k", -1e-9), ("distance", float("nan"))])
def test_a_bound_that_adds_is_refused(name: str, wrong: float) -> None:
    with pytest.raises(InputError, match="at least 0"):
        Conservative(**{name: wrong})


@pytest.mark.parametrize(("k", "distance"), [(2.0, 0.5), (0.5, 0.0)])
def test_distance_is_doubt_and_so_scaled_by_k(k: float, distance: float) -> None:
    head = Conservative(k=k, distance=distance)
    ours = head.fit(WORLD.readings, WORLD.comparisons, rng=stream(0)).score(WORLD.readings)
    far = FITTED.spread * np.maximum(ours.novelty - 1.0, 0.0)
    np.testing.assert_allclose(ours.lower, ours.mean - k * (ours.std + distance * far))
