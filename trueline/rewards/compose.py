"""Several rewards as one: a weighted sum, the least of them, or a rule first and then taste.

Each part is a `Scorer` under a name; so is the whole. With mean m_i, std s_i, lower bound l_i and
interval [a_i, b_i] of part i:

    WeightedSum    m = Σ w_i m_i        s² = Σ w_i² s_i²      l = m − √Σ w_i² (m_i − l_i)²
                   [a, b] = Σ w_i [a_i, b_i]  (sums of intervals)
    Minimum        m, s: moments of the least of normal variables, two at a time from the lowest
                   mean upwards (Clark 1961, Operations Research 9); l = min(m, min_i l_i);
                   [a, b] = [min a_i, min b_i]
    Lexicographic  bands of taste, squashed: with g(t) = t / (scale + |t|) / 2 in (−½, ½),
                   rule kept: 1 + margin + g(t)      rule broken: g(t)

**Doubt.** Parts are taken to err independently, as a rule, a learned reward and a length penalty
do. Two rewards that read one trunk share errors: then the sum's std is too small (by at most √P for
P parts) and the minimum's mean too low. Intervals need no such assumption: the whole is in its own
wherever every part is in its own, so 90 % intervals of P parts give at least 100 − 10 P %. They are
given only where all parts have them. Novelty is the largest of the parts': a whole is as far from
its data as its farthest part.

**Unscored.** A part unscored makes the row unscored, with the part's name and reason, except where
it cannot matter: a part of weight 0 is not even asked, and taste cannot lift a response that breaks
the rule, which then scores the bottom of its band, its std and interval saying the whole band.

A part alone, of weight 1 or as the minimum, is that part exactly. The order of parts is irrelevant.

>>> from trueline.rewards.rules import Regex
>>> parts = {"polite": Regex(must=("please",)), "short": Regex(never=(r"\\w+ \\w+ \\w+",))}
>>> texts = ["please go", "please do go"]
>>> WeightedSum(parts=parts, weights={"polite": 2.0, "short": 0.5}).score(["?"] * 2, texts).mean
array([2.5, 2. ])
>>> Minimum(parts=parts).score(["?"] * 2, texts).mean
array([1., 0.])
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trueline.errors import InputError
from trueline.protocols import Scorer
from trueline.records import Prompt, Scores

__all__ = ["Lexicographic", "Minimum", "WeightedSum"]


@dataclass(frozen=True, kw_only=True)
class WeightedSum:
    """Σ weight × part; a negative weight is a penalty, 0 leaves the part out."""

    parts: Mapping[str, Scorer]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if set(self.parts) != set(self.weights):
            raise InputError(
                "every part must have a weight",
                got=f"parts {sorted(self.parts)}, weights {sorted(self.weights)}",
            )
        if not all(map(math.isfinite, self.weights.values())) or not any(self.weights.values()):
            raise InputError(
                "weights must be finite, one of them not 0", got=str(dict(self.weights))
            )

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        """Scores of N responses, row i answering prompt i."""
        names = sorted(name for name, weight in self.weights.items() if weight)
        scores = {name: self.parts[name].score(prompts, responses) for name in names}
        if len(names) == 1 and self.weights[names[0]] == 1.0:
            return _named(*scores.popitem())
        weights = np.array([self.weights[name] for name in names])[:, None]
        column = _columns(scores)
        mean = (weights * column["mean"]).sum(0)
        caution = np.hypot.reduce(weights * (column["mean"] - column["lower"]), axis=0)
        ends = {}
        if "low" in column:
            low, high = weights * column["low"], weights * column["high"]
            ends = {"low": np.minimum(low, high).sum(0), "high": np.maximum(low, high).sum(0)}
        return _whole(
            scores, mean, np.hypot.reduce(weights * column["std"], axis=0), mean - caution, **ends
        )


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """The least of the parts: good only where all are. Give them one scale first."""

    parts: Mapping[str, Scorer]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("there must be a part", got="none")

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        """Scores of N responses, row i answering prompt i."""
        scores = {name: self.parts[name].score(prompts, responses) for name in sorted(self.parts)}
        if len(scores) == 1:
            return _named(*scores.popitem())
        column = _columns(scores)
        order = np.lexsort((column["std"], column["mean"]), axis=0)
        means = np.take_along_axis(column["mean"], order, 0)
        stds = np.take_along_axis(column["std"], order, 0)
        mean, std = means[0], stds[0]
        for more_mean, more_std in zip(means[1:], stds[1:], strict=True):
            mean, std = _least(mean, std, more_mean, more_std)
        ends = {end: column[end].min(0) for end in ("low", "high") if end in column}
        if ends:  # the mean of the least may lie below every part's own interval
            ends["low"] = np.minimum(ends["low"], mean)
        return _whole(scores, mean, std, np.minimum(mean, column["lower"].min(0)), **ends)


@dataclass(frozen=True, kw_only=True)
class Lexicographic:
    """Rule first, then taste: what breaks the rule is below all that keeps it, by over `margin`.

    The rule is kept where its *lower bound* reaches `keeps_at`: beyond doubt. Taste is squashed to
    a band of width 1 by g, which keeps its order and is undone by `taste_of`; mean, lower bound and
    interval go through g as quantiles do (the mean as a median), std is half the image of
    mean ± std. `scale` is the taste at which half of its half of the band is used up.
    """

    rule: Scorer
    taste: Scorer
    keeps_at: float = 0.5
    scale: float = 1.0
    margin: float = 0.5

    def __post_init__(self) -> None:
        if not (self.scale > 0 and self.margin >= 0 and math.isfinite(self.scale + self.margin)):
            raise InputError(
                "scale must be over 0, and margin at least 0", got=f"{self.scale}, {self.margin}"
            )

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        """Scores of N responses, row i answering prompt i."""
        rule = _named("rule", self.rule.score(prompts, responses))
        taste = _named("taste", self.taste.score(prompts, responses))
        kept = rule.scored & (np.where(rule.scored, rule.lower, -np.inf) >= self.keeps_at)
        lowest = rule.scored & ~kept & ~taste.scored
        base = np.where(kept, 1.0 + self.margin, 0.0)

        def put(values: np.ndarray, in_lowest: float) -> np.ndarray:
            return np.where(lowest, in_lowest, base + self._squash(values))

        spread = self._squash(taste.mean + taste.std) - self._squash(taste.mean - taste.std)
        ends = {}
        if taste.low is not None and taste.high is not None:
            ends = {"low": put(taste.low, -0.5), "high": put(taste.high, 0.5)}
        scored = rule.scored & (taste.scored | lowest)
        reasons = {**taste.reasons, **rule.reasons}
        return Scores(
            mean=put(taste.mean, -0.5),
            std=np.where(lowest, 0.5, spread / 2),
            lower=put(taste.lower, -0.5),
            novelty=np.where(lowest, rule.novelty, np.fmax(rule.novelty, taste.novelty)),
            scored=scored,
            reasons={i: reasons[i] for i in np.flatnonzero(~scored).tolist()},
            **ends,
        )

    def taste_of(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each value keeps the rule, and the taste it stands for (±inf at a band's end)."""
        kept = np.asarray(values) > (1.0 + self.margin) / 2
        inside = np.asarray(values) - np.where(kept, 1.0 + self.margin, 0.0)
        with np.errstate(divide="ignore"):
            return kept, 2 * inside * self.scale / (1 - 2 * np.abs(inside))

    def _squash(self, taste: np.ndarray) -> np.ndarray:
        finite = np.where(np.isinf(taste), 0.0, taste)
        inside = finite / (self.scale + np.abs(finite)) / 2
        return np.where(np.isinf(taste), np.sign(taste) / 2, inside)


