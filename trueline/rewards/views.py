"""What each layer by itself says of a response, and how far the layers differ.

    view_l(y) = (z_l(y) − z̄_l)·w_l        disagreement = sd over l of view_l(a) − view_l(b)

w_l is the mode of layer l's own posterior at the precisions that the search gave that layer: one
Newton run a layer and no search. Ensembles on one backbone share its errors (Eisenstein et al.
2023, 2312.09244), and so do its layers: on worked sums, out-of-fold verdicts gave their differences
no weight in any fit (benchmarks/calibration.py). A lower bound on what is not known, never all.

Shapes: N rows, V views. Unit: nats of log-odds. Layers with less evidence than coin tosses have no
say. Fails for a head whose metadata names no layers: such a reward has no views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trueline.models.reading import Readings
from trueline.records import Comparison
from trueline.rewards.evidence import MarginalLikelihood
from trueline.rewards.features import Features
from trueline.rewards.fitted import FittedReward
from trueline.rewards.protocols import Fitted
from trueline.rewards.training import Training

__all__ = ["View", "views_from", "views_of", "views_to"]

SAMPLE = 10_000
"""Comparisons that are enough for a view."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One layer's own reward."""

    features: Features
    weights: np.ndarray
    reference: float
    """z̄·w over the training rows."""

    @property
    def layer(self) -> int:
        return self.features.parts[0][0]

    def score(self, readings: Readings) -> np.ndarray:
        """[N]; rows that are not finite stay so."""
        return np.asarray(self.features.clipped(readings) @ self.weights - self.reference)


def views_of(
    reward: Fitted, readings: Readings, comparisons: Sequence[Comparison]
) -> tuple[View, ...]:
    """One view for each layer the search tried, on the comparisons the reward was fitted on."""
    if not isinstance(reward, FittedReward):
        return ()
    tried = [
        t
        for t in reward.metadata["layers_tried"]
        if t["evidence"] > reward.metadata["coin_evidence"]
    ]
    training = Training.of(readings, comparisons).sample(SAMPLE)
    training.set_temperatures(reward.temperatures)
    views = []
    for entry in tried if len(tried) > 1 else []:
        pools = dict.fromkeys(pool for _, pool in reward.features.parts)
        features = Features.learn(
            training.readings,
            tuple((entry["layer"], pool) for pool in pools),
            winsor=reward.features.winsor,
        )
        rows = training.differences(features)
        blocks = np.split(rows, np.flatnonzero(np.diff(features.owners)) + 1, axis=1)
        evidence = MarginalLikelihood(blocks, label_noise=reward.label_noise, rows=rows)
        weights = evidence.weights(
            evidence.at(np.log([block["precision"] for block in entry["blocks"]]))
        )
        middle = float((features.clipped(training.readings) @ weights).mean())
        views.append(View(features=features, weights=weights, reference=middle))
    return tuple(views)


def views_to(views: Sequence[View]) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Views as named arrays and words."""
    arrays: dict[str, np.ndarray] = {}
    words: list[dict[str, Any]] = []
    for i, view in enumerate(views):
        own = {
            "center": view.features.center,
            "scale": view.features.scale,
            "weights": view.weights,
        }
        arrays |= {f"view{i}.{name}": value for name, value in own.items()}
        parts, winsor = view.features.parts, view.features.winsor
        about = {"width": view.features.width, "surprisals": view.features.surprisals}
        words.append({"parts": parts, "winsor": winsor, "reference": view.reference, **about})
    return arrays, words


def views_from(
    arrays: Mapping[str, np.ndarray], words: Sequence[Mapping[str, Any]]
) -> tuple[View, ...]:
    """What `views_to` made arrays and words of."""
    return tuple(
        View(
            features=Features(
                parts=tuple((int(layer), str(pool)) for layer, pool in about["parts"]),
                width=about["width"],
                surprisals=about["surprisals"],
                center=arrays[f"view{i}.center"],
                scale=arrays[f"view{i}.scale"],
                winsor=about["winsor"],
            ),
            weights=arrays[f"view{i}.weights"],
            reference=about["reference"],
        )
        for i, about in enumerate(words)
    )
