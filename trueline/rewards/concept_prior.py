"""Concepts first, then labels: a head that learns what people say beyond principles.

    r(y) = Σ_p β_p c_p(y) / s_p + z(y)·w       w ~ N(0, A⁻¹),   log p(β_p) = −½ ((β_p − 0.6) / 0.3)²

c_p is the concept of principle p, in units s_p of its margins on the labelled pairs (their root
mean square); w is learned beside it, with it as the prior mean. β_p and A are those of largest
evidence, β_p in turn on a grid. With no label it is the sum of the concepts, with many the head: as
one more column of features a concept is diluted by few labels, as the mean it is not
(docs/log.md). 0.6 is what 62 % of pairs ranked right come to.

Laplace evidence as in `evidence`, after MacKay 1992. Where we differ: the prior has a mean.
Units: nats of log-odds. Deterministic: `rng` is not drawn from. Fails where principles mislead on
few labels: their weight falls to 0 only as evidence against them grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trueline import stats
from trueline.data.baselines import bag_of_words
from trueline.data.comparisons import Comparisons
from trueline.data.principles import principle_of
from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.records import Estimate
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.compose import Composed
from trueline.rewards.concept import Concept, labelled_of
from trueline.rewards.evidence import MarginalLikelihood, climb
from trueline.rewards.features import Training
from trueline.rewards.linear import LinearReward
from trueline.rewards.protocols import Pairs
from trueline.rng import Rng

__all__ = ["ConceptPrior", "crossing", "without_labels", "worth_in_labels"]

WEIGHTS = (0.0, 0.3, 0.6, 1.0, 1.5)
USUAL, SPREAD = 0.6, 0.3
LABELS = "labels"
"""What the part that labels teach is called beside the principles."""
SPLITS, FEWEST = 3, 25
"""Splits of the learning curve that says what principles are worth, and its smallest number."""


@dataclass(frozen=True, kw_only=True)
class ConceptPrior:
    """Principles, and a head that learns beside them."""

    principles: tuple[str, ...] = ()
    """Names of those whose contrasts must be among the comparisons (`data.principles`); if none is
    given, of all whose contrasts are."""
    concept: Concept = field(default_factory=Concept)
    """How each principle's direction is found."""
    head: Bayesian = field(default_factory=Bayesian)
    """What learns from labels."""

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> Composed:
        """Return the concepts' weighted sum with what labels add; `DataError` where a principle has
        no contrasts, or a reading is missing or not finite."""
        given = {name for pair in comparisons if (name := principle_of(pair.rater)) is not None}
        names = self.principles or sorted(given)
        if LABELS in names:
            raise InputError(f"no principle may be called {LABELS!r}", got="one that is")
        concepts = {
            name: replace(self.concept, principle=name).fit(readings, comparisons, rng=rng)
            for name in names
        }
        judged = labelled_of(comparisons)
        if not concepts:
            return _sum({LABELS: self.head.fit(readings, judged, rng=rng)}, {LABELS: 1.0})
        if not judged:
            return _sum(dict(concepts), dict.fromkeys(concepts, 1.0))
        training = Training.of(readings, judged)
        margins = [each.margin(training.readings, *training.ends)[0] for each in concepts.values()]
        units = [float(np.sqrt(np.mean(each**2))) or 1.0 for each in margins]
        table = np.stack(margins) / np.array(units)[:, None]
        usual = np.full(len(table), USUAL)
        head = self.head.learn(replace(training, offset=usual @ table))
        found = _weights(training, head, table)
        if not np.array_equal(found, usual):
            head = self.head.learn(replace(training, offset=found @ table))
        weights = dict(zip(concepts, (found / units).tolist(), strict=True))
        return _sum({**concepts, LABELS: head}, {**weights, LABELS: 1.0})


