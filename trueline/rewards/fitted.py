"""A fitted reward: what it says of responses, with its doubt, and how it learns from more.

    mean = (z − z̄)·w      std² = (z − z̄)ᵀ Σ (z − z̄)      lower = mean − k std − distance s (ν − 1)₊
    margin of a over b: (z_a − z_b)·w, with variance (z_a − z_b)ᵀ Σ (z_a − z_b)

z are winsorised features, z̄ their mean over the training readings, s the spread of training
scores, ν the novelty (`crowd`).

`update` takes in fresh comparisons by Newton's method with the present posterior as the prior
(assumed-density filtering, Opper 1998): exact where the old curvature does not move, and a matter
of milliseconds. It changes the reward in place.

A row that is not finite is unscored. A reward saved to a folder (safetensors and JSON) is only
loaded beside the trunk it was fitted on, told by fingerprint.
Shapes: N rows, F features, M comparisons. Units: nats of log-odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from trueline.errors import DataError, InvalidExperiment, SetupError
from trueline.models.reading import Readings
from trueline.records import Comparison, Scores
from trueline.rewards.crowd import Crowd
from trueline.rewards.features import Features
from trueline.rewards.laplace import SLICE, Belief, dual_mode
from trueline.rewards.protocols import Reader
from trueline.rewards.scorer import NOT_FINITE, Reward
from trueline.rewards.storage import belief_from, belief_to, write_folder

__all__ = ["FittedReward", "load", "ordered"]

CROWD = 20_000
"""About as many training rows say what is usual, where there are at least twice as many."""
_SCALARS = ("spread", "temperatures", "label_noise", "k", "distance", "metadata")


@dataclass(kw_only=True)
class FittedReward:
    """A Gaussian belief about a linear reward on a trunk's readings."""

    features: Features
    weights: np.ndarray
    """Posterior mean, [F]."""
    belief: Belief
    reference: np.ndarray
    """z̄, [F]."""
    crowd: Crowd
    spread: float
    """Standard deviation of the training rows' mean scores."""
    temperatures: dict[str, float] = field(default_factory=dict)
    label_noise: float = 0.0
    k: float = 0.0
    """Standard deviations that `lower` subtracts."""
    distance: float = 0.0
    """Spreads that `lower` subtracts per unit of novelty above 1."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What it was fitted on and what the evidence said."""

    @classmethod
    def of(
        cls,
        *,
        features: Features,
        readings: Readings,
        weights: np.ndarray,
        belief: Belief,
        temperatures: dict[str, float],
        label_noise: float = 0.0,
    ) -> FittedReward:
        """With reference point, spread and crowd taken from the training readings."""
        total, scores = np.zeros(len(weights)), []
        for part in readings.slices(SLICE):
            z = features.clipped(part)
            total += z.sum(0)
            scores.append(z @ weights)
        # The rows are in the order of their hashes: evenly spaced is as good as at random.
        some = readings.take(np.arange(0, len(readings), max(1, len(readings) // CROWD)))
        return cls(
            features=features,
            weights=weights,
            belief=belief,
            reference=total / len(readings),
            crowd=Crowd.of(features.standard(some)[:, : _num_near(features)]),
            spread=float(np.concatenate(scores).std()),
            temperatures=dict(temperatures),
            label_noise=label_noise,
        )

    @property
    def layer(self) -> int:
        """The layer of largest evidence."""
        return self.features.parts[0][0]

    @property
    def layers(self) -> tuple[int, ...]:
        """All layers read, best first."""
        return tuple(dict.fromkeys(layer for layer, _ in self.features.parts))

    @property
    def pooling(self) -> str:
        """The pools read of each layer, joined by "+"."""
        return "+".join(dict.fromkeys(pool for _, pool in self.features.parts))

    @property
    def trunk_fingerprint(self) -> str | None:
        """Of the trunk whose readings it was fitted on."""
        return self.metadata.get("trunk_fingerprint")

    def summary(self) -> dict[str, Any]:
        """The metadata in one line of a run's result."""
        blocks = {b["name"]: round(b["precision"], 2) for b in self.metadata.get("blocks", [])}
        kept = {
            name: self.metadata.get(name) for name in ("evidence", "coin_evidence", "fit_s", "n")
        }
        return {
            "layer": self.layer,
            "layers": list(self.layers),
            "pooling": self.pooling,
            "precision": blocks,
            "rater_temperatures": self.temperatures,
            "label_noise": self.label_noise,
            **kept,
        }

    def with_lower_bound(self, k: float, distance: float = 0.0) -> FittedReward:
        """The same reward with another lower bound."""
        return replace(self, k=k, distance=distance)

    def score(self, readings: Readings) -> Scores:
        """Scores of all N rows, relative to the reference point."""
        self._check_trunk(readings.trunk)
        parts = [self._score(part) for part in readings.slices(SLICE)]
        return Scores.concat(parts) if len(parts) != 1 else parts[0]

    def _score(self, readings: Readings) -> Scores:
        standard = self.features.standard(readings)
        scored = np.isfinite(standard).all(1)
        standard[~scored] = 0.0
        z = self.features.clip(standard) - self.reference
        mean, std = z @ self.weights, np.sqrt(self.belief.var(z))
        novelty = self.crowd.novelty(standard[:, : _num_near(self.features)])
        doubt = self.k * std + self.distance * self.spread * np.maximum(novelty - 1.0, 0.0)
        return Scores(
            mean=mean,
            std=std,
            lower=mean - doubt,
            novelty=novelty,
            scored=scored,
            reasons={int(i): NOT_FINITE for i in np.flatnonzero(~scored)},
        )

    def margin(
        self,
        readings: Readings,
        first_rows: Sequence[int] | np.ndarray,
        second_rows: Sequence[int] | np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and std of reward(first) − reward(second), each [M], with their full covariance."""
        self._check_trunk(readings.trunk)
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
        """Probability that a rater prefers the first of a pair of this margin: its doubt averaged
        over (MacKay 1992) and random swaps counted in.

            ε + (1 − 2ε) σ(mean / sqrt(1 + π std² / 8))
        """
        steady = expit(mean / np.sqrt(1.0 + np.pi * std**2 / 8.0))
        return np.asarray(self.label_noise + (1.0 - 2.0 * self.label_noise) * steady)

    def update(self, readings: Readings, comparisons: Sequence[Comparison]) -> None:
        """Learn from more comparisons, in place; all their responses must have been read."""
        if not len(comparisons):
            return
        self._check_trunk(readings.trunk)
        first, second, raters = ordered(comparisons)
        chosen, rejected = (readings.take(readings.rows(keys)) for keys in (first, second))
        heat = np.array([self.temperatures.get(rater, 1.0) for rater in raters])
        gap = self.features.clipped(chosen) - self.features.clipped(rejected)
        rows = gap * heat[:, None]
        if not np.isfinite(rows).all():
            raise DataError("readings of comparisons must be finite", got="NaN or inf")
        reach = self.belief.times(rows)
        dual, terms, _, _ = dual_mode(
            rows @ reach, offset=rows @ self.weights, label_noise=self.label_noise
        )
        self.weights = self.weights + reach @ dual
        self.belief = self.belief.observe(rows, terms.curvature)
        self.metadata["n"] = self.metadata.get("n", 0) + len(raters)
        self.metadata["updates"] = self.metadata.get("updates", 0) + 1

    def save(self, folder: str | Path, *, model: str | None = None) -> None:
        """Write the reward to a folder, whole or not at all; `model`: where its trunk is found."""
        arrays = {
            "center": self.features.center,
            "scale": self.features.scale,
            "weights": self.weights,
            "reference": self.reference,
            **belief_to("belief", self.belief),
            **belief_to("crowd", self.crowd.shape),
        }
        words = {
            "kind": "linear",
            "trunk": model,
            "trunk_fingerprint": self.trunk_fingerprint,
            "parts": self.features.parts,
            "width": self.features.width,
            "surprisals": self.features.surprisals,
            "winsor": self.features.winsor,
            "typical": self.crowd.typical,
            **{name: getattr(self, name) for name in _SCALARS},
        }
        write_folder(Path(folder), arrays, words)

    def on(self, trunk: Reader) -> Reward:
        """A scorer of texts: this reward with the trunk that reads them."""
        self._check_trunk(trunk.fingerprint())
        if why := self.metadata.get("withheld"):
            raise InvalidExperiment(
                "a reward must be borne out by labelled pairs before it is used",
                got=str(why),
                do="validate it on labelled pairs first",
            )
        return Reward(fitted=self, trunk=trunk)

    def _check_trunk(self, fingerprint: str | None) -> None:
        known = self.trunk_fingerprint
        if known is not None and fingerprint is not None and known != fingerprint:
            raise SetupError(
                f"the trunk must be the one the reward was fitted on ({known[:12]})",
                got=fingerprint[:12],
                do="load that trunk, or fit the reward again on this one",
            )


def load(arrays: dict[str, np.ndarray], words: dict[str, Any]) -> FittedReward:
    """The reward of a folder's content."""
    features = Features(
        parts=tuple((int(layer), str(pool)) for layer, pool in words["parts"]),
        width=words["width"],
        surprisals=words["surprisals"],
        center=arrays["center"],
        scale=arrays["scale"],
        winsor=words["winsor"],
    )
    return FittedReward(
        features=features,
        weights=arrays["weights"],
        belief=belief_from("belief", arrays),
        reference=arrays["reference"],
        crowd=Crowd(belief_from("crowd", arrays), words["typical"]),
        **{name: words[name] for name in _SCALARS},
    )


def ordered(
    comparisons: Sequence[Comparison],
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Keys of the chosen and the rejected, and raters, in an order that depends neither on the
    order given nor on who won, so that fits repeat, and reverse with the labels, bit for bit."""
    rows = [(c.chosen.key, c.rejected.key, c.rater) for c in comparisons]
    rows.sort(key=lambda row: (min(row[:2]), max(row[:2]), row[2], row[0]))
    chosen, rejected, raters = zip(*rows, strict=True)
    return chosen, rejected, raters


def _num_near(features: Features) -> int:
    """Columns of the surprisals and of the best layer: those that novelty is measured in."""
    best = features.parts[0][0]
    pools = sum(layer == best for layer, _ in features.parts)
    return 5 * features.surprisals + pools * features.width
