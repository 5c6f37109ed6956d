"""A concept as a direction in the trunk's latents, from pairs that show it.

    w ∝ mean of d,    d = z(chosen) − z(rejected)        posterior N(w, s² I / N),  s² mean of d²

The pairs are contrasts of a principle (`data.principles`), written by hand without any label, or
labelled ones. Marks and Tegmark 2023 (2310.06824) for the mean difference; Zou et al. 2023
(2310.01405). A layer is as good as it separates what took no part in its direction: d' = (mean
chosen − mean rejected) / sd, each by the pairs that share neither its question nor an answer. By
questions alone, contrasts are told apart by their wording, in layers where the direction means
nothing. Read are some of the layers with at least half of the best d': that one layer which is best
on the contrasts need not be on what people say (docs/log.md).

**A concept is withheld where pairs speak against it**: where the interval of its accuracy on pairs
held out reaches down to 1/2, or that on labelled pairs beside its contrasts lies below 1/2,
`on(trunk)` refuses it.

**A policy learns to evade a probe that it is optimised against** (Bailey et al. 2024, 2412.09565;
measured in docs/log.md). Never optimise against a concept alone without fresh labels.

Where we differ: the mean difference is scaled to log-odds by its held-out margins. Shapes: N pairs,
F features. Unit: nats. Surprisals are read and weigh nothing.
Fails where the wordings of the pairs, not what they mean, are what the direction picks up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trueline import stats
from trueline.data.comparisons import Comparisons
from trueline.data.principles import principle_of, rater_of
from trueline.errors import DataError
from trueline.models.reading import Readings
from trueline.records import Estimate
from trueline.rewards.features import Features, Part, Training, in_order
from trueline.rewards.laplace import LowRank, primal_mode
from trueline.rewards.linear import LinearReward
from trueline.rewards.protocols import Pairs
from trueline.rng import Rng

__all__ = ["Concept", "labelled_of"]

FOLDS = 5
"""Parts of the pairs, by prompt: each is judged in the layer that is best on the others."""
WINSOR = 3.0
"""Standard deviations at which standardised features are clipped."""
SHUT = 1e12
"""Prior precision of a weight that is to stay 0."""
MOST = 1_000
"""About as many pairs choose the layer, where there are at least twice as many."""


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A mean difference of pairs; its fields are its configuration."""

    principle: str | None = None
    """Name of the principle whose contrasts are the pairs (`data.principles`); None: all pairs."""
    layer: int | str = "separation"
    """A layer of the trunk, or "separation" for those that tell held-out pairs apart."""
    num_layers: int = 6
    """At most this many layers are read together (with layer = "separation")."""
    pooling: str = "mean"
    """"mean", or "last", which on chat models ranked people's pairs at chance."""

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> LinearReward:
        """Return the direction from `rejected` to `chosen`; `rng` is not used. `DataError` where
        there is no contrast of the principle."""
        pairs, judged = in_order(comparisons), Comparisons(())
        if self.principle is not None:
            judged = labelled_of(pairs)
            own = (pair for pair in pairs if pair.rater == rater_of(str(self.principle)))
            pairs = Comparisons(tuple(own))
            if not pairs:
                must = "the contrasts of a concept's principle must be among the comparisons"
                do = "name it in data.principles, or give --principles"
                raise DataError(must, got=f"none of {self.principle!r}", do=do)
        training = Training.of(readings, pairs)
        layers = readings.layers if isinstance(self.layer, str) else (self.layer,)
        parts = [(layer, self.pooling) for layer in layers]
        taken, margins, groups = _held_out(training, parts, pairs, self.num_layers)
        features = Features.learn(training.readings, taken, winsor=WINSOR)
        rows = _differences(training, features)
        size = float(np.sqrt(np.mean((rows @ rows.mean(0)) ** 2))) or 1.0
        steepness = float(primal_mode(margins[:, None], np.array([0.1])).weights[0])
        scale = max(steepness, 1e-3) / size
        used = rows.any(axis=0)
        noise = float(np.mean(rows[:, used] ** 2)) if used.any() else 1.0
        precision = np.where(used, len(rows) / (scale**2 * noise), SHUT)
        accuracy = stats.accuracy((np.sign(margins) + 1) / 2, clusters=groups)
        reward = LinearReward.of(
            features=features,
            readings=training.readings,
            weights=scale * rows.mean(0),
            belief=LowRank(precision, np.zeros((len(precision), 0))),
            metadata={"n": len(pairs), "held_out": accuracy.as_dict()},
        )
        if accuracy.lower is None or accuracy.lower <= 0.5:
            reward.metadata["withheld"] = f"a held-out accuracy of {accuracy}"
        if judged:
            found = _accuracy(reward, readings, judged)
            reward.metadata["validated"] = found.as_dict()
            if found.upper is not None and found.upper < 0.5:
                reward.metadata["withheld"] = f"an accuracy of {found} on labelled pairs"
        return reward


