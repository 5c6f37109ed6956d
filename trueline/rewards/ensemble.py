"""Small random networks on top of the linear reward, whose disagreement joins its std.

    r_m(y) = a_m ℓ(y) + v_m·tanh(W_m x(y) + b_m)        ℓ: the linear reward, W_m and b_m at random
    mean   = mean over m
    std²   = mean over m of (a_m² var ℓ + var of a_m, v_m)  +  variance over m of r_m

Each member is Bradley–Terry on H random features (Rahimi and Recht 2007) and the linear reward's
left-out margin, with one prior precision each by the evidence. Ensembles of reward models: Coste et
al. 2024 (2310.02743); small networks on embeddings: Sun et al. 2025 (2502.04357).

Where we differ: (1) first layers are drawn and not trained, so a member is a convex problem,
solved as the linear reward's is (`evidence`), without steps, rates or stopping; (2) the linear fit
goes before and chooses layers and how much each block of features counts (x is scaled
by its prior sd, at least 0.1 of the largest); (3) std is the law of total variance and not
disagreement alone, which knows nothing where no member has been (Lakshminarayanan et al. 2017).

Shapes: N rows, F features, M members, H hidden units. Units: nats of log-odds. At most 20,000
comparisons are looked at for the members. Fails where no layer holds anything linear for the
evidence to find; and all members read one trunk, whose errors they share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.records import Scores
from trueline.rewards.bayesian import SAMPLE, Bayesian
from trueline.rewards.evidence import MarginalLikelihood, climb
from trueline.rewards.features import Training
from trueline.rewards.laplace import SLICE, Belief, bradley_terry
from trueline.rewards.linear import LinearReward
from trueline.rewards.protocols import MeanStd, Pairs, Rows, Wrapped
from trueline.rng import Rng

__all__ = ["Ensemble", "EnsembleReward"]

LEAST = 0.1
"""Of the largest block's scale; what the linear fit switched off may matter all the same."""
GAIN = 2.0
"""Size of a hidden unit's input: far enough into tanh's bend for products to show."""


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """M small networks; its fields are its configuration."""

    members: int = 4
    """How many networks, at least 2."""
    hidden: int = 256
    """tanh units in each."""

    def __post_init__(self) -> None:
        if self.members < 2 or self.hidden < 1:
            raise InputError("there must be at least 2 members and 1 hidden unit", got=repr(self))

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> EnsembleReward:
        """Return the linear fit with all members, whose first layers `rng` draws."""
        # To a line with label noise, what is not linear looks like flipped labels.
        linear = Bayesian(label_noise=0.0).fit(readings, comparisons, rng=rng)
        training = Training.of(readings, comparisons).sample(SAMPLE)
        alphas = np.array(list(linear.metadata["precision"].values()))[linear.features.owners]
        scale = np.maximum(np.sqrt(alphas.min() / alphas), LEAST)
        size = np.sqrt(np.mean((linear.features.clipped(training.readings) * scale) ** 2))
        size = max(float(size) * np.sqrt(len(scale)), 1e-6)
        units = self.members * self.hidden
        drawn = rng.standard_normal((len(scale), units)) * scale[:, None] * (GAIN / size)
        reward = EnsembleReward(
            inner=linear,
            hidden=drawn.astype(np.float32),
            bias=rng.uniform(-GAIN, GAIN, units),
            reference=np.zeros(units),
            outer=np.zeros((self.members, self.hidden + 1)),
            beliefs=(),
        )
        reward.reference = reward.units(training.readings).mean(0)
        differences = np.subtract(*(reward.units(training.readings.take(e)) for e in training.ends))
        margins = _left_out(linear, training.differences(linear.features))
        owner = np.minimum(np.arange(self.hidden + 1), 1)
        values = []
        for m, rows in enumerate(reward.tops(differences, margins)):
            evidence = MarginalLikelihood(rows, owner)
            point = climb(evidence)
            point = evidence.at(point.log_precisions, start=point.mode, tol=1e-10)
            reward.outer[m], belief = evidence.posterior(point)
            reward.beliefs += (belief,)
            values.append(float(point.value))
        reward.metadata = {"evidence": values}
        return reward


def _left_out(linear: LinearReward, rows: np.ndarray) -> np.ndarray:
    """Return the margin of each comparison by the posterior of all the others, [N], in Laplace's
    closed form (Opper and Winther 2000): the linear reward's own have bent to the labels, and would
    leave the members nothing to be judged by."""
    margins, variance = rows @ linear.weights, linear.belief.var(rows)
    terms = bradley_terry(margins)
    leverage = np.minimum(variance * terms.curvature, 0.999)
    return np.asarray(margins - variance * terms.slope / (1.0 - leverage))


@dataclass(kw_only=True)
class EnsembleReward(Wrapped):
    """M networks, with a Gaussian belief about each one's last layer."""

    inner: LinearReward
    """ℓ; it holds features, novelty and k."""
    hidden: np.ndarray
    """W of all members, of winsorised features, float32 [F, M H]."""
    bias: np.ndarray
    """b, [M H]."""
    reference: np.ndarray
    """Mean of the units over the training rows, [M H]."""
    outer: np.ndarray
    """a and v, [M, 1 + H]."""
    beliefs: tuple[Belief, ...]
    """Of each member's a and v."""
    metadata: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        own = {"members": len(self.outer), "member_evidence": self.metadata["evidence"]}
        return {**self.inner.summary(), **own}

    def score(self, readings: Readings) -> Scores:
        def moments(part: Readings, *linear: np.ndarray) -> MeanStd:
            return self._moments(self.units(part) - self.reference, *linear)

        return self.inner.score(readings, moments)

    def margin(self, readings: Readings, first_rows: Rows, second_rows: Rows) -> MeanStd:
        units = self.units(readings.take(first_rows)) - self.units(readings.take(second_rows))
        return self._moments(units, *self.inner.margin(readings, first_rows, second_rows))

    def units(self, readings: Readings) -> np.ndarray:
        """Return the hidden units of all members, [N, M H]."""
        parts = [np.zeros((0, len(self.bias)))]
        for part in readings.slices(SLICE):
            parts.append(np.tanh(self.inner.features.clipped(part) @ self.hidden + self.bias))
        return np.concatenate(parts)

    def tops(self, units: np.ndarray, linear: np.ndarray) -> np.ndarray:
        """Return what the last layers add up, [M, N, 1 + H], of units and linear part [N]."""
        own = units.reshape(len(units), len(self.outer), -1).transpose(1, 0, 2)
        first = np.broadcast_to(linear[:, None], (*own.shape[:2], 1))
        return np.concatenate([first, own], axis=2)

    def _moments(self, units: np.ndarray, mean: np.ndarray, std: np.ndarray) -> MeanStd:
        """Return mean and std over members of rows; `mean`, `std`: of their linear part."""
        tops = self.tops(units, mean)
        each = np.stack([rows @ own for rows, own in zip(tops, self.outer, strict=True)])
        pairs = zip(tops, self.beliefs, strict=True)
        inside = np.mean([belief.var(rows) for rows, belief in pairs], axis=0)
        linear = np.mean(self.outer[:, 0] ** 2) * std**2
        return each.mean(0), np.sqrt(linear + inside + each.var(0, ddof=1))