def without_labels(readings: Readings, comparisons: Comparisons, rng: Rng) -> dict[str, Estimate]:
    """Return how often labelled pairs are ranked right by the principles among the comparisons,
    which have seen no label, and by a bag of the words of their contrasts."""
    judged = labelled_of(comparisons)
    contrasts = Comparisons(tuple(p for p in comparisons if principle_of(p.rater) is not None))
    sides = (readings.rows(keys) for keys in (judged.chosen_keys, judged.rejected_keys))
    margin, _ = ConceptPrior().fit(readings, contrasts, rng=rng).margin(readings, *sides)
    right = {
        "principles_alone": (np.sign(margin) + 1) / 2,
        "their_words": bag_of_words(contrasts, judged, rng=rng),
    }
    return {name: stats.accuracy(each, clusters=judged.groups) for name, each in right.items()}


def worth_in_labels(readings: Readings, comparisons: Comparisons, rng: Rng) -> Estimate:
    """Return how many labels the plain head needs to rank held-out pairs right as often as the
    principles alone do; of the interval both ends where the ends of theirs lie on its curve, None
    beyond the most labels that are tried, 3 of 4. n: labelled pairs; too few, and nothing is known.
    """
    judged = labelled_of(comparisons)
    contrasts = [pair for pair in comparisons if principle_of(pair.rater) is not None]
    groups, of = np.unique(judged.groups, return_inverse=True)
    alone = ConceptPrior().fit(readings, contrasts, rng=rng)
    known, plain, names = list[np.ndarray](), list[list[np.ndarray]](), list[str]()
    for _ in range(SPLITS):
        aside = rng.permutation(len(groups))[of] < len(groups) / 4
        rest, test = rng.permutation(np.flatnonzero(~aside)), judged.take(np.flatnonzero(aside))
        sizes = [FEWEST * 2**i for i in range(12) if FEWEST * 2**i <= len(rest)]
        if len(sizes) < 2:
            return Estimate(None, None, None, len(judged))
        sides = [readings.rows(keys) for keys in (test.chosen_keys, test.rejected_keys)]
        heads = (Bayesian().fit(readings, judged.take(rest[:n]).rows, rng=rng) for n in sizes)
        plain.append([np.sign(head.margin(readings, *sides)[0]) / 2 + 0.5 for head in heads])
        known.append(np.sign(alone.margin(readings, *sides)[0]) / 2 + 0.5)
        names += test.groups
    shortest = min(map(len, plain))
    curve = [float(np.mean([each[i].mean() for each in plain])) for i in range(shortest)]
    level = stats.accuracy(np.concatenate(known), clusters=names)
    value, lower, upper = (
        None if end is None else crossing(end, curve, sizes[:shortest])
        for end in (level.value, level.lower, level.upper)
    )
    return Estimate(value, lower, upper, len(judged))


def crossing(level: float, curve: Sequence[float], sizes: Sequence[int]) -> float | None:
    """Return at which size a curve first reaches a level, between two by the logarithm of the size;
    None where it does not, the first size where it begins above it."""
    at = next((i for i, value in enumerate(curve) if value >= level), None)
    if at is None or at == 0:
        return None if at is None else float(sizes[0])
    part = (level - curve[at - 1]) / (curve[at] - curve[at - 1])
    ends = np.log(sizes[at - 1 : at + 1])
    return float(np.exp(ends[0] + part * (ends[1] - ends[0])))


def _weights(training: Training, head: LinearReward, table: np.ndarray) -> np.ndarray:
    """Return the weights [P] of largest evidence of concepts' margins [P, N], one after another,
    at the features that the head has chosen."""
    rows = training.differences(head.features)
    start = np.log(list(head.metadata["precision"].values()))
    weights = np.full(len(table), USUAL)
    for i in range(len(table)):
        values = []
        for weight in WEIGHTS:
            weights[i] = weight
            how = (head.features.owners, head.label_noise, weights @ table)
            evidence = MarginalLikelihood(rows, *how)
            point = climb(evidence, evidence.at(start), tol=0.1, max_steps=4)
            values.append(point.value - 0.5 * ((weight - USUAL) / SPREAD) ** 2)
        weights[i] = WEIGHTS[int(np.argmax(values))]
    return weights


def _sum(parts: dict[str, LinearReward], weights: dict[str, float]) -> Composed:
    return Composed(how="weighted_sum", settings={"weights": weights}, parts=parts)
