"""Composition: exact where one part decides, order-free, and no number for what is unscored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.errors import InputError
from trueline.protocols import Scorer
from trueline.records import Comparison, Outcome, Prompt, Response, Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.compose import Lexicographic, Minimum, WeightedSum
from trueline.rewards.rules import Regex
from trueline.testing import FakeTrunk


@dataclass(frozen=True)
class Fixed:
    """A scorer that says what it was told to."""

    scores: Scores

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        return self.scores


class Never:
    """A scorer that must not be asked."""

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        raise AssertionError


NUM_ROWS = 5
VALUES = st.lists(st.floats(-50, 50), min_size=NUM_ROWS, max_size=NUM_ROWS).map(np.array)
DOUBTS = st.lists(st.floats(0, 5), min_size=NUM_ROWS, max_size=NUM_ROWS).map(np.array)
FLAGS = st.lists(st.booleans(), min_size=NUM_ROWS, max_size=NUM_ROWS).map(np.array)


@st.composite
def scorers(draw: Any, all_scored: bool = False, interval: bool | None = None) -> Fixed:
    mean, std, far = draw(VALUES), draw(DOUBTS), draw(DOUBTS)
    scored = np.ones(NUM_ROWS, bool) if all_scored else draw(FLAGS)
    ends = {}
    if draw(st.booleans()) if interval is None else interval:
        ends = {"low": mean - 2 * std, "high": mean + 3 * std}
    mean = np.where(scored, mean, np.nan)
    reasons = {i: f"row {i}" for i in np.flatnonzero(~scored).tolist()}
    return Fixed(Scores(mean, std, mean - std, far, scored, reasons, **ends))


def ask(scorer: Scorer) -> Scores:
    return scorer.score(["?"] * NUM_ROWS, ["!"] * NUM_ROWS)


def equal(first: Scores, second: Scores) -> bool:
    assert first.columns == second.columns
    for name in first.columns:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    return dict(first.reasons) == dict(second.reasons)


PARTS = st.dictionaries(st.sampled_from("abcd"), scorers(), min_size=1)


@given(scorers(), scorers())
def test_a_part_alone_is_that_part_exactly(part: Fixed, other: Fixed) -> None:
    named = {i: f"a: {why}" for i, why in part.scores.reasons.items()}
    whole = replace(part.scores, reasons=named)
    assert equal(ask(WeightedSum(parts={"a": part}, weights={"a": 1.0})), whole)
    assert equal(ask(Minimum(parts={"a": part})), whole)
    beside = WeightedSum(parts={"a": part, "b": Never()}, weights={"a": 1.0, "b": 0.0})
    assert equal(ask(beside), whole)


@given(PARTS, st.data())
def test_the_order_of_parts_is_irrelevant(parts: dict[str, Fixed], data: st.DataObject) -> None:
    order = data.draw(st.permutations(sorted(parts)))
    weights = {name: data.draw(st.floats(0.1, 3)) for name in parts}
    again = {name: parts[name] for name in order}
    assert equal(
        ask(WeightedSum(parts=parts, weights=weights)),
        ask(WeightedSum(parts=again, weights=weights)),
    )
    assert equal(ask(Minimum(parts=parts)), ask(Minimum(parts=again)))
    renamed = {f"{len(parts) - i}{name}": part for i, (name, part) in enumerate(parts.items())}
    np.testing.assert_array_equal(ask(Minimum(parts=renamed)).mean, ask(Minimum(parts=parts)).mean)


@given(PARTS)
def test_a_row_is_scored_where_every_part_is(parts: dict[str, Fixed]) -> None:
    all_scored = np.all([part.scores.scored for part in parts.values()], axis=0)
    for whole in (
        WeightedSum(parts=parts, weights=dict.fromkeys(parts, 1.0)),
        Minimum(parts=parts),
    ):
        scores = ask(whole)
        np.testing.assert_array_equal(scores.scored, all_scored)
        for i in np.flatnonzero(~all_scored):
            wanting = [name for name, part in sorted(parts.items()) if not part.scores.scored[i]]
            assert scores[i].outcome is Outcome.UNSCORED
            assert scores[i].reason == "; ".join(f"{name}: row {i}" for name in wanting)


@given(st.dictionaries(st.sampled_from("abc"), scorers(True, True), min_size=1), st.data())
def test_weighted_sum(parts: dict[str, Fixed], data: st.DataObject) -> None:
    weights = {name: data.draw(st.floats(-3, 3).filter(bool)) for name in parts}
    scores = ask(WeightedSum(parts=parts, weights=weights))
    terms = [(weights[name], part.scores) for name, part in parts.items()]
    close = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(scores.mean, sum(w * s.mean for w, s in terms), **close)
    np.testing.assert_allclose(scores.std**2, sum(w**2 * s.std**2 for w, s in terms), **close)
    assert (scores.lower <= scores.mean).all()
    for draw in (0.0, 0.3, 1.0):  # any values inside the parts' intervals give one inside
        inside = sum(w * (s.low + draw * (s.high - s.low)) for w, s in terms)
        assert (scores.low <= inside + 1e-9).all() and (inside - 1e-9 <= scores.high).all()


@given(st.dictionaries(st.sampled_from("abc"), scorers(True), min_size=1))
def test_minimum_is_below_every_part(parts: dict[str, Fixed]) -> None:
    scores = ask(Minimum(parts=parts))
    for part in parts.values():
        assert (scores.mean <= part.scores.mean + 1e-9).all()
        assert (scores.lower <= part.scores.lower).all()
    assert (scores.std <= max(part.scores.std.max() for part in parts.values()) + 1e-6).all()


def test_minimum_of_two_normals_is_right_in_mean_and_std(rng: np.random.Generator) -> None:
    means, stds = np.array([[0.0, 0.3, -1.0, 2.0, 0.0], [0.0, 0.1, 5.0, 2.0, 1.0]]), np.ones((2, 5))
    stds[:, 1], stds[:, 3], stds[1, 4] = [2.0, 0.5], 0.0, 0.0
    zero, scored = np.zeros(5), np.ones(5, bool)
    parts = {
        str(i): Fixed(Scores(m, s, m - s, zero, scored))
        for i, (m, s) in enumerate(zip(means, stds, strict=True))
    }
    scores = ask(Minimum(parts=parts))
    drawn = (means + stds * rng.standard_normal((400_000, 2, 5))).min(1)
    np.testing.assert_allclose(scores.mean, drawn.mean(0), atol=0.01)
    np.testing.assert_allclose(scores.std, drawn.std(0), atol=0.01)
    assert scores.std[3] == 0.0 and scores.mean[3] == 2.0


@given(scorers(), st.floats(0.1, 10), st.floats(0, 2), FLAGS, FLAGS)
def test_rule_first_then_taste(
    taste: Fixed, scale: float, margin: float, kept: np.ndarray, known: np.ndarray
) -> None:
    value = np.where(known, kept, np.nan).astype(float)
    zero = np.zeros(NUM_ROWS)
    rule = Fixed(Scores(value, zero, value, zero, known, {}))
    whole = Lexicographic(rule=rule, taste=taste, scale=scale, margin=margin)
    scores, tasted = ask(whole), taste.scores.scored
    np.testing.assert_array_equal(scores.scored, known & (tasted | ~kept))
    above, below = scores.scored & kept, scores.scored & ~kept
    for top in ("mean", "lower"):
        for bottom in ("mean", "lower"):
            highest = getattr(scores, bottom)[below].max(initial=-np.inf)
            assert getattr(scores, top)[above].min(initial=np.inf) >= highest + margin - 1e-9
    for band in (above & tasted, below & tasted):
        order = np.argsort(taste.scores.mean[band])
        assert (np.diff(scores.mean[band][order]) >= 0).all()
    in_band, back = whole.taste_of(scores.mean)
    both = scores.scored & tasted
    np.testing.assert_array_equal(in_band[both], kept[both])
    np.testing.assert_allclose(back[both], taste.scores.mean[both], rtol=1e-6, atol=1e-6 * scale)
    decided = below & ~tasted
    assert (scores.mean[decided] == -0.5).all() and (scores.std[decided] == 0.5).all()
    for i in np.flatnonzero(~scores.scored):
        assert scores.reasons[i].startswith("taste: " if known[i] else "rule: ")


def test_a_rule_and_a_learned_reward() -> None:
    trunk, prompt = FakeTrunk(planted={"good": 3.0}), Prompt.of("?")
    a, b = Response(prompt=prompt, text="good"), Response(prompt=prompt, text="bad")
    reward = Bayesian().fit(
        trunk.read([a, b]), [Comparison(chosen=a, rejected=b)], rng=np.random.default_rng(0)
    )
    whole = Lexicographic(rule=Regex(must=("please",)), taste=reward.on(trunk))
    texts = ["good please", "bad please", "good", "bad"]
    mean = whole.score(["?"] * 4, texts).mean
    assert mean[:2].min() > mean[2:].max() and mean[2] > mean[3]
    assert isinstance(whole, Scorer)


@pytest.mark.parametrize(
    "make",
    [
        lambda: WeightedSum(parts={"a": Never()}, weights={}),
        lambda: WeightedSum(parts={"a": Never()}, weights={"a": 0.0}),
        lambda: WeightedSum(parts={"a": Never()}, weights={"a": float("nan")}),
        lambda: Minimum(parts={}),
        lambda: Lexicographic(rule=Never(), taste=Never(), scale=0.0),
    ],
)
def test_what_means_nothing_is_refused(make: Any) -> None:
    with pytest.raises(InputError):
        make()
