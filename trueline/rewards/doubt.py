"""A calibrated reward: one doubt out of three, and an interval that keeps its word.

    doubt² = (a std)² + (b disagreement)² + n²,     n = c · spread · (novelty − 1)₊
    interval = mean ± q sqrt(8/π + doubt²)

std is the wrapped reward's own, disagreement that of its layers (`views`), novelty the distance to
what it was fitted on (Mahalanobis). Between two responses a and b the first two are those of the
margin, and n² = n_a² + n_b²: what is not known of one far response says nothing of another.

The interval is of what one *rater* would say, not of the reward alone: 8/π is the variance of a
rater's own noise where σ(m / sqrt(1 + π v / 8)) is read as a probit of m (MacKay 1992), so that
mean / sqrt(8/π + doubt²) ranks pairs by the probability of the verdict, which makes the smallest
intervals. q is conformal (`stats.conformal`); `Calibrated` finds a, b and q.

std² and disagreement are measured where there are data. n is not: it is what turns "never seen
such a thing" into doubt, and grows without bound.

A response so far away that hardly a pair of such could be decided is unscored (`novelty_limit`). A
margin is still given for it, with its doubt; readings that are not finite have none.

Shapes: N rows, M pairs. Unit: nats of log-odds. Fails where the reward is wrong inside its data:
of raters impressed by form the verdicts are covered (90 %) and the better answers are not (75 %),
and the doubt is no larger than with good raters (benchmarks/calibration.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trueline.models.reading import Readings
from trueline.records import Comparison, Scores
from trueline.rewards.nested import pack, prefixed, unpack
from trueline.rewards.protocols import Fitted, Reader
from trueline.rewards.scorer import NOT_FINITE, Reward
from trueline.rewards.storage import write_folder
from trueline.rewards.views import View, views_from, views_to

__all__ = ["NOISE", "CalibratedReward", "Weights", "load"]

NOISE = 8.0 / np.pi
Rows = Sequence[int] | np.ndarray


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What each source of doubt counts for."""

    posterior: float = 1.0
    disagreement: float = 0.0
    novelty: float = 1.0
    """Spreads of the score per unit of novelty above 1."""


