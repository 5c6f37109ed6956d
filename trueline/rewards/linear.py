"""A fitted linear reward: what it says of responses, and how sure it is.

    mean = (z − z̄)·w      std² = (z − z̄)ᵀ Σ (z − z̄)      lower = mean − k std − distance s (ν − 1)₊
    margin of a over b: (z_a − z_b)·w, with variance (z_a − z_b)ᵀ Σ (z_a − z_b)

z are winsorised features, z̄ their mean over the training readings, s the spread of training
scores, ν the novelty (`features.TrainingDistribution`).

Shapes: N rows, F features, M pairs. Units: nats of log-odds. A row that is not finite is unscored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trueline.errors import DataError, InputError
from trueline.models.reading import Readings
from trueline.records import Scores
from trueline.rewards.features import Features, TrainingDistribution
from trueline.rewards.laplace import SLICE, Belief
from trueline.rewards.protocols import Fitted, MeanStd, Rows

__all__ = ["LinearReward"]

Moments = Callable[[Readings, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
NOT_FINITE = "the trunk's reading of it is not finite"
USUAL = 20_000
"""About as many training rows say what is usual, where there are at least twice as many."""


@dataclass(kw_only=True)
class LinearReward(Fitted):
    """A Gaussian belief about a linear reward on a trunk's readings."""

    features: Features
    weights: np.ndarray
    """Posterior mean, [F]."""
    belief: Belief
    """Posterior covariance Σ."""
    reference: np.ndarray
    """z̄, [F]."""
    training: TrainingDistribution
    """Where the training readings lie, for novelty."""
    spread: float
    """Standard deviation of the training rows' mean scores."""
    label_noise: float = 0.0
    """Share of labels taken to be flipped at random."""
    k: float = 0.0
    """Standard deviations that `lower` subtracts."""
    distance: float = 0.0
    """Spreads that `lower` subtracts per unit of novelty above 1."""
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse parts that do not fit together, as those of a spoiled folder."""
        size = 5 * self.features.surprisals + self.features.width * len(self.features.parts)
        near = (self.features.num_near,) * 2
        columns = (self.features.center, self.features.scale, self.weights, self.reference)
        fit = {np.shape(column) for column in columns} == {(size,)}
        fit &= self.belief.shape == (size, size) and self.training.shape.shape == near
        if not (fit and self.label_noise < 0.5):
            raise InputError("a reward's parts must fit together", got="other shapes or ranges")

    @classmethod
    def of(
        cls,
        *,
        features: Features,
        readings: Readings,
        weights: np.ndarray,
        belief: Belief,
        metadata: dict[str, Any],
        label_noise: float = 0.0,
    ) -> LinearReward:
        """Take reference point, spread and what is usual from the training readings."""
        total, scores = np.zeros(len(weights)), []
        for part in readings.slices(SLICE):
            z = features.clipped(part)
            total += z.sum(0)
            scores.append(z @ weights)
        # The rows are in the order of their hashes: evenly spaced is as good as at random.
        some = readings.take(np.arange(0, len(readings), max(1, len(readings) // USUAL)))
        return cls(
            features=features,
            weights=weights,
            belief=belief,
            reference=total / len(readings),
            training=TrainingDistribution.of(features.standard(some)[:, : features.num_near]),
            spread=float(np.concatenate(scores).std()),
            label_noise=label_noise,
            metadata={**metadata, "trunk_fingerprint": readings.trunk},
        )

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(layer for layer, _ in self.features.parts))

    def summary(self) -> dict[str, Any]:
        precision = self.metadata.get("precision", {})
        kept = ("evidence", "coin_evidence", "fit_s", "n")
        return {
            "layer": self.layers[0],
            "layers": list(self.layers),
            "pooling": "+".join(dict.fromkeys(pool for _, pool in self.features.parts)),
            "precision": {name: round(value, 2) for name, value in precision.items()},
            "label_noise": self.label_noise,
            **{name: self.metadata.get(name) for name in kept},
        }

    def with_lower_bound(self, k: float, distance: float = 0.0) -> LinearReward:
        return replace(self, k=k, distance=distance)

    def score(self, readings: Readings, moments: Moments | None = None) -> Scores:
        """Return scores of all N rows, relative to the reference point; `moments` gives other means
        and stds for scored rows of a part of the readings and their own means and stds."""
        self.check_trunk(readings.trunk)
        return Scores.concat([self._score(part, moments) for part in readings.slices(SLICE)])

    def _score(self, readings: Readings, moments: Moments | None) -> Scores:
        standard = self.features.standard(readings)
        scored = np.isfinite(standard).all(1)
        standard[~scored] = 0.0
        z = self.features.clip(standard) - self.reference
        mean, std = z @ self.weights, np.sqrt(self.belief.var(z))
        if moments is not None:
            at = np.flatnonzero(scored)
            mean[at], std[at] = moments(readings.take(at), mean[at], std[at])
        novelty = self.training.novelty(standard[:, : self.features.num_near])
        far = self.spread * np.maximum(novelty - 1.0, 0.0)
        return Scores(
            mean=mean,
            std=std,
            lower=mean - self.k * std - self.distance * far,
            novelty=novelty,
            scored=scored,
            reasons=dict.fromkeys(np.flatnonzero(~scored).tolist(), NOT_FINITE),
        )

    def margin(self, readings: Readings, first_rows: Rows, second_rows: Rows) -> MeanStd:
        """Return mean and std of reward(first) − reward(second), each [M], by full covariance."""
        self.check_trunk(readings.trunk)
        first, second = readings.take(first_rows), readings.take(second_rows)
        gap = self.features.clipped(first) - self.features.clipped(second)
        if not np.isfinite(gap).all():
            raise DataError(
                "both sides of a margin must be scored",
                got=f"{int((~np.isfinite(gap).all(1)).sum())} of {len(gap)} pairs not finite",
                do="drop them first: score(readings)[i].outcome says which",
            )
        return gap @ self.weights, np.sqrt(self.belief.var(gap))

    def win_probability(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Return e + (1 − 2e) p, [M]: p of `Fitted`, e the label noise."""
        sure = super().win_probability(mean, std)
        return np.asarray(self.label_noise + (1 - 2 * self.label_noise) * sure)
