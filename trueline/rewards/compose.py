"""Several rewards as one: a weighted sum, the least of them, or a rule first and then taste; and
one that is to be satisfied, not maximised.

Each part is a head or a rule under a name. With mean m_i, std s_i, lower bound l_i and interval
[a_i, b_i] of part i:

    weighted_sum   m = Σ w_i m_i        s² = Σ w_i² s_i²      l = m − √Σ w_i² (m_i − l_i)²
                   [a, b] = Σ w_i [a_i, b_i]  (sums of intervals)
    minimum        m, s: moments of the least of normal variables, two at a time from the lowest
                   mean upwards (Clark 1961, Operations Research 9); l = min(m, min_i l_i);
                   [a, b] = [min a_i, min b_i]
    lexicographic  bands of taste, squashed: with g(t) = t / (1 + |t|) / 2 in (−½, ½),
                   rule kept: 1.5 + g(t)      rule broken: g(t)
    set_point      m = min(m, at), and l, a, b alike: what reaches the set point is as good as what
                   goes beyond it, and a policy that is there has no reason to go on

Parts are taken to err independently. Two rewards that read one trunk share errors: then the sum's
std is too small (by at most √P for P parts) and the minimum's mean too low; intervals, given only
where all parts have them, need no such assumption. Novelty is the largest of the parts'.

A part unscored makes the row unscored, with the part's name and reason, unless it cannot matter: a
part of weight 0 is not asked, and what breaks the rule scores the bottom of its band where taste
cannot say, its std and interval saying the whole band. A part alone is that part exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import ndtr

from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.protocols import Scorer
from trueline.records import Scores
from trueline.rewards.protocols import Fitted, Head, MeanStd, Pairs, Reader, Rows
from trueline.rewards.rules import RowByRow
from trueline.rng import Rng

__all__ = ["Composed", "Lexicographic", "Minimum", "SetPoint", "WeightedSum"]


class _Composition:
    """What the three specifications share: each part is fitted to the same comparisons."""

    how: ClassVar[str]

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> Composed:
        """Return the whole, every part fitted, by name: chance does not depend on their order."""
        settings = dict(vars(self))
        heads = settings.pop("parts", None) or {n: settings.pop(n) for n in ("rule", "taste")}
        parts = {n: head.fit(readings, comparisons, rng=rng) for n, head in sorted(heads.items())}
        return Composed(how=self.how, settings=settings, parts=parts)


@dataclass(frozen=True, kw_only=True)
class WeightedSum(_Composition):
    """Σ weight × part; a negative weight is a penalty, 0 leaves the part out."""

    how = "weighted_sum"
    parts: Mapping[str, Head]
    """Name to head or rule."""
    weights: Mapping[str, float]
    """Name to weight, one for every part."""

    def __post_init__(self) -> None:
        weights = self.weights.values()
        if set(self.parts) != set(self.weights) or not all(map(math.isfinite, weights)):
            got = f"parts {sorted(self.parts)}, weights {dict(self.weights)}"
            raise InputError("every part must have a finite weight", got=got)
        if not any(weights):
            raise InputError("a weight must not be 0", got=str(dict(self.weights)))


@dataclass(frozen=True, kw_only=True)
class Minimum(_Composition):
    """The least of the parts: good only where all are. Give them one scale first."""

    how = "minimum"
    parts: Mapping[str, Head]
    """Name to head or rule."""

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("there must be a part", got="none")


@dataclass(frozen=True, kw_only=True)
class Lexicographic(_Composition):
    """Rule first, then taste: what breaks the rule is below all that keeps it, by over a half.

    Mean, lower bound and interval of the taste go through g as quantiles do (the mean as a median),
    std is half the image of mean ± std.
    """

    how = "lexicographic"
    rule: Head
    """What must be kept."""
    taste: Head
    """What orders responses that are alike before the rule."""
    keeps_at: float = 0.5
    """The rule is kept where its lower bound reaches this: beyond doubt."""


@dataclass(frozen=True, kw_only=True)
class SetPoint:
    """Any head, satisfied at `at` nats above its reference point."""

    head: Head
    """What says how good a response is."""
    at: float
    """Where enough is enough; a concept without labels has its reference point halfway between the
    answers that keep its principle and those that break it."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.at):
            raise InputError("a set point must be a finite number", got=str(self.at))

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> Composed:
        """Return the head's fit, satisfied at the set point."""
        head = self.head.fit(readings, comparisons, rng=rng)
        return Composed(how="set_point", settings={"at": self.at}, parts={"head": head})