def _named(name: str, scores: Scores) -> Scores:
    """The same scores; why a row has none says whose it is."""
    reasons = {
        i: f"{name}: {scores.reasons.get(i, 'unscored')}"
        for i in np.flatnonzero(~scores.scored).tolist()
    }
    return replace(scores, reasons=reasons)


def _columns(scores: Mapping[str, Scores]) -> dict[str, np.ndarray]:
    """Every column that all parts have, [P, N]."""
    names = min((part.columns for part in scores.values()), key=len)
    return {n: np.stack([getattr(part, n) for part in scores.values()]) for n in names}


def _whole(
    scores: Mapping[str, Scores], mean: np.ndarray, std: np.ndarray, lower: np.ndarray, **ends: Any
) -> Scores:
    """The composed columns; unscored where a part is."""
    column = _columns(scores)
    why: dict[int, list[str]] = {}
    for name, part in scores.items():
        for i, reason in _named(name, part).reasons.items():
            why.setdefault(i, []).append(reason)
    reasons = {i: "; ".join(each) for i, each in why.items()}
    scored = np.asarray(column["scored"].all(0))
    return Scores(mean, std, lower, column["novelty"].max(0), scored, reasons, **ends)


def _least(
    m1: np.ndarray, s1: np.ndarray, m2: np.ndarray, s2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std of the least of two independent normal variables (Clark 1961, eq. 2 to 4)."""
    from scipy.special import ndtr

    spread, gap = np.hypot(s1, s2), m2 - m1
    apart = np.abs(gap) >= 40 * spread  # then the lower one is the least
    z = np.where(apart, 0.0, gap) / np.where(apart, 1.0, spread)
    is_first, is_second = ndtr(z), ndtr(-z)
    peak = spread * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    above = gap * is_second - peak  # moments about m1: no cancellation of large means
    square = s1**2 * is_first + (gap**2 + s2**2) * is_second - gap * peak
    mean = m1 + np.where(apart, np.minimum(gap, 0.0), above)
    one = np.where(gap >= 0, s1, s2)
    return mean, np.where(apart, one, np.sqrt(np.maximum(square - above**2, 0.0)))
