"""Composition: exact where one part decides, order-free, and no number for what is unscored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rewards.material import same
from trueline.data import Comparisons
from trueline.data.comparisons import make_folds
from trueline.errors import DataError, InputError
from trueline.models.reading import Readings
from trueline.records import Comparison, Outcome, Prompt, Response, Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.compose import Composed, Lexicographic, Minimum, SetPoint, WeightedSum
from trueline.rewards.conservative import Conservative
from trueline.rewards.evaluate import cross_validate
from trueline.rewards.protocols import Fitted, load_reward
from trueline.rewards.rules_exact import Exact
from trueline.rewards.rules_text import MaxWords, Regex
from trueline.testing import FakeTrunk


@dataclass
class Fixed:
    """A fitted reward that says what it was told to (None: it must not be asked)."""

    scores: Scores | None

    def score(self, readings: Readings) -> Scores:
        assert self.scores is not None
        return self.scores


def weighted(parts: Mapping[str, Any], weights: Mapping[str, float]) -> Scores:
    return ask("weighted_sum", parts, weights=weights)


def least(parts: Mapping[str, Any]) -> Scores:
    return ask("minimum", parts)


def ask(how: str, parts: Any, **settings: Any) -> Scores:
    return Composed(how=how, parts=parts, settings=settings).score(None)  # type: ignore[arg-type]


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


PARTS = st.dictionaries(st.sampled_from("abcd"), scorers(), min_size=1)


@given(scorers())
def test_a_part_alone_is_that_part_exactly(part: Any) -> None:
    named = {i: f"a: {why}" for i, why in part.scores.reasons.items()}
    whole = replace(part.scores, reasons=named)
    same(weighted({"a": part}, {"a": 1.0}), whole)
    same(least({"a": part}), whole)
    same(weighted({"a": part, "b": Fixed(None)}, {"a": 1.0, "b": 0.0}), whole)


@given(PARTS, st.data())
def test_a_row_is_scored_where_every_part_is_in_any_order(parts: Any, data: Any) -> None:
    all_scored = np.all([part.scores.scored for part in parts.values()], axis=0)
    weights = {name: data.draw(st.floats(0.1, 3)) for name in parts}
    again = {name: parts[name] for name in data.draw(st.permutations(sorted(parts)))}
    same(weighted(parts, weights), weighted(again, weights))
    same(least(parts), least(again))
    for scores in (weighted(parts, weights), least(parts)):
        np.testing.assert_array_equal(scores.scored, all_scored)
        for i in np.flatnonzero(~all_scored):
            wanting = [name for name, part in sorted(parts.items()) if not part.scores.scored[i]]
            assert scores[i].outcome is Outcome.UNSCORED
            assert scores[i].reason == "; ".join(f"{name}: row {i}" for name in wanting)


@given(st.dictionaries(st.sampled_from("abc"), scorers(True, True), min_size=1), st.data())
def test_weighted_sum(parts: Any, data: Any) -> None:
    weights = {name: data.draw(st.floats(-3, 3).filter(bool)) for name in parts}
    scores = weighted(parts, weights)
    terms = [(weights[name], part.scores) for name, part in parts.items()]
    close = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(scores.mean, sum(w * s.mean for w, s in terms), **close)
    np.testing.assert_allclose(scores.std**2, sum(w**2 * s.std**2 for w, s in terms), **close)
    assert (scores.lower <= scores.mean).all()
    for draw in (0.0, 0.3, 1.0):  # any values inside the parts' intervals give one inside
        inside = sum(w * (s.low + draw * (s.high - s.low)) for w, s in terms)
        assert (scores.low <= inside + 1e-9).all() and (inside - 1e-9 <= scores.high).all()


def test_minimum_of_two_normals_is_right_in_mean_and_std(rng: np.random.Generator) -> None:
    means, stds = np.array([[0.0, 0.3, -1.0, 2.0, 0.0], [0.0, 0.1, 5.0, 2.0, 1.0]]), np.ones((2, 5))
    stds[:, 1], stds[:, 3], stds[1, 4] = [2.0, 0.5], 0.0, 0.0
    zero, scored = np.zeros(5), np.ones(5, bool)
    parts = {
        str(i): Fixed(Scores(m, s, m - s, zero, scored))
        for i, (m, s) in enumerate(zip(means, stds, strict=True))
    }
    scores = least(parts)
    drawn = (means + stds * rng.standard_normal((400_000, 2, 5))).min(1)
    np.testing.assert_allclose(scores.mean, drawn.mean(0), atol=0.01)
    np.testing.assert_allclose(scores.std, drawn.std(0), atol=0.01)
    assert scores.std[3] == 0.0 and scores.mean[3] == 2.0
    assert (scores.lower <= (means - stds).min(0)).all()


@given(scorers(), FLAGS, FLAGS)
def test_rule_first_then_taste(taste: Any, kept: np.ndarray, known: np.ndarray) -> None:
    value = np.where(known, kept, np.nan).astype(float)
    zero = np.zeros(NUM_ROWS)
    rule = Fixed(Scores(value, zero, value, zero, known, {}))
    scores = ask("lexicographic", {"rule": rule, "taste": taste}, keeps_at=0.5)
    tasted = taste.scores.scored
    np.testing.assert_array_equal(scores.scored, known & (tasted | ~kept))
    above, below = scores.scored & kept, scores.scored & ~kept
    highest = scores.mean[below].max(initial=-np.inf)
    assert scores.lower[above].min(initial=np.inf) >= highest + 0.5 - 1e-9
    for band in (above & tasted, below & tasted):
        order = np.argsort(taste.scores.mean[band])
        assert (np.diff(scores.mean[band][order]) >= 0).all()
    decided = below & ~tasted
    assert (scores.mean[decided] == -0.5).all() and (scores.std[decided] == 0.5).all()
    for i in np.flatnonzero(~scores.scored):
        assert scores.reasons[i].startswith("taste: " if known[i] else "rule: ")


HEADS = {
    "lexicographic": Lexicographic(rule=Regex(must=("please",)), taste=Bayesian()),
    "minimum": Minimum(parts={"taste": Bayesian(), "short": MaxWords(n=3)}),
    "weighted_sum": WeightedSum(
        parts={"taste": Bayesian(), "polite": Regex(must=("please",)), "none": MaxWords(n=1)},
        weights={"taste": 0.5, "polite": 2.0, "none": 0.0},
    ),
}


@pytest.mark.parametrize("how", sorted(HEADS))
def test_a_composition_lives_like_a_learned_reward(how: str, tmp_path: Path) -> None:
    trunk, prompt, rng = FakeTrunk(planted={"good": 3.0}), Prompt.of("?"), np.random.default_rng(0)
    texts = ["good please", "bad please", "good", "bad", "a good one, please"]
    given = [Response(prompt=prompt, text=text) for text in texts]
    both = [[Response(prompt=prompt, text=f"{w} {i}") for w in ("good", "bad")] for i in range(30)]
    pairs = [Comparison(chosen=good, rejected=bad) for good, bad in both]
    learned_from, readings = trunk.read([r for pair in both for r in pair]), trunk.read(given)
    fitted: Fitted = HEADS[how].fit(learned_from, pairs, rng=rng)
    scores = fitted.score(readings)
    assert scores.mean[0] > scores.mean[1] and scores.mean[2] > scores.mean[3]
    if how == "lexicographic":
        assert scores.mean[:2].min() > scores.mean[2:4].max() + 0.5
    fitted.save(tmp_path / "reward")
    again = load_reward(tmp_path / "reward", trunk)
    same(again.score(readings), scores)
    assert again.summary() == fitted.summary()
    by_text = again.on(trunk).score([prompt] * 5, texts)
    np.testing.assert_array_equal(by_text.mean, scores.mean)
    mean, std = again.margin(readings, [0, 1], [3, 1])
    np.testing.assert_allclose(mean, scores.mean[[0, 1]] - scores.mean[[3, 1]], atol=1e-12)
    assert std[1] == 0 and 0 < std[0] <= scores.std[0] + scores.std[3] + 1e-12
    cautious = again.with_lower_bound(1.0).score(readings)
    np.testing.assert_array_equal(cautious.mean, scores.mean)
    assert np.all(cautious.lower <= scores.lower) and (cautious.lower < scores.lower)[:2].any()
    bounded = Conservative(head=HEADS[how], k=1.0, distance=0.0).fit(learned_from, pairs, rng=rng)
    np.testing.assert_allclose(bounded.score(readings).lower, cautious.lower)
    broken = readings.take([0, 1, 2])
    broken.latents[0] = np.nan
    with pytest.raises(DataError):
        again.margin(broken, [0], [1])
    assert np.isfinite(again.margin(broken, [1], [2])[0]).all(), "one unscored row harms no other"


@pytest.mark.parametrize(("known", "count"), [(20, 20), (0, 0)])
def test_pairs_that_a_part_leaves_unscored_are_left_out_and_counted(known: int, count: int) -> None:
    trunk, rng = FakeTrunk(planted={"good": 3.0}), np.random.default_rng(0)
    prompts = [Prompt.of(f"{i}?", **({"answer": "good"} if i < known else {})) for i in range(40)]
    both = [[Response(prompt=p, text=text) for text in ("good", "bad")] for p in prompts]
    pairs = Comparisons(tuple(Comparison(chosen=good, rejected=bad) for good, bad in both))
    readings = trunk.read([r for pair in both for r in pair])
    parts, folds = {"right": Exact(), "taste": Bayesian()}, make_folds(pairs.groups, 5, rng)
    for head in (
        Exact(),
        Minimum(parts=parts),
        WeightedSum(parts=parts, weights={"right": 1, "taste": 1}),
        Lexicographic(rule=Exact(), taste=Bayesian()),
    ):
        result = cross_validate(head, readings, pairs, folds=folds, rng=rng)
        assert result.accuracy.n == count and result.unscored == 40 - count
        assert result.accuracy.value == (1.0 if count else None)


@given(scorers(), st.floats(-60, 60))
def test_a_set_point_is_reached_and_never_passed(part: Any, at: float) -> None:
    found, inner = ask("set_point", {"head": part}, at=at), part.scores
    for column in set(inner.columns) & {"mean", "lower", "low", "high"}:
        np.testing.assert_array_equal(
            getattr(found, column), np.minimum(getattr(inner, column), at)
        )
    np.testing.assert_array_equal(found.scored, inner.scored)
    known = np.where(inner.scored, found.std, 0.0)
    assert (known >= 0).all() and (known <= inner.std + 1e-12).all()
    past = inner.scored & (inner.mean - inner.std >= at)
    assert (found.std[past] == 0).all() and set(found.reasons) == set(inner.reasons)


def test_a_set_point_is_saved_and_must_be_finite(tmp_path: Path) -> None:
    trunk, ask_it = FakeTrunk(planted={"good": 3.0}), Prompt.of("?")
    texts = [Response(prompt=ask_it, text=text) for text in ("good good", "bad")]
    pairs = [Comparison(chosen=texts[0], rejected=texts[1])]
    rng = np.random.default_rng(0)
    plain = Bayesian().fit(trunk.read(texts), pairs, rng=rng).on(trunk).score(["?"], ["good good"])
    at = float(plain.mean[0]) / 2
    fitted = SetPoint(head=Bayesian(), at=at).fit(trunk.read(texts), pairs, rng=rng)
    fitted.save(tmp_path / "reward")
    again = load_reward(tmp_path / "reward", trunk).on(trunk).score(["?"], ["good good"])
    assert again.mean[0] == at < plain.mean[0]
    with pytest.raises(InputError, match="finite"):
        SetPoint(head=Bayesian(), at=float("nan"))