@dataclass(kw_only=True)
class Composed(RowByRow):
    """Fitted rewards as one; made by `fit`, or directly of rewards that are fitted already."""

    how: str
    """weighted_sum, minimum, lexicographic or set_point."""
    parts: Mapping[str, Fitted]
    """Name to fitted reward; "rule" and "taste" of a lexicographic one, "head" of a set point."""
    settings: dict[str, Any] = field(default_factory=dict)
    """weights, keeps_at or at."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Nothing of its own: the parts have theirs."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that any part reads."""
        return tuple(dict.fromkeys(layer for p in self.parts.values() for layer in p.layers))

    @property
    def trunk_fingerprint(self) -> str | None:
        """Fingerprint of the trunk whose readings the parts were fitted on."""
        known = (part.trunk_fingerprint for part in self.parts.values())
        return next((one for one in known if one is not None), None)

    def summary(self) -> dict[str, Any]:
        parts = {name: part.summary() for name, part in self.parts.items()}
        return {"kind": self.how, **self.settings, "parts": parts}

    def score(self, readings: Readings) -> Scores:
        weights = self.settings.get("weights", {})
        scores = {}
        for name in sorted(self.parts):
            if weights.get(name, 1.0):
                part = self.parts[name].score(readings)
                unscored = np.flatnonzero(~part.scored).tolist()
                why = {i: f"{name}: {part.reasons.get(i, 'unscored')}" for i in unscored}
                scores[name] = replace(part, reasons=why)
        (name, part), *others = scores.items()
        if not others and weights.get(name, 1.0) == 1.0 and self.how != "set_point":
            return part
        return _COMBINE[self.how](scores, **self.settings)

    def margin(self, readings: Readings, first_rows: Rows, second_rows: Rows) -> MeanStd:
        if self.how != "weighted_sum":
            return super().margin(readings, first_rows, second_rows)
        weights = {name: weight for name, weight in self.settings["weights"].items() if weight}
        both = [
            np.multiply(weight, self.parts[name].margin(readings, first_rows, second_rows))
            for name, weight in sorted(weights.items())
        ]
        return np.sum([b[0] for b in both], axis=0), np.hypot.reduce([b[1] for b in both], axis=0)

    def with_lower_bound(self, k: float, distance: float = 0.0) -> Self:
        parts = {name: p.with_lower_bound(k, distance) for name, p in self.parts.items()}
        return replace(self, parts=parts)

    def on(self, trunk: Reader) -> Scorer:
        for part in self.parts.values():
            part.on(trunk)
        return super().on(trunk)


def _weighted_sum(scores: Mapping[str, Scores], *, weights: Mapping[str, float]) -> Scores:
    column, weight = _columns(scores), np.array([[weights[name]] for name in scores])
    mean = (weight * column["mean"]).sum(0)
    std = np.hypot.reduce(weight * column["std"], axis=0)
    subtracted = np.hypot.reduce(weight * (column["mean"] - column["lower"]), axis=0)
    ends = [weight * column[end] for end in ("low", "high") if end in column]
    low_high = [np.minimum(*ends).sum(0), np.maximum(*ends).sum(0)] if ends else []
    return _whole(scores, mean, std, mean - subtracted, *low_high)


