"""Bradley–Terry on the trunk's readings, with its doubt: the default reward head.

    p(chosen ≻ rejected | w) = ε + (1 − 2ε) σ(τ_rater (z(chosen) − z(rejected))·w),  w ~ N(0, A⁻¹)
    posterior ≈ N(w*, (A + Dᵀ S D)⁻¹)    reward(y) = (z(y) − z̄)·w,  mean and std in closed form

Bradley and Terry 1952; Laplace posterior and evidence after MacKay 1992; a last-layer Laplace
reward as in 2402.13210. Everything that is usually tuned by hand is chosen by the evidence on the
comparisons themselves: the layer, how much each of its pools and the surprisals are worth (one
precision a block, from "unregularised" to "switched off"), the strength of the prior, and where
features are clipped. With 20,000 comparisons or more the search looks at a sample of them, and the
posterior at all.

Where we differ: (1) readings are standardised and winsorised (`features`); (2) layers that
come within 10 nats of the best (at most `num_layers`) are read together if that raises the
evidence, each with the precisions found for it alone, scaled so that the prior of a margin stays
what it was; (3) a share ε of labels may be random swaps, chosen by the evidence on a grid, because
real labels have outliers that no margin explains, and one such label otherwise flattens them all;
(4) raters have temperatures (`raters`); (5) the reference point z̄ is the mean training reading, so
scores are relative and a constant shift of the reward, which comparisons never see, carries no
doubt.

Units: nats of log-odds. Deterministic: `rng` is part of the role and not drawn from; the order of
rows and comparisons is irrelevant to the last bit.
Fails where raters prefer what no layer shows linearly; then the evidence stays near that of
coin tosses (`metadata["coin_evidence"]`), the prior shrinks and every answer scores about alike.

>>> from trueline.testing import FakeTrunk
>>> from trueline.records import Comparison, Prompt, Response
>>> ask, trunk = Prompt.of("?"), FakeTrunk(planted={"good": 3.0})
>>> texts = [(Response(prompt=ask, text=f"good {i}"), Response(prompt=ask, text=f"bad {i}"))
...          for i in range(40)]
>>> pairs = [Comparison(chosen=a, rejected=b) for a, b in texts]
>>> readings = trunk.read([r for both in texts for r in both])
>>> reward = Bayesian().fit(readings, pairs, rng=np.random.default_rng(0))
>>> reward.layer, bool(reward.margin(readings, [0], [1])[0] > 0)
(2, True)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.records import Comparison
from trueline.rewards.evidence import MarginalLikelihood, Point
from trueline.rewards.features import Features
from trueline.rewards.fitted import FittedReward
from trueline.rewards.laplace import belief_of
from trueline.rewards.search import Candidate, Search
from trueline.rewards.training import Training

__all__ = ["Bayesian"]

SAMPLE = 10_000
"""Comparisons that the search looks at, where there are at least twice as many."""


@dataclass(frozen=True, kw_only=True)
class Bayesian:
    """A linear reward with a Gaussian posterior; its fields are its configuration."""

    layer: int | str = "evidence"
    """A layer of the trunk, or "evidence" to let the comparisons choose."""
    pooling: str = "evidence"
    """"last", "mean", "both" (last and mean), or "evidence": all pools that were read."""
    precision: float | str = "evidence"
    """Prior precision of the weights of standardised features, or "evidence": one a block."""
    num_layers: int = 4
    """At most this many layers are read together (with layer = "evidence")."""
    winsor: float | str = "evidence"
    """Standard deviations at which standardised features are clipped, or "evidence"."""
    rater_temperature: bool = True
    """Whether raters of at least 20 comparisons each get a reliability of their own."""
    label_noise: float | str = "evidence"
    """Share of labels taken to be random swaps, in [0, 0.5), or "evidence"."""

    def __post_init__(self) -> None:
        precision_ok = self.precision == "evidence" or (
            not isinstance(self.precision, str) and 0 < self.precision < np.inf
        )
        checks = {
            'layer must be a number of a layer or "evidence"': isinstance(self.layer, int)
            or self.layer == "evidence",
            'precision must be a positive number or "evidence"': precision_ok,
            "num_layers must be at least 1": self.num_layers >= 1,
            'winsor must be positive or "evidence"': self.winsor == "evidence"
            or (not isinstance(self.winsor, str) and self.winsor > 0),
            'label_noise must lie in [0, 0.5), or be "evidence"': self.label_noise == "evidence"
            or (not isinstance(self.label_noise, str) and 0 <= self.label_noise < 0.5),
        }
        for must, holds in checks.items():
            if not holds:
                raise InputError(must, got=repr(self))

    def fit(
        self, readings: Readings, comparisons: Sequence[Comparison], *, rng: np.random.Generator
    ) -> FittedReward:
        """The posterior given these comparisons, all of whose responses have been read."""
        started = time.perf_counter()
        training = Training.of(readings, comparisons)
        training.label_noise = 0.0 if isinstance(self.label_noise, str) else self.label_noise
        pools = {"evidence": readings.poolings, "both": ("last", "mean")}
        sample = training.sample(SAMPLE)
        search = Search(
            training=sample,
            layers=readings.layers if isinstance(self.layer, str) else (self.layer,),
            pools=pools.get(self.pooling, (self.pooling,)),
            precision=self.precision,
            num_layers=self.num_layers,
            winsor=self.winsor,
            label_noise=self.label_noise,
        )
        single = search.each_layer()
        if self.rater_temperature:
            single[0] = search.rate(single[0])
        best = search.join(single)
        if sample is not training:
            best = search.settle(best, training)
        reward = _posterior(training, best, best.evidence or search.evidence(best.features))
        reward.metadata |= {
            "spec": asdict(self),
            "layers_tried": [
                {
                    "layer": c.features.parts[0][0],
                    "evidence": c.point.value,
                    "blocks": _blocks(c.features, c.point),
                }
                for c in single
            ],
            "fit_s": time.perf_counter() - started,
        }
        return reward


def _posterior(training: Training, best: Candidate, evidence: MarginalLikelihood) -> FittedReward:
    """The belief at the precisions found, with what it rests on."""
    # With swaps Fisher's steps close in linearly: the last digits would take most of the time.
    tol = 1e-6 if evidence.label_noise else 1e-10
    point = evidence.at(best.point.log_precisions, start=best.point.mode, tol=tol)
    rows = training.differences(best.features) if evidence.dual else evidence.rows
    prior = point.precisions[evidence.owner]
    reward = FittedReward.of(
        features=best.features,
        readings=training.readings,
        weights=evidence.weights(point),
        belief=belief_of(prior, rows, point.terms.curvature),
        temperatures=training.temperatures,
        label_noise=evidence.label_noise,
    )
    num = len(training.raters)
    reward.metadata = {
        "head": "bayesian",
        "n": num,
        "label_noise": evidence.label_noise,
        "evidence": point.value,
        "coin_evidence": -num * float(np.log(2)),
        "blocks": _blocks(best.features, point),
        "trunk_fingerprint": training.readings.trunk,
    }
    return reward


def _blocks(features: Features, point: Point) -> list[dict[str, Any]]:
    return [
        {"name": name, "precision": float(alpha), "directions": float(fixed)}
        for name, alpha, fixed in zip(features.names, point.precisions, point.fixed, strict=True)
    ]
