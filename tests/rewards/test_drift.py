"""Drift over time, held-out raters, and what groups disagree about."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.rewards.material import planted
from trueline.data.comparisons import Comparisons
from trueline.errors import DataError, InputError
from trueline.models.reading import Readings
from trueline.records import Comparison
from trueline.rewards.aggregation import Aggregation
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conflict import conflicts
from trueline.rewards.drift import drift, forget, shift_p_value
from trueline.rewards.heldout import held_out_raters, two_way_mean
from trueline.rng import stream

HEAD = Bayesian(layer=0, label_noise=0.0, winsor=3.0)
RATERS = [f"r{i}" for i in range(8)]


def history(
    seed: int, num: int = 400, *, turn: float = 0.0, only: str | None = None
) -> tuple[Readings, list[Comparison]]:
    """Four rounds; after the second, the raters (or one of them) want something else by `turn`."""
    world = planted(num, seed=seed, num_layers=1, layer=0, width=8)
    rng = np.random.default_rng(seed + 999)
    latents, (a, b) = (
        world.readings.latents[:, 0, 1],
        np.linalg.qr(rng.standard_normal((8, 2)))[0].T,
    )
    out = []
    for i, old in enumerate(world.comparisons):
        now, rater = 4 * i // num, RATERS[int(rng.integers(8))]
        turned = turn * (now >= 2 and only in (None, rater))
        margin = 1.5 * (latents[2 * i] - latents[2 * i + 1]) @ (a + turned * b)
        pair = sorted((old.chosen, old.rejected), key=lambda r: world.readings.rows([r.key])[0])
        if rng.random() > 1 / (1 + np.exp(-margin)):
            pair.reverse()
        out.append(Comparison(chosen=pair[0], rejected=pair[1], rater=rater, round=now))
    return world.readings, out


def test_a_change_is_found_and_dated_and_forgotten() -> None:
    readings, comparisons = history(0, turn=2.0)
    reward = HEAD.fit(readings, comparisons, rng=stream(0, "test"))
    found = drift(reward, readings, comparisons, rng=stream(0, "drift"))
    assert found.p is not None and found.p <= 0.005 and found.since in (1, 2, 3)
    kept = forget(HEAD, readings, comparisons, rng=stream(0, "forget"))
    assert kept.share < 1.0 and kept.loss[kept.share].value < kept.loss[1.0].value
    assert kept.late_over_early.lower > 0
    assert kept.reward.metadata["n"] == round(kept.share * 400)


def test_a_single_rater_who_changes_is_named() -> None:
    readings, comparisons = history(1, num=1600, turn=-4.0, only="r3")
    reward = HEAD.fit(readings, comparisons, rng=stream(0, "test"))
    found = drift(reward, readings, comparisons, rng=stream(0, "drift"))
    assert [name for name, p in found.by_rater.items() if p is not None and p < 0.05] == ["r3"]


def test_steady_raters_raise_alarms_at_the_level() -> None:
    alarms, rng = 0, np.random.default_rng(0)
    for _ in range(300):
        scores = rng.standard_normal((60, 3)) * rng.gamma(1.0, size=(60, 1))
        who = rng.integers(0, 3, 60)
        p, _ = shift_p_value(scores, np.arange(60), who, rng=rng, num_permutations=19)
        alarms += p <= 0.05
    assert 5 <= alarms <= 27  # 15 expected; a binomial leaves 4 .. 28 with 0.1 % at each end


def test_who_rates_may_change_without_an_alarm() -> None:
    """Raters who differ from one another and come one after another have not drifted."""
    rng = np.random.default_rng(0)
    who = np.repeat([0, 1], 100)
    scores = rng.standard_normal((200, 3)) + 2.0 * who[:, None]
    assert shift_p_value(scores, np.arange(200), who, rng=rng)[0] > 0.05
    assert shift_p_value(scores, np.arange(200), np.zeros(200), rng=rng)[0] < 0.01


def test_without_time_nothing_is_claimed() -> None:
    rng = np.random.default_rng(0)
    assert shift_p_value(np.ones((5, 2)), np.zeros(5), np.zeros(5), rng=rng) == (None, None)
    readings, comparisons = history(0, num=40)
    reward = HEAD.fit(readings, comparisons, rng=rng)
    assert set(drift(reward, readings, comparisons, rng=rng).by_rater.values()) == {None}
    with pytest.raises(DataError, match="a past and a present"):
        forget(HEAD, readings, comparisons[:1], rng=rng)


def test_steady_raters_keep_the_whole_past_or_lose_nothing() -> None:
    readings, comparisons = history(2)
    kept = forget(HEAD, readings, comparisons, rng=stream(0, "forget"))
    assert kept.late_over_early.lower < 0 < kept.late_over_early.upper


def several(*, own: float, num: int = 600) -> tuple[Readings, Comparisons]:
    """Eight raters of tastes that lie `own` apart from the shared one."""
    readings, comparisons = history(3, num=num)
    rng = np.random.default_rng(5)
    shared, tastes = rng.standard_normal(8), rng.standard_normal((8, 8)) * own
    latents, out = readings.latents[:, 0, 1], []
    for i, c in enumerate(comparisons):
        pair = sorted((c.chosen, c.rejected), key=lambda r: readings.rows([r.key])[0])
        margin = (latents[2 * i] - latents[2 * i + 1]) @ (shared + tastes[RATERS.index(c.rater)])
        out.append(
            dataclasses.replace(c, chosen=pair[int(margin < 0)], rejected=pair[int(margin >= 0)])
        )
    return readings, Comparisons(tuple(out))


def test_held_out_raters_are_harder_only_where_raters_differ() -> None:
    readings, alike = several(own=0.0)
    found = held_out_raters(HEAD, readings, alike, prompt_folds=2, rng=stream(0, "test"))
    assert found.known.value > 0.9 and abs(found.gap.value) < 0.03
    readings, apart = several(own=1.5)
    found = held_out_raters(HEAD, readings, apart, prompt_folds=2, rng=stream(0, "test"))
    assert found.unknown.value < found.known.value < 0.9
    assert found.gap.n == 600 and found.gap.lower < found.gap.value < found.gap.upper
    assert found.gap.value == pytest.approx(found.known.value - found.unknown.value)
    assert np.isfinite(found.correct_known).all() and np.isfinite(found.correct_unknown).all()


def test_a_fit_sees_neither_the_rater_nor_the_prompt_it_is_tested_on() -> None:
    readings, comparisons = several(own=1.0, num=60)
    ties = tuple(comparisons[:6])
    seen: list[tuple[set[str], set[str], int]] = []

    class Spy:
        def fit(self, readings, given, *, rng):
            keys = {c.prompt.key for c in (*given, *given.ties)}
            seen.append(({c.rater for c in (*given, *given.ties)}, keys, len(given)))
            return HEAD.fit(readings, given, rng=rng)

    whole = Comparisons(comparisons.rows[6:], ties=ties)
    held_out_raters(Spy(), readings, whole, rater_folds=2, prompt_folds=2, rng=stream(0, "test"))
    assert len(seen) == 8
    for (_, known_keys, n), (raters, keys, m) in zip(seen[::2], seen[1::2], strict=True):
        assert n == m and len(raters) <= 4
        tested = [c for c in whole if c.rater not in raters and c.prompt.key not in keys]
        assert tested and not keys & {c.prompt.key for c in tested}
        assert len(known_keys) < 60


def test_two_way_intervals_are_wider_where_raters_differ() -> None:
    rng = np.random.default_rng(0)
    raters, prompts = np.repeat(np.arange(12), 20).tolist(), np.tile(np.arange(20), 12).tolist()
    alike = rng.normal(size=240)
    apart = alike + np.repeat(rng.normal(size=12), 20)
    names = [str(r) for r in raters], [str(p) for p in prompts]
    narrow, wide = (two_way_mean(x, *names, rng=rng) for x in (alike, apart))
    assert wide.upper - wide.lower > 2 * (narrow.upper - narrow.lower)
    assert two_way_mean(np.zeros(0), [], [], rng=rng).value is None
    assert two_way_mean(alike, ["one"] * 240, names[1], rng=rng).lower is None


def test_conflict_is_shown_where_there_is_one() -> None:
    groups = {name: "low" if i < 4 else "high" for i, name in enumerate(RATERS)}
    readings, comparisons = history(4, num=500)
    latents, out = readings.latents[:, 0, 1], []
    for i, c in enumerate(comparisons):
        pair = sorted((c.chosen, c.rejected), key=lambda r: readings.rows([r.key])[0])
        wants = np.eye(8)[0] * (2.0 if groups[c.rater] == "high" else -2.0) + np.eye(8)[1]
        first = int((latents[2 * i] - latents[2 * i + 1]) @ wants > 0)
        out.append(dataclasses.replace(c, chosen=pair[1 - first], rejected=pair[first]))
    reward = Aggregation(head=HEAD, groups=groups).fit(readings, out, rng=stream(0, "test"))
    (found,) = conflicts(reward, readings, out, rng=stream(0, "test"))
    assert found.groups == ("high", "low")
    assert found.share.lower > 0.3 and found.correlation.upper < 0
    assert len(found.largest) == 5
    assert all(d.margins[0] * d.margins[1] < 0 for d in found.largest)
    swapped = [dataclasses.replace(c, chosen=c.rejected, rejected=c.chosen) for c in out]
    assert conflicts(reward, readings, swapped, rng=stream(0, "test"))[0].share == found.share
    agreed = Aggregation(head=HEAD).fit(readings, out, rng=stream(0, "test"))
    with pytest.raises(InputError, match="at least two groups"):
        conflicts(agreed, readings, out, rng=stream(0, "test"))
