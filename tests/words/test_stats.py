"""Every number is checked against an oracle, every interval against how often it covers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from trueline import stats
from trueline.errors import DataError, InputError
from trueline.records import Estimate

MISSING = Estimate(None, None, None, 0)


def brute_best_of_n(proxy: np.ndarray, gold: np.ndarray, n: int) -> float:
    picks = []
    for subset in itertools.combinations(range(len(proxy)), n):
        rows = np.array(subset)
        best = rows[proxy[rows] == proxy[rows].max()]
        picks.append(gold[best].mean())
    return float(np.mean(picks))


@given(st.integers(1, 7), st.integers(0, 10_000), st.booleans())
def test_best_of_n_is_the_average_over_all_subsets(num: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    proxy = rng.integers(0, 3, (2, num)).astype(float) if ties else rng.normal(size=(2, num))
    gold = rng.normal(size=(2, num))
    for n in range(1, num + 1):
        expected = [brute_best_of_n(p, g, n) for p, g in zip(proxy, gold, strict=True)]
        np.testing.assert_allclose(stats.best_of_n(proxy, gold, n), expected, atol=1e-12)


def test_best_of_n_at_its_ends(rng: np.random.Generator) -> None:
    proxy, gold = rng.normal(size=(3, 1_024)), rng.normal(size=(3, 1_024))
    np.testing.assert_allclose(stats.best_of_n(proxy, gold, 1), gold.mean(1))
    best = gold[np.arange(3), proxy.argmax(1)]
    np.testing.assert_allclose(stats.best_of_n(proxy, gold, 1_024), best)
    # A constant proxy picks at random; the perfect proxy's gain is that of normal maxima.
    np.testing.assert_allclose(stats.best_of_n(0 * proxy, gold, 256), gold.mean(1))
    many = rng.normal(size=(400, 512))
    assert stats.best_of_n(many, many, 16).mean() == pytest.approx(1.766, abs=0.02)


def test_best_of_n_refuses() -> None:
    one = np.ones((1, 4))
    with pytest.raises(InputError, match=r"1\.\.4.*got 5"):
        stats.best_of_n(one, one, 5)
    with pytest.raises(DataError, match="finite"):
        stats.best_of_n(one * np.nan, one, 2)


def test_mean_is_students_t() -> None:
    x = [1.0, 2.0, 4.0, 8.0]
    expected = scipy_stats.t.interval(0.95, 3, np.mean(x), scipy_stats.sem(x))
    found = stats.mean(x)
    assert (found.lower, found.upper) == (pytest.approx(expected[0]), pytest.approx(expected[1]))
    assert stats.mean([3.0]) == Estimate(3.0, None, None, 1)
    assert stats.mean([]) == stats.accuracy([]) == MISSING


@given(st.integers(1, 50), st.data())
def test_accuracy_is_wilsons(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    found = stats.accuracy([1] * right + [0] * (n - right))
    expected = scipy_stats.binomtest(right, n).proportion_ci(method="wilson")
    assert found.value == pytest.approx(right / n)
    assert found.lower == pytest.approx(expected.low, abs=1e-9)
    assert found.upper == pytest.approx(expected.high, abs=1e-9)


def covers(found: Estimate) -> bool:
    assert found.lower is not None and found.upper is not None
    return found.lower <= 0 <= found.upper


@pytest.mark.parametrize(("num_clusters", "least"), [(10, 0.90), (40, 0.92)])
def test_clustered_means_cover_where_rows_would_not(
    num_clusters: int, least: float, rng: np.random.Generator
) -> None:
    by_cluster, by_row = [], []
    for _ in range(400):
        clusters = np.repeat(np.arange(num_clusters), rng.integers(2, 12, num_clusters))
        x = rng.normal(0, 1, num_clusters)[clusters] + rng.normal(0, 1, len(clusters))
        by_cluster.append(covers(stats.mean(x, clusters=clusters, rng=rng)))
        by_row.append(covers(stats.mean(x)))
    assert np.mean(by_cluster) > least and np.mean(by_row) < 0.8
    general = stats.bootstrap(np.mean, x, clusters=clusters, rng=rng, num_resamples=4_000)
    mean = stats.mean(x, clusters=clusters, rng=rng)
    for a, b in ((general.value, mean.value), (general.lower, mean.lower)):
        assert a == pytest.approx(b, abs=0.06)


@pytest.mark.parametrize("num_clusters", [4, 10, 40])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.98])
def test_shares_in_clusters_cover_and_differences_too(
    num_clusters: int, p: float, rng: np.random.Generator
) -> None:
    shares, gaps, resampled, other_rng = [], [], [], np.random.default_rng(0)
    for _ in range(1_000):
        clusters = np.repeat(np.arange(num_clusters), rng.integers(1, 5, num_clusters))
        ours, theirs = (rng.beta(2 * q, 2 - 2 * q, num_clusters)[clusters] for q in (p, 0.5))
        luck = rng.random(len(clusters))
        other = np.where(rng.random(len(clusters)) < 0.6, luck, rng.random(len(clusters)))
        share = stats.accuracy(luck < ours, clusters=clusters)
        gap = stats.difference(luck < ours, other < theirs, clusters=clusters, bounds=(-1, 1))
        assert 0 <= share.lower < share.upper <= 1 and -1 <= gap.lower < gap.upper <= 1
        shares.append(share.lower <= p <= share.upper)
        if (num_clusters, p) == (4, 0.98):
            again = stats.mean(luck < ours, clusters=clusters, rng=other_rng)
            resampled.append(again.lower is not None and again.lower <= p <= again.upper)
        gaps.append(gap.lower <= p - 0.5 <= gap.upper)
    assert np.mean(shares) > 0.92 and np.mean(gaps) > 0.92
    # Why shares are not resampled.
    assert not resampled or np.mean(resampled) < 0.5


def test_no_interval_leaves_its_bounds_or_has_no_width(rng: np.random.Generator) -> None:
    assert stats.mean([0.1, 0.1, 0.1, 2.0], bounds=(0, np.inf)).lower == 0
    below = stats.mean([-0.3, -0.1], bounds=(0, np.inf))
    assert (below.value, below.lower) == (0, 0) and below.upper > 0.5
    beyond = stats.mean([-2.0, -2.1, -2.0, -2.2], bounds=(0, np.inf))
    assert beyond == Estimate(0.0, None, None, 4)
    for clusters in (None, list("aabb")):
        same = stats.mean([3.0] * 4, clusters=clusters, rng=rng)
        assert same == Estimate(3.0, None, None, 4)
        none = stats.difference([1, 0, 1, 1], [1, 0, 1, 1], clusters=clusters, bounds=(-1, 1))
        assert none.value == 0 and -1 < none.lower < -0.5 and 0.5 < none.upper < 1
    assert stats.bootstrap(np.max, [1.0] * 5, rng=rng).lower is None


def test_difference_is_paired(rng: np.random.Generator) -> None:
    base = rng.normal(0, 10, 100)
    found = stats.difference(base + 1 + rng.normal(0, 0.1, 100), base)
    assert found.lower is not None and found.lower > 0.9
    with pytest.raises(DataError, match="equal lengths; got 2 and 1"):
        stats.difference([1, 2], [1])


def test_bootstrap_edges(rng: np.random.Generator) -> None:
    assert stats.bootstrap(np.mean, [], rng=rng) == MISSING
    assert stats.bootstrap(np.mean, [2.0], rng=rng) == Estimate(2.0, None, None, 1)
    mostly_nan = stats.bootstrap(lambda x: np.nan if len(set(x)) < 4 else 1.0, range(4), rng=rng)
    assert mostly_nan == Estimate(1.0, None, None, 4)
    with pytest.raises(DataError, match="share their rows"):
        stats.bootstrap(lambda x, y: 0.0, [1, 2], [1], rng=rng)


@pytest.mark.parametrize("bad", [[1.0, float("nan")], [[1.0]], [float("inf")]])
def test_values_must_be_finite_numbers(bad: list[float]) -> None:
    for function in (stats.mean, stats.accuracy):
        with pytest.raises(DataError):
            function(bad)


def test_calibration_error_by_hand(rng: np.random.Generator) -> None:
    probs, labels = [0.1] * 4 + [0.8] * 4, [0, 0, 0, 1, 1, 1, 0, 0]
    # Ten bins asked for, but equal probabilities share one.
    for bins in (2, 10):
        found = stats.calibration_error(probs, labels, bins, rng=rng)
        assert found.value == pytest.approx(0.5 * 0.15 + 0.5 * 0.3)
    assert stats.calibration_error([], [], rng=rng) == MISSING


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 12))
def test_bins_cover_all_rows_in_order(probs: list[float], bins: int) -> None:
    found = stats.reliability(probs, [0.5] * len(probs), bins)
    assert 1 <= len(found) <= bins
    assert sum(b.observed.n for b in found) == len(probs)
    assert [b.predicted for b in found] == sorted(b.predicted for b in found)
    if len(set(probs)) == len(probs) >= bins:
        sizes = [b.observed.n for b in found]
        assert max(sizes) - min(sizes) <= 1


def test_calibration_error_tells_calibrated_from_overconfident(rng: np.random.Generator) -> None:
    """The interval of calibrated forecasts reaches (almost) 0; the overconfident one's does not."""
    p = rng.random(2_000)
    labels = (rng.random(2_000) < p).astype(float)
    good = stats.calibration_error(p, labels, rng=rng)
    bad = stats.calibration_error(np.where(p > 0.5, 0.98, 0.02), labels, rng=rng)
    assert good.lower is not None and bad.lower is not None and bad.upper is not None
    assert good.lower < 0.01 and 0.18 < bad.lower <= 0.23 <= bad.upper
    row = stats.reliability(p, labels)[0].as_dict()
    assert list(row) == ["predicted", "observed", "lower", "upper", "n"]


@pytest.mark.parametrize("labels", [[0.5], [1, 1.2]])
def test_probabilities_must_be_probabilities(labels: list[float]) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        stats.reliability([0.2, 0.7], labels)