def labelled_of(comparisons: Pairs) -> Comparisons:
    """Return the comparisons that somebody judged: all that are no principle's contrasts."""
    return Comparisons(tuple(pair for pair in comparisons if principle_of(pair.rater) is None))


def _accuracy(reward: LinearReward, readings: Readings, pairs: Comparisons) -> Estimate:
    sides = (readings.rows(keys) for keys in (pairs.chosen_keys, pairs.rejected_keys))
    mean, _ = reward.margin(readings, *sides)
    return stats.accuracy((np.sign(mean) + 1) / 2, clusters=pairs.groups)


def _held_out(
    training: Training, parts: Sequence[Part], pairs: Comparisons, most: int
) -> tuple[tuple[Part, ...], np.ndarray, np.ndarray]:
    """Return the parts that separate, best first; and margins [N] of pairs held out, over their
    root mean square, each fold's in the parts taken on the others, with their groups [N]."""
    pairs = pairs.take(range(0, len(pairs), max(1, len(pairs) // MOST)))
    apart = ~_alike(pairs)
    both = np.array([_positions(training.sample(MOST), part, apart) for part in parts])
    names = pairs.groups
    if len(set(names)) == 1:
        names = tuple(f"{pair.chosen.key} {pair.rejected.key}" for pair in pairs)
    groups = np.unique(names, return_inverse=True)[1]
    fold, margins = groups % FOLDS, np.zeros(len(pairs))
    for k in range(FOLDS):
        own = both[_taken(both[:, :, fold != k], most)].sum(0)
        size = np.sqrt(np.mean((own[0] - own[1])[fold != k] ** 2)) or 1.0
        margins[fold == k] = (own[0] - own[1])[fold == k] / size
    return tuple(parts[i] for i in _taken(both, most)), margins, groups


def _positions(training: Training, part: Part, apart: np.ndarray) -> np.ndarray:
    """Return where the chosen and the rejected lie along a direction of the pairs `apart` [N, N]
    from each, [2, N]."""
    features = Features.learn(training.readings, (part,), winsor=WINSOR)
    table = features.clipped(training.readings)
    table[:, : 5 * features.surprisals] = 0.0
    first, second = (table[rows] for rows in training.ends)
    directions = apart.astype(np.float64) @ (first - second)
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    return np.stack([(side * directions).sum(1) for side in (first, second)])


def _taken(both: np.ndarray, most: int) -> list[int]:
    """Return the parts that are read, by the positions [P, 2, N] in all: of those with at least
    half of the best d' the best, and others spread evenly over the trunk."""
    gap, spread = both[:, 0].mean(1) - both[:, 1].mean(1), np.sqrt(both.var(axis=2).mean(axis=1))
    separation = np.where(spread > 0, gap / np.maximum(spread, 1e-12), 0.0)
    best = int(separation.argmax())
    near = np.flatnonzero(separation >= separation[best] / 2)
    spaced = near[np.linspace(0, len(near) - 1, min(most, len(near))).round().astype(int)]
    return list(dict.fromkeys([best, *spaced.tolist()]))[:most]


def _alike(pairs: Comparisons) -> np.ndarray:
    """Return which pairs share their question (where there are several) or an answer, [N, N]."""
    names = [{pair.chosen.text, pair.rejected.text} for pair in pairs]
    if len(set(pairs.groups)) > 1:
        names = [texts | {group} for texts, group in zip(names, pairs.groups, strict=True)]
    where: dict[str, list[int]] = {}
    for i, each in enumerate(names):
        for name in each:
            where.setdefault(name, []).append(i)
    alike = np.zeros((len(pairs), len(pairs)), bool)
    for rows in where.values():
        alike[np.ix_(rows, rows)] = True
    return alike


def _differences(training: Training, features: Features) -> np.ndarray:
    """Return z(chosen) − z(rejected), [N, F]; surprisals count for nothing."""
    rows = training.differences(features)
    rows[:, : 5 * features.surprisals] = 0.0
    return rows