def _minimum(scores: Mapping[str, Scores]) -> Scores:
    column = _columns(scores)
    order = np.lexsort((column["std"], column["mean"]), axis=0)
    means, stds = (np.take_along_axis(column[name], order, 0) for name in ("mean", "std"))
    mean, std = means[0], stds[0]
    for more_mean, more_std in zip(means[1:], stds[1:], strict=True):
        mean, std = _least(mean, std, more_mean, more_std)
    ends = [column[end].min(0) for end in ("low", "high") if end in column]
    if ends:  # the mean of the least may lie below every part's own interval
        ends[0] = np.minimum(ends[0], mean)
    return _whole(scores, mean, std, np.minimum(mean, column["lower"].min(0)), *ends)


def _lexicographic(scores: Mapping[str, Scores], *, keeps_at: float) -> Scores:
    rule, taste = scores["rule"], scores["taste"]
    kept = rule.scored & (np.where(rule.scored, rule.lower, -np.inf) >= keeps_at)
    lowest = rule.scored & ~kept & ~taste.scored

    def squash(values: np.ndarray) -> np.ndarray:
        finite = np.clip(values, -1e300, 1e300)
        return np.asarray(finite / (1.0 + np.abs(finite)) / 2)

    def put(values: np.ndarray, in_lowest: float) -> np.ndarray:
        return np.where(lowest, in_lowest, np.where(kept, 1.5, 0.0) + squash(values))

    spread = squash(taste.mean + taste.std) - squash(taste.mean - taste.std)
    scored = rule.scored & (taste.scored | lowest)
    reasons = {**taste.reasons, **rule.reasons}
    return Scores(
        mean=put(taste.mean, -0.5),
        std=np.where(lowest, 0.5, spread / 2),
        lower=put(taste.lower, -0.5),
        novelty=np.where(lowest, rule.novelty, np.fmax(rule.novelty, taste.novelty)),
        scored=scored,
        reasons={i: reasons[i] for i in np.flatnonzero(~scored).tolist()},
        low=None if taste.low is None else put(taste.low, -0.5),
        high=None if taste.high is None else put(taste.high, 0.5),
    )


def _set_point(scores: Mapping[str, Scores], *, at: float) -> Scores:
    (part,) = scores.values()
    spread = np.minimum(part.mean + part.std, at) - np.minimum(part.mean - part.std, at)
    numbers = [np.minimum(getattr(part, name), at) for name in part.columns if name in _SHIFTED]
    mean, lower, *ends = numbers
    return _whole(scores, mean, spread / 2, lower, *ends)


_SHIFTED = ("mean", "lower", "low", "high")
_COMBINE: dict[str, Callable[..., Scores]] = {
    "lexicographic": _lexicographic, "minimum": _minimum, "set_point": _set_point,
    "weighted_sum": _weighted_sum,
}  # fmt: skip


def _columns(scores: Mapping[str, Scores]) -> dict[str, np.ndarray]:
    names = min((part.columns for part in scores.values()), key=len)
    return {n: np.stack([getattr(part, n) for part in scores.values()]) for n in names}


def _whole(scores: Mapping[str, Scores], *numbers: np.ndarray) -> Scores:
    """Return mean, std, lower (and low, high) as scores; unscored where a part is."""
    parts, (mean, std, lower, *ends) = scores.values(), numbers
    why = [part.reasons for part in parts]
    rows = sorted(set().union(*why))
    reasons = {i: "; ".join(each[i] for each in why if i in each) for i in rows}
    column = _columns(scores)
    novelty, scored = column["novelty"].max(0), np.asarray(column["scored"].all(0))
    return Scores(mean, std, lower, novelty, scored, reasons, *ends)


def _least(m1: np.ndarray, s1: np.ndarray, m2: np.ndarray, s2: np.ndarray) -> MeanStd:
    """Return mean and std of the least of two independent normal variables (Clark, eq. 2 to 4)."""
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