@dataclass(kw_only=True)
class CalibratedReward:
    """Any fitted reward, with the doubt of all its sources and a calibrated interval."""

    inner: Fitted
    views: tuple[View, ...]
    """Empty where disagreement has no weight."""
    spread: float
    """Standard deviation of the training rows' mean scores."""
    weights: Weights
    limit: float
    """q; infinite where there was too little to calibrate on."""
    novelty_limit: float = np.inf
    """Above it a row is unscored."""
    k: float = 0.0
    """Doubts that `lower` subtracts."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The wrapped reward's metadata, and under "calibration" what was found."""

    @property
    def layers(self) -> tuple[int, ...]:
        """All layers read, the reward's own first."""
        return tuple(dict.fromkeys([*self.inner.layers, *(view.layer for view in self.views)]))

    @property
    def trunk_fingerprint(self) -> str | None:
        """Of the trunk whose readings it was fitted on."""
        return self.inner.trunk_fingerprint

    def summary(self) -> dict[str, Any]:
        """The metadata in one line of a run's result."""
        return {**self.inner.summary(), "calibration": self.metadata["calibration"]}

    def with_lower_bound(self, k: float, distance: float = 0.0) -> CalibratedReward:
        """The same reward with another lower bound: mean − k doubt − distance's share."""
        return replace(self, k=k, inner=self.inner.with_lower_bound(0.0, distance))

    def score(self, readings: Readings) -> Scores:
        """Scores of all N rows, relative to the reference point."""
        plain, values = self.inner.score(readings), self.views_of(readings)
        finite = plain.scored & np.isfinite(values).all(1)
        values[~finite] = 0.0
        std = self.doubt(plain.std, values.std(1), self.far(plain.novelty))
        half = self.half(std)
        reasons = {i: NOT_FINITE for i in np.flatnonzero(~finite).tolist()}
        too_far = finite & (plain.novelty > self.novelty_limit)
        for i in np.flatnonzero(too_far).tolist():
            reasons[i] = (
                f"too unlike what the reward was fitted on: novelty {plain.novelty[i]:.2f}, "
                f"limit {self.novelty_limit:.2f}"
            )
        return Scores(
            mean=plain.mean,
            std=std,
            lower=plain.lower - self.k * std,
            novelty=plain.novelty,
            scored=finite & ~too_far,
            reasons={**reasons, **plain.reasons},
            low=plain.mean - half,
            high=plain.mean + half,
        )

    def margin(
        self, readings: Readings, first_rows: Rows, second_rows: Rows
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and doubt of reward(first) − reward(second), each [M]."""
        mean, *sources = self.sources(readings, first_rows, second_rows)
        return mean, self.doubt(*sources)

    def margin_interval(
        self, readings: Readings, first_rows: Rows, second_rows: Rows
    ) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated ends of what a rater would say of each pair, each [M]."""
        mean, doubt = self.margin(readings, first_rows, second_rows)
        half = self.half(doubt)
        return mean - half, mean + half

    def sources(
        self, readings: Readings, first_rows: Rows, second_rows: Rows
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Mean, std, disagreement and n / c of each pair, each [M]."""
        asked = np.concatenate([np.asarray(r, dtype=np.int64) for r in (first_rows, second_rows)])
        rows, at = np.unique(asked, return_inverse=True)
        first, second = np.split(at, 2)
        readings = readings.take(rows)
        mean, std = self.inner.margin(readings, first, second)
        values, far = self.views_of(readings), self.far(self.inner.score(readings).novelty)
        apart = np.hypot(far[first], far[second]) * (first != second)
        return mean, std, (values[first] - values[second]).std(1), apart

    def doubt(self, std: np.ndarray, disagreement: np.ndarray, far: np.ndarray) -> np.ndarray:
        """One doubt out of three."""
        a, b, c = self.weights.posterior, self.weights.disagreement, self.weights.novelty
        return np.asarray(np.sqrt((a * std) ** 2 + (b * disagreement) ** 2 + (c * far) ** 2))

    def half(self, doubt: np.ndarray) -> np.ndarray:
        """Half the width of the interval."""
        return np.asarray(self.limit * np.sqrt(NOISE + doubt**2))

    def far(self, novelty: np.ndarray) -> np.ndarray:
        """What may be wrong with rows because they are new, before its weight."""
        return np.asarray(self.spread * np.maximum(novelty - 1.0, 0.0))

    def views_of(self, readings: Readings) -> np.ndarray:
        """What each view says, [N, V], with one view of 0 where there is none."""
        columns = [view.score(readings) for view in self.views] or [np.zeros(len(readings))]
        return np.stack(columns, axis=1)

    def win_probability(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Probability that a rater prefers the first of a pair of this margin, [M]."""
        return self.inner.win_probability(mean, std)

    def update(self, readings: Readings, comparisons: Sequence[Comparison]) -> None:
        """Learn from more comparisons, in place; the calibration stays what it was."""
        self.inner.update(readings, comparisons)

    def save(self, folder: str | Path, *, model: str | None = None) -> None:
        """Write the reward to a folder, whole or not at all; `model`: where its trunk is found."""
        arrays, words = pack(self.inner)
        more, views = views_to(self.views)
        scalars = np.array([self.spread, self.limit, self.novelty_limit, self.k])
        write_folder(
            Path(folder),
            {**prefixed("inner", arrays), **more, "scalars": scalars},
            {
                "kind": "calibrated",
                "trunk": model,
                "trunk_fingerprint": self.trunk_fingerprint,
                "inner": words,
                "views": views,
                "weights": vars(self.weights),
                "metadata": self.metadata,
            },
        )

    def on(self, trunk: Reader) -> Reward:
        """A scorer of texts: this reward with the trunk that reads them."""
        self.inner.on(trunk)
        return Reward(fitted=self, trunk=trunk)


def load(arrays: dict[str, np.ndarray], words: Mapping[str, Any]) -> CalibratedReward:
    """The reward of a folder's content."""
    spread, limit, novelty_limit, k = arrays["scalars"].tolist()
    return CalibratedReward(
        inner=unpack("inner", arrays, words["inner"]),
        views=views_from(arrays, words["views"]),
        spread=spread,
        weights=Weights(**words["weights"]),
        limit=limit,
        novelty_limit=novelty_limit,
        k=k,
        metadata=words["metadata"],
    )
